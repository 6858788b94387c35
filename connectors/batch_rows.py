"""Rows of a batch on their way into a target: the declaration and the rows are checked alike."""

import pyarrow as pa

from activities.etl_ports import BatchTable
from activities.ports import SinkColumn
from common.errors import ContractViolationError, SinkRefusedError
from connectors.sink_rows import arrow_type, cast_exactly
from contracts.field_type import FieldType
from pipelines.etl import KEY_TYPES, KEYED_MODES, ORDERED_TYPES, TIME_TYPES

HISTORY = ("_valid_from", "_valid_to", "_is_current")
"""Columns that `scd2` adds and that readers see: instants with microseconds, and a flag."""


def column_of(table: BatchTable, name: str) -> SinkColumn:
    """Give a declared column."""
    return next(column for column in table.columns if column.name == name)


def check_batch_table(table: BatchTable) -> None:
    """Refuse a declaration that no target can hold.

    Raises:
        SinkRefusedError: With every reason in one message.
    """
    names = [column.name for column in table.columns]
    kinds = {column.name: column.type for column in table.columns}
    reasons = [f"column `{name}` is declared twice" for name in kinds if names.count(name) > 1]
    reasons += [
        f"column `{name}` begins with `_`, which is reserved; rename it"
        for name in names
        if name.startswith("_")
    ]
    if not names:
        reasons.append("it has no column; keep at least one")
    if table.mode in KEYED_MODES and not table.key:
        reasons.append(f"mode {table.mode} tells rows apart by a key, got none; add `key`")
    for name in table.key if table.mode in KEYED_MODES else ():
        if name not in kinds:
            reasons.append(f"key `{name}` is no column; add it or correct `key`")
        elif kinds[name].base not in KEY_TYPES:
            reasons.append(f"key `{name}` is {kinds[name]}, expected one of {', '.join(KEY_TYPES)}")
    reasons += _time_reasons(table, kinds)
    if reasons:
        raise SinkRefusedError(
            f"target `{table.name}` of pipeline `{table.pipeline}`: {'; '.join(reasons)}"
        )


def _time_reasons(table: BatchTable, kinds: dict[str, FieldType]) -> list[str]:
    reasons = []
    if table.cursor is not None and table.mode in ("merge", "scd2"):
        wanted = TIME_TYPES if table.mode == "scd2" else ORDERED_TYPES
        kind = kinds.get(table.cursor)
        if kind is None:
            reasons.append(f"cursor `{table.cursor}` is no column; keep it in the steps")
        elif kind.base not in wanted:
            reasons.append(
                f"cursor `{table.cursor}` is {kind}, expected one of {', '.join(wanted)} to say "
                "which of two rows is newer; cast it"
            )
    if table.partition_by is not None:
        kind = kinds.get(table.partition_by)
        if kind is None or kind.base not in TIME_TYPES:
            reasons.append(
                f"partition_by `{table.partition_by}` is {kind or 'no column'}, expected a "
                "timestamp or date"
            )
    return reasons


def conform_batch(table: BatchTable, rows: pa.RecordBatch) -> pa.Table:
    """Bring rows into the exact Arrow types of the table, in its column order.

    Raises:
        ContractViolationError: A column is missing, unknown, of another type, or null in a key or
            where it may not be.
    """
    where = f"rows for `{table.name}` of pipeline `{table.pipeline}`"
    names = [column.name for column in table.columns]
    if sorted(rows.schema.names) != sorted(names):
        raise ContractViolationError(
            f"{where}: expected columns {', '.join(names)}, got {', '.join(rows.schema.names)}; "
            "run the pipeline again"
        )
    key = set(table.key if table.mode in KEYED_MODES else ())
    columns = {}
    for column in table.columns:
        values = pa.chunked_array([rows[column.name]])
        if column.name in key and values.null_count:
            raise ContractViolationError(
                f"{where}, key `{column.name}`: expected a value in every row, got "
                f"{values.null_count} nulls; filter or quarantine them"
            )
        columns[column.name] = cast_exactly(
            f"{where}, column `{column.name}`",
            values,
            arrow_type(column.type),
            nullable=column.type.nullable,
        )
    return pa.table(columns)


def repeated_keys(table: BatchTable, repetitions: int) -> ContractViolationError:
    """Say that a batch holds keys more than once."""
    return ContractViolationError(
        f"rows for `{table.name}` of pipeline `{table.pipeline}`: expected each "
        f"({', '.join(table.key)}) once, got {repetitions} keys that occur again; deduplicate or "
        "aggregate them in the steps, or correct `key`"
    )


def staging_gone(table: BatchTable, what: str) -> SinkRefusedError:
    """Say that staging is not there any more, as for an attempt that wakes up late."""
    return SinkRefusedError(
        f"staging of `{table.name}`, run {table.run} of pipeline `{table.pipeline}`: expected "
        f"{what}, got none: the run was cleaned up, or a newer one took its place; start it again"
    )
