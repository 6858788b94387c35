"""Rows as a source gave them, in the declared types, and those that could not be read."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from batch.quarantine import quarantined
from common.errors import FatalError, SourceRefusedError
from contracts.field_dtype import polars_type
from contracts.field_type import FieldType
from contracts.strict_column import has_zone, strict_column
from streaming.decode import OFFSET, RecordDecoder
from streaming.record_block import RecordBlock

CHECK = "unreadable"
WHOLE_TEXT = "_text"
"""Key of a row's text where it could not be cut into columns."""

SHOWN_CHARACTERS = 40
_NESTED = frozenset({"json", "list"})
_ELEMENT = "v"


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read.

    Attributes:
        row: Its place among all rows that were read together, from 0.
        field: The first column that does not fit; empty if it is none of the columns.
        reason: What was expected, what came, and where.
        content: The row as JSON object of texts.
    """

    row: int
    field: str
    reason: str
    content: str


@dataclass(frozen=True)
class ReadRows:
    """Rows that were read together; each is in exactly one of the two.

    Attributes:
        rows: Good rows in order, with the wanted columns.
        bad: Rows that could not be read, in order.
    """

    rows: pl.DataFrame
    bad: list[BadRow]

    def __len__(self) -> int:
        """Count all rows."""
        return len(self.rows) + len(self.bad)


def unreadable_rows(bad: list[BadRow], chunk: int, first_row: int) -> pl.DataFrame | None:
    """Give unreadable rows as `batch.quarantine` has them; None is none.

    Args:
        bad: The rows.
        chunk: Number of the chunk.
        first_row: Rows of the chunk that were read before.
    """
    if not bad:
        return None
    return quarantined(
        [
            {
                "chunk": chunk,
                "row": first_row + one.row,
                "check": CHECK,
                "field": one.field,
                "reason": one.reason,
                "content": one.content,
            }
            for one in bad
        ]
    )


def record_batch(rows: pl.DataFrame) -> pa.RecordBatch:
    """Give rows as one batch of Arrow."""
    table = rows.to_arrow()
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def whole_text(text: bytes) -> str:
    """Give the content of a row that is nothing but its text."""
    return json.dumps({WHOLE_TEXT: text.decode(errors="replace")}, ensure_ascii=False)


def check_kinds(kinds: Mapping[str, FieldType], source: str) -> None:
    """Refuse types that cannot be read from texts; `SourceRefusedError` names the column."""
    for name, kind in kinds.items():
        element = kind.element
        if element is not None and element.base in ("timestamp", "list") and element.precision:
            raise SourceRefusedError(
                f"{source}: expected a list of another type in column `{name}`, got `{kind}`; "
                "declare `list<timestamp>` or `list<string>`"
            )


def typed_rows(
    given: Mapping[str, pl.Series],
    row_count: int,
    kinds: Mapping[str, FieldType],
    zone: str | None,
    content: Callable[[int], str],
    place: Callable[[int], str],
) -> ReadRows:
    """Convert columns to their types; a row with a value that does not fit is unreadable.

    Args:
        given: Columns as they came: texts, or values. One that is wanted and not here is null.
        row_count: Length of each.
        kinds: Wanted columns with their types, in order.
        zone: Zone of texts without one; None refuses them.
        content: Gives the content of a row for the quarantine.
        place: Says where a row is, for people.
    """
    columns: list[pl.Series] = []
    wrong: dict[int, tuple[str, str]] = {}
    for name, kind in kinds.items():
        column = given.get(name)
        if column is None:
            column = pl.Series(name, [None] * row_count, polars_type(kind))
        column, value = _converted(column, kind, zone)
        columns.append(value.alias(name))
        misfit = value.is_null() if not kind.nullable else value.is_null() & column.is_not_null()
        for row in misfit.arg_true().to_list():
            wrong.setdefault(row, (name, _reason(name, kind, column[row], zone)))
    frame = pl.DataFrame(columns)
    if wrong:
        keep = np.ones(row_count, dtype=bool)
        keep[list(wrong)] = False
        frame = frame.filter(pl.Series(keep))
    bad = [
        BadRow(row, wrong[row][0], f"{wrong[row][1]} ({place(row)})", content(row))
        for row in sorted(wrong)
    ]
    return ReadRows(frame, bad)


def _converted(column: pl.Series, kind: FieldType, zone: str | None) -> tuple[pl.Series, pl.Series]:
    """Give a column, in which what stands for null is null, and its values."""
    if kind.base in _NESTED and column.dtype == pl.String:
        column = column.set(column.str.strip_chars() == "null", None)
        return column, _nested(column, kind)
    value = strict_column(column, kind, zone)
    if value.dtype == pl.String:
        value = value.set(value.str.contains("\0", literal=True), None)
    return column, value


def _nested(column: pl.Series, kind: FieldType) -> pl.Series:
    """Read JSON texts; what is no JSON, or no list of the type, becomes null."""
    rows = column.is_not_null().arg_true()
    trimmed = column.gather(rows).str.strip_chars(" \t\r\n")
    if kind.base == "list":  # first as one JSON value, which a text such as `1],"v":[2` is not
        whole = _decoded(trimmed, FieldType("json"))
        trimmed = trimmed.set(whole.ne_missing(trimmed), "x")
    value = _decoded(trimmed, kind)
    if kind.base == "json":
        value = value.set(value.ne_missing(trimmed), None)
    empty = pl.Series(column.name, [None] * len(column), polars_type(kind))
    return empty.scatter(rows, value) if kind.base == "json" else _placed(value, rows, empty)


def _placed(value: pl.Series, rows: pl.Series, empty: pl.Series) -> pl.Series:
    """Put lists in their rows, which `scatter` cannot."""
    place = pl.DataFrame({"row": rows.cast(pl.Int64), "value": value})
    every = pl.DataFrame({"row": np.arange(len(empty), dtype=np.int64)})
    return every.join(place, on="row", how="left", maintain_order="left")["value"]


def _decoded(texts: pl.Series, kind: FieldType) -> pl.Series:
    """Read texts as JSON values of a type; null where one is none."""
    framed = texts.to_frame(_ELEMENT).select(
        pl.concat_str(pl.lit(f'{{"{_ELEMENT}":'), pl.col(_ELEMENT), pl.lit("}"))
    )
    block = block_of(framed.to_series())
    nullable = FieldType(kind.base, kind.precision, kind.scale, nullable=True, element=kind.element)
    rows = RecordDecoder({_ELEMENT: nullable}, {_ELEMENT}).decode(block, 0).rows
    every = pl.DataFrame({OFFSET: np.arange(len(texts), dtype=np.int64)})
    return every.join(rows, on=OFFSET, how="left", maintain_order="left")[_ELEMENT]


def block_of(texts: pl.Series) -> RecordBlock:
    """Lay texts without null out as the records of a block, numbered from 0."""
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, content = array.buffers()
    count = len(array)
    ends = np.frombuffer(offsets, np.int64, count + 1) if count else np.zeros(1, np.int64)
    held = content is not None and content.size > 0
    buffer = np.frombuffer(content, np.uint8) if held else np.empty(0, np.uint8)
    return record_block(buffer, ends[:-1], np.diff(ends))


def record_block(
    buffer: "np.ndarray[tuple[int], np.dtype[np.uint8]]",
    start: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    size: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    topic: str = "",
) -> RecordBlock:
    """Make a block of values in a buffer, numbered from 0."""
    count = len(start)
    if len(buffer) >= 2**31:
        raise FatalError(f"block of rows: expected less than 2 GiB, got {len(buffer):,} bytes")
    return RecordBlock(
        topic=topic,
        partition=0,
        buffer=buffer,
        offset=np.arange(count, dtype=np.int64),
        timestamp_ms=np.zeros(count, dtype=np.int64),
        value_start=np.ascontiguousarray(start),
        value_size=size.astype(np.int32),
        key_start=np.zeros(count, dtype=np.int64),
        key_size=np.full(count, -1, dtype=np.int32),
    )


def _reason(name: str, kind: FieldType, value: object, zone: str | None) -> str:
    if value is None:
        return f"`{name}`: expected {kind}, got nothing"
    text = str(value)
    shown = text[:SHOWN_CHARACTERS] + ("…" if len(text) > SHOWN_CHARACTERS else "")
    hint = ""
    if kind.base == "timestamp" and isinstance(value, str) and not has_zone(text.strip()):
        hint = (
            ", which has no time zone; `timezone` of the source says which one is meant"
            if zone is None
            else f", which is no time on the wall of {zone}, or comes twice there"
        )
    return f"`{name}`: expected {kind}, got `{shown!s}`{hint}"
