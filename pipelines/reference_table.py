"""A reference file as a table: columns of declared types, each key once."""

import io
from collections.abc import Mapping
from dataclasses import replace

import polars as pl
from polars.exceptions import PolarsError

from common.errors import PipelineSpecError
from common.near_miss import near_miss
from contracts.field_type import FieldType
from contracts.strict_column import strict_column
from pipelines.conversion import nullable

MAX_BYTES = 64 * 1024 * 1024
TAKEN_TYPES = ("string", "int32", "int64", "float64", "bool", "decimal", "date", "timestamp")
"""Types that columns of a reference file can have."""

KEY_TYPES = frozenset(
    {"string", "int32", "int64", "bool", "decimal", "date", "timestamp", "timestamp_ms", "uuid"}
)
"""Types of columns that can be looked up."""

_BY_DTYPE: dict[type[pl.DataType], str] = {
    pl.String: "string",
    pl.Int8: "int32",
    pl.Int16: "int32",
    pl.Int32: "int32",
    pl.UInt8: "int32",
    pl.UInt16: "int32",
    pl.Int64: "int64",
    pl.UInt32: "int64",
    pl.Float32: "float64",
    pl.Float64: "float64",
    pl.Boolean: "bool",
    pl.Date: "date",
}


def read_table(file: str, content: bytes) -> pl.DataFrame:
    """Read a CSV file, all of it text, an empty field is null; or a Parquet file.

    Raises:
        PipelineSpecError: It is neither, or too large.
    """
    if len(content) > MAX_BYTES:
        raise PipelineSpecError(
            f"reference file `{file}`: expected at most {MAX_BYTES // 1024**2} MB, got "
            f"{len(content) / 1024**2:,.0f} MB; keep only the rows and columns that are taken"
        )
    try:
        if file.endswith(".parquet"):
            return pl.read_parquet(io.BytesIO(content))
        return pl.read_csv(io.BytesIO(content), infer_schema=False)
    except PolarsError as error:
        kind = "Parquet" if file.endswith(".parquet") else "CSV with a line of names"
        raise PipelineSpecError(
            f"reference file `{file}`: expected {kind}, got a mistake: {str(error).splitlines()[0]}"
        ) from error


def column_of(file: str, table: pl.DataFrame, name: str) -> pl.Series:
    """Give a column; `PipelineSpecError` when there is none."""
    if name not in table.columns:
        hint = near_miss(name, table.columns) or f"; it has {', '.join(table.columns)}"
        raise PipelineSpecError(f"reference file `{file}`: no column `{name}`{hint}")
    return table[name]


def own_type(file: str, column: pl.Series) -> FieldType:
    """Give the type that a column has by itself; `PipelineSpecError` when there is none for it."""
    dtype = column.dtype
    missing = column.null_count() > 0
    if isinstance(dtype, pl.Decimal):
        return FieldType("decimal", dtype.precision or 38, dtype.scale, nullable=missing)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return FieldType("timestamp", nullable=missing)
    base = _BY_DTYPE.get(type(dtype))
    if base is None:
        raise PipelineSpecError(
            f"reference file `{file}`: expected a column of a type that fields have, got "
            f"`{column.name}` of type {dtype}; write another one into the file"
        )
    return FieldType(base, nullable=missing)  # type: ignore[arg-type] # a base type of the table


def converted(file: str, column: pl.Series, kind: FieldType) -> pl.Series:
    """Convert a column strictly; nothing is rounded.

    Raises:
        PipelineSpecError: A value is of another type, or null where the type allows none; the
            message names the row, counted from 1 without the line of names.
    """
    empty = column.is_null()
    if empty.any() and not kind.nullable:
        _refuse(file, column, kind, empty)
    result = strict_column(column, _as_written(kind))
    wrong = result.is_null() & ~empty
    if wrong.any():
        _refuse(file, column, kind, wrong)
    return result


def _refuse(file: str, column: pl.Series, kind: FieldType, wrong: pl.Series) -> None:
    row = int(wrong.arg_true()[0])
    raise PipelineSpecError(
        f"reference file `{file}`: expected `{kind}` in column `{column.name}`, got "
        f"{_shown(column[row])} in row {row + 1:,}"
    )


def _shown(value: object) -> str:
    return "nothing" if value is None else f"`{str(value)[:40]}`"


def _as_written(kind: FieldType) -> FieldType:
    """Give the type by which a file's texts are read: times are ISO 8601, ids any text."""
    written = {"timestamp_ms": "timestamp", "uuid": "string"}.get(kind.base, kind.base)
    return replace(kind, base=written)  # type: ignore[arg-type] # a base type of the table


def look_up_table(
    file: str,
    content: bytes,
    keys: Mapping[str, FieldType],
    take: Mapping[str, FieldType],
) -> pl.DataFrame:
    """Make the table that rows are looked up in.

    Args:
        file: Name of the file, for messages; it says whether it is CSV or Parquet.
        content: Bytes of the file.
        keys: Columns of the file that make the key, with the types of what is looked up.
        take: Columns of the file that are added, with their types.

    Raises:
        PipelineSpecError: A column is missing, a value is not of its type, or a key comes twice.
    """
    table = read_table(file, content)
    found = [
        converted(file, column_of(file, table, name), nullable(kind, when=False)).alias(f"key_{n}")
        for n, (name, kind) in enumerate(keys.items())
    ]
    taken = [converted(file, column_of(file, table, n), kind) for n, kind in take.items()]
    key = pl.DataFrame(found)
    again = key.is_duplicated()
    if again.any():
        row = int(again.arg_true()[0])
        values = ", ".join(f"`{value}`" for value in key.row(row))
        raise PipelineSpecError(
            f"reference file `{file}`: expected each key once, got {values} in "
            f"{int(key.rows().count(key.row(row)))} rows, the first is row {row + 1:,}"
        )
    return key.hstack(taken)
