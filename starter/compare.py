"""Two tables compared row by row."""

from dataclasses import dataclass

import polars as pl

RELATIVE_ERROR = 1e-12
"""Within this, two float means of the same numbers in another order are equal."""


@dataclass(frozen=True)
class Comparison:
    """What differs between what was expected and what was found.

    Attributes:
        expected_rows: Rows expected.
        found_rows: Rows found.
        different_rows: Rows that are missing, surplus or have another value.
        examples: Some of them, described.
    """

    expected_rows: int
    found_rows: int
    different_rows: int
    examples: list[str]


def compare(expected: pl.DataFrame, found: pl.DataFrame, key: list[str]) -> Comparison:
    """Compare all columns of `expected` with those of `found`.

    Rows are told apart by `key`, null keys included.
    """
    values = [name for name in expected.columns if name not in key]
    there = pl.lit(value=True)
    both = expected.with_columns(there.alias("_expected")).join(
        found.select(*key, *values).with_columns(there.alias("_found")),
        on=key, how="full", nulls_equal=True, suffix="_found", coalesce=True,
    )  # fmt: skip
    same = pl.col("_expected").is_not_null() & pl.col("_found").is_not_null()
    for name in values:
        same &= _equal(pl.col(name), pl.col(f"{name}_found"), expected.schema[name])
    different = both.filter(~same).sort(key)
    return Comparison(
        expected_rows=expected.height,
        found_rows=found.height,
        different_rows=different.height,
        examples=[_describe(row, key, values) for row in different.head(5).iter_rows(named=True)],
    )


def _equal(expected: pl.Expr, found: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if kind != pl.Float64:
        return expected.eq_missing(found.cast(kind))
    near = (expected - found).abs() <= RELATIVE_ERROR * pl.max_horizontal(expected.abs(), 1e-300)
    return (expected.is_null() & found.is_null()) | near.fill_null(value=False)


def _describe(row: dict[str, object], key: list[str], values: list[str]) -> str:
    name = ", ".join(str(row[column]) for column in key)
    if row["_found"] is None:
        return f"{name}: expected a row, got none"
    if row["_expected"] is None:
        return f"{name}: expected no row, got one"
    pairs = [f"{v} {row[v]} / {row[f'{v}_found']}" for v in values if row[v] != row[f"{v}_found"]]
    return f"{name}: expected / got {', '.join(pairs)}"
