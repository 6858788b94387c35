"""The one text that stands for a group's keys, and the groups that no table can hold."""

import polars as pl

from contracts.field_type import FieldType
from streaming.field_dtype import polars_type

MAX_KEY_BYTES = 2_000
"""PostgreSQL refuses an index entry of more than 2,704 bytes."""

_PLAIN_BYTES = 48
"""More than the separator and any key that is no text."""

MIN_START_MS = -2_208_988_800_000
MAX_END_MS = 10_413_791_999_999
"""1900-01-01 and the last millisecond of 2299: what ClickHouse's DateTime64(3) holds."""


def may_be_long(keys: tuple[tuple[str, FieldType], ...]) -> pl.Expr:
    """Tell, at little cost, whether a row's canonical key may be longer than a table can index."""
    bound = pl.lit(_PLAIN_BYTES * len(keys), dtype=pl.UInt32)
    for name, kind in keys:
        if polars_type(kind) == pl.String:
            bound = bound + pl.col(name).str.len_bytes().fill_null(0) * 2
    return bound > MAX_KEY_BYTES


def outside_time(start_ms: pl.Expr, end_ms: pl.Expr) -> pl.Expr:
    """Tell whether windows from `start_ms` to `end_ms` reach beyond what a table can hold."""
    return (start_ms < MIN_START_MS) | (end_ms > MAX_END_MS)


def refusal(keys: tuple[tuple[str, FieldType], ...], start_ms: pl.Expr, end_ms: pl.Expr) -> pl.Expr:
    """Say why no table can hold a row's group; null where one can."""
    size = canonical_key(keys).str.len_bytes()
    names = ", ".join(f"`{name}`" for name, _ in keys)
    return (
        pl.when(size > MAX_KEY_BYTES)
        .then(
            pl.lit(f"group key {names}: expected at most {MAX_KEY_BYTES} bytes, got ")
            + size.cast(pl.String)
        )
        .when(outside_time(start_ms, end_ms))
        .then(
            pl.lit("window: expected to lie within the years 1900 to 2299, got one that begins at ")
            + start_ms.cast(pl.String)
            + pl.lit(" ms since 1970")
        )
    )


def canonical_key(keys: tuple[tuple[str, FieldType], ...]) -> pl.Expr:
    r"""Encode group keys as one text that is never null and never the same for two keys.

    Parts are joined by `|`; `\` and `|` within a part are escaped by `\`, null is `\N`.
    """
    if not keys:
        return pl.lit("")
    parts = [
        pl.col(name).cast(pl.String).str.replace_all("\\", "\\\\", literal=True)
        .str.replace_all("|", "\\|", literal=True).fill_null("\\N")
        if polars_type(kind) == pl.String
        else _plain_text(name, kind).fill_null("\\N")
        for name, kind in keys
    ]  # fmt: skip
    return pl.concat_str(parts, separator="|")


def _plain_text(name: str, kind: FieldType) -> pl.Expr:
    if kind.base in ("timestamp", "timestamp_ms"):
        return pl.col(name).dt.epoch("ms").cast(pl.String)
    return pl.col(name).cast(pl.String)
