"""Column types of the engine: which polars type holds which field type."""

import polars as pl

from contracts.field_type import FieldType

INSTANT = pl.Datetime("ms", "UTC")
INSTANT_US = pl.Datetime("us", "UTC")

_PLAIN: dict[str, pl.DataType] = {
    "string": pl.String(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "float64": pl.Float64(),
    "bool": pl.Boolean(),
    "timestamp": INSTANT,
    "timestamp_ms": INSTANT,
    "date": pl.Date(),
    "uuid": pl.String(),
    "json": pl.String(),
}


def polars_type(kind: FieldType) -> pl.DataType:
    """Give the polars type of a column; nullability makes no difference."""
    if kind.base == "decimal":
        return pl.Decimal(kind.precision, kind.scale or 0)
    if kind.base == "list":
        return pl.List(polars_type(kind.element or FieldType("string")))
    if kind.base == "timestamp" and kind.precision is not None:
        return INSTANT_US
    return _PLAIN[kind.base]
