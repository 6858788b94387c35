"""Values on their way into ClickHouse and out of it: which times it holds, what comes as text."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from activities.ports import SinkColumn
from common.errors import ContractViolationError
from connectors.clickhouse_table import EARLIEST_MS, LATEST_MS


def check_times(name: str, columns: Sequence[SinkColumn], rows: pa.Table) -> None:
    """Refuse instants and days that ClickHouse would store as others.

    Raises:
        ContractViolationError: A time is before 1900 or after 2299.
    """
    for column in columns:
        if column.type.base not in ("timestamp", "timestamp_ms", "date"):
            continue
        instants = rows[column.name]
        if column.type.base == "date":
            instants = instants.cast(pa.timestamp("ms", "UTC"))
        per_ms = 1_000 if instants.type.unit == "us" else 1
        span = pc.min_max(instants.cast(pa.int64()))
        low, high = span["min"].as_py(), span["max"].as_py()
        if low is not None and (low // per_ms < EARLIEST_MS or high // per_ms > LATEST_MS):
            raise ContractViolationError(
                f"rows for `{name}`, column `{column.name}`: expected times from 1900 to 2299, "
                f"got {low // per_ms} to {high // per_ms} ms since 1970; ClickHouse has no "
                "others, filter them with `where`"
            )


def shown(name: str, kind: str) -> str:
    """Write the expression that reads a quoted column, UUIDs as text."""
    if "UUID" not in kind:
        return name
    text = (
        f"arrayMap(item -> toString(item), {name})"
        if kind.startswith("Array(")
        else f"toString({name})"
    )
    return f"{text} AS {name}"


def instants(result: pa.Table) -> pa.Table:
    """Say the zone that ClickHouse's Arrow output leaves out of nullable times: UTC."""
    fields = [
        pa.field(
            field.name,
            pa.timestamp("us" if field.type.unit == "us" else "ms", "UTC")
            if pa.types.is_timestamp(field.type)
            else field.type,
        )
        for field in result.schema
    ]
    return result.cast(pa.schema(fields))
