"""Rows on their way into a sink: checked against the table's declaration, cast without loss."""

from collections.abc import Callable

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from activities.ports import FlushChunk, SinkTable
from common.errors import ContractViolationError, SinkRefusedError
from contracts.field_type import FieldType
from pipelines.stream import ELEMENT, POSITION

SYSTEM_COLUMNS = ("_key", "_version", "_deleted")

_ARROW: dict[str, pa.DataType] = {
    "string": pa.large_string(),
    "json": pa.large_string(),
    "uuid": pa.large_string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("ms", "UTC"),
    "timestamp_ms": pa.timestamp("ms", "UTC"),
    "date": pa.date32(),
}


def arrow_type(field_type: FieldType) -> pa.DataType:
    """Give the Arrow type in which a sink takes and returns a field."""
    if field_type.base == "decimal":
        return pa.decimal128(field_type.precision, field_type.scale)
    if field_type.base == "list":
        if field_type.element is None or field_type.element.base == "list":
            raise SinkRefusedError(
                f"column type `{field_type}`: expected a list of plain values, got another; "
                "flatten it"
            )
        return pa.list_(arrow_type(field_type.element))
    if field_type.base == "timestamp" and field_type.precision is not None:
        return pa.timestamp("us", "UTC")
    return _ARROW[field_type.base]


def marker(stream: str) -> str:
    """Write the comment by which a table says to which stream it belongs."""
    return f"sluice stream {stream}"


def order_columns(names: list[str], time: str) -> list[tuple[str, bool]]:
    """Order a final view: (column, descending), newest first, then by position or by the rest."""
    newest = [(time, True)] if time in names else []
    position = (*POSITION, ELEMENT) if ELEMENT in names else POSITION
    others = position if set(position) <= set(names) else names
    return newest + [(name, False) for name in others if name != time]


def check_declaration(table: SinkTable) -> None:
    """Refuse a declaration that no sink can hold.

    Raises:
        SinkRefusedError: With every reason in one message.
    """
    names = [column.name for column in table.columns]
    nullable = {column.name for column in table.columns if column.type.nullable}
    reasons = [
        f"column `{name}` is declared twice" for name in {n for n in names if names.count(n) > 1}
    ]
    reasons += [
        f"column `{name}` is reserved; rename it" for name in names if name in SYSTEM_COLUMNS
    ]
    reasons += [f"identity `{name}` is no column" for name in table.identity if name not in names]
    reasons += [
        f"identity `{name}` may not be nullable" for name in table.identity if name in nullable
    ]
    if reasons:
        raise SinkRefusedError(
            f"table `{table.name}` of stream `{table.stream}`: {'; '.join(reasons)}"
        )


def conform(table: SinkTable, chunk: FlushChunk, rows: pa.Table) -> pa.Table:
    """Bring rows into the exact Arrow types of the table, in its column order, system columns last.

    Only lossless changes of representation are made (text kinds, integer widths, decimal digits,
    dictionary).

    Returns:
        A table of one contiguous chunk: the columns, then `_key`, `_version` int64, `_deleted`
        bool.

    Raises:
        ContractViolationError: A column is missing, unknown, of another type or null where it may
        not be, a row has
            another version than the chunk, or an identity occurs twice.
    """
    where = f"rows for `{table.name}` of flush {chunk.flush_seq}"
    expected = {
        column.name: (arrow_type(column.type), column.type.nullable) for column in table.columns
    }
    expected |= {
        "_key": (pa.large_string(), False),
        "_version": (pa.int64(), False),
        "_deleted": (pa.bool_(), False),
    }
    got = rows.schema.names
    if sorted(got) != sorted(expected):
        raise ContractViolationError(
            f"{where}: expected columns {', '.join(expected)}, got {', '.join(got)}; "
            "start the stream afresh with a table of the new shape"
        )
    columns = {
        name: cast_exactly(f"{where}, column `{name}`", rows[name], kind, nullable=nullable)
        for name, (kind, nullable) in expected.items()
    }
    result = pa.table(columns).combine_chunks()
    _check_versions(where, chunk, result)
    identity = [*table.identity, "_key"]
    distinct = pl.DataFrame(pl.from_arrow(result.select(identity))).n_unique()
    if distinct != result.num_rows:
        raise ContractViolationError(
            f"{where}: expected each ({', '.join(identity)}) once, got "
            f"{result.num_rows - distinct} repetitions; "
            "a flush holds one revision of a row"
        )
    return result


def _check_versions(where: str, chunk: FlushChunk, rows: pa.Table) -> None:
    others = rows.num_rows - (pc.sum(pc.equal(rows["_version"], chunk.version)).as_py() or 0)
    if others:
        raise ContractViolationError(
            f"{where}: expected every `_version` to be {chunk.version} (epoch {chunk.epoch}), "
            f"got {others} others"
        )


_SAME_FAMILY: tuple[Callable[[pa.DataType], bool], ...] = (
    lambda kind: (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    ),
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_decimal,
    lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None,
    pa.types.is_date,
)


def _related(left: pa.DataType, right: pa.DataType) -> bool:
    if pa.types.is_null(left):
        return True
    if pa.types.is_dictionary(left):
        return _related(left.value_type, right)
    if _is_list(left) and _is_list(right):
        return _related(left.value_type, right.value_type)
    return any(member(left) and member(right) for member in _SAME_FAMILY)


def _is_list(kind: pa.DataType) -> bool:
    members = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(member(kind) for member in members)


def cast_exactly(
    where: str, values: pa.ChunkedArray, kind: pa.DataType, *, nullable: bool
) -> pa.ChunkedArray:
    """Bring values into a type without loss.

    Raises:
        ContractViolationError: They are of another kind, do not fit, or are null where they may
            not be.
    """
    if not _related(values.type, kind):
        raise ContractViolationError(
            f"{where}: expected {kind}, got {values.type}; correct the type in the pipeline file"
        )
    if values.null_count and not nullable:
        raise ContractViolationError(
            f"{where}: expected a value in every row, got {values.null_count} nulls; "
            "declare the type as nullable (`T?`)"
        )
    try:
        return values if values.type == kind else values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ContractViolationError(
            f"{where}: expected values that fit {kind}, got {values.type}: {error}; widen the type"
        ) from error
