"""Extracted rows in the columns that a run decided on."""

import polars as pl

from batch.schema_change import SchemaDecision
from contracts.field_dtype import polars_type
from contracts.field_type_parse import parse_field_type
from pipelines.etl import SchemaMode


def conform(
    rows: pl.DataFrame, decision: SchemaDecision, mode: SchemaMode
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give the rows in the decided columns, and those that are rejected.

    Args:
        rows: As extracted.
        decision: What to make of them.
        mode: `discard_row` rejects rows with a value that does not fit or has no column,
            `discard_value` makes such a value null.

    Returns:
        The rows in the columns of the decision, and for each rejected row its place in `rows`
        (`place`), the column (`field`) and why (`reason`).
    """
    casts = {name: pl.col(name).cast(_dtype(kind), strict=False) for name, kind in _kinds(decision)}
    bad = {
        name: casts[name].is_null() & pl.col(name).is_not_null()
        for name in decision.cast
        if name in rows.columns
    }
    reasons = {
        name: pl.format(
            f"expected a value of type {decision.columns[name]}, got `{{}}`",
            pl.col(name).cast(pl.String, strict=False).str.slice(0, 100),
        )
        for name in bad
    }
    bad |= {name: pl.col(name).is_not_null() for name in decision.surplus}
    reasons |= {
        name: pl.lit(f"expected no column `{name}`, got one with a value")
        for name in decision.surplus
    }
    rejected = _NONE
    if bad and mode == "discard_row":
        found = [
            rows.with_row_index("place")
            .filter(is_bad)
            .select(
                pl.col("place").cast(pl.Int64),
                pl.lit(name).alias("field"),
                reasons[name].alias("reason"),
            )
            for name, is_bad in bad.items()
        ]
        rejected = pl.concat([_NONE, *found]).unique("place", keep="first", maintain_order=True)
    columns = [
        pl.lit(None, dtype=_dtype(kind)).alias(name)
        if name in decision.missing
        else (casts[name] if name in decision.cast else pl.col(name).cast(_dtype(kind))).alias(name)
        for name, kind in decision.columns.items()
    ]
    return rows.select(columns), rejected


_NONE = pl.DataFrame(schema={"place": pl.Int64(), "field": pl.String(), "reason": pl.String()})


def _kinds(decision: SchemaDecision) -> list[tuple[str, str]]:
    return [(name, decision.columns[name]) for name in decision.cast]


def _dtype(text: str) -> pl.DataType:
    return polars_type(parse_field_type(text))
