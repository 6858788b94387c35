"""Reading a final view from PostgreSQL into Arrow."""

import re
from typing import Any

import asyncpg
import pyarrow as pa

from common.errors import SinkRefusedError
from connectors.postgres_table import quoted
from connectors.sink_rows import order_columns

_ARROW = {
    "text": pa.string(),
    "character varying": pa.string(),
    "jsonb": pa.string(),
    "uuid": pa.string(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
}
_IN_STREAMS = {"timestamp with time zone": "timestamp(3) with time zone"}
"""What a stream wrote has milliseconds, in whatever column."""
_BYTEWISE = ("text", "character varying")
_AS_TEXT = ("uuid", "jsonb")


def _arrow_type(kind: str) -> pa.DataType:
    if kind.endswith("[]"):
        return pa.list_(_arrow_type(kind[:-2]))
    if kind.startswith("timestamp"):
        return pa.timestamp("ms" if "(3)" in kind else "us", "UTC")
    digits = re.fullmatch(r"numeric\((\d+),(\d+)\)", kind)
    if digits:
        return pa.decimal128(int(digits.group(1)), int(digits.group(2)))
    return _ARROW.get(kind, pa.string())


def _expression(name: str, kind: str) -> str:
    base = kind.removesuffix("[]")
    if base not in _AS_TEXT:
        return quoted(name)
    return f"{quoted(name)}::text{'[]' if kind.endswith('[]') else ''} AS {quoted(name)}"


async def read_final(
    connection: asyncpg.Connection, table: str, limit: int | None, time: str
) -> pa.Table:
    """Read `<table>_final`, newest window first, then by the rest; text orders by its bytes.

    Raises:
        SinkRefusedError: There is no such view.
    """
    view = quoted(f"{table}_final")
    kinds = await column_kinds(connection, view)
    if not kinds:
        raise SinkRefusedError(
            f"view `{table}_final`: expected to exist, got none; it is made when the stream starts"
        )
    kinds = {name: _IN_STREAMS.get(kind, kind) for name, kind in kinds.items()}
    return await read_view(connection, view, kinds, order_columns(list(kinds), time), limit)


async def column_kinds(connection: asyncpg.Connection, relation_name: str) -> dict[str, str]:
    """Map the columns of a relation to their types, in order; none where there is no relation."""
    found = await connection.fetch(
        "SELECT attname, format_type(atttypid, atttypmod) AS kind FROM pg_attribute "
        "WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        relation_name,
    )
    return {row["attname"]: row["kind"] for row in found}


async def read_view(
    connection: asyncpg.Connection,
    view: str,
    kinds: dict[str, str],
    order: list[tuple[str, bool]],
    limit: int | None,
) -> pa.Table:
    """Read columns of a relation; UUIDs and JSON are text, and text orders by its bytes.

    Args:
        connection: In a transaction or not.
        view: Its name as SQL writes it.
        kinds: The columns to read, with their types.
        order: Columns to order by, and whether descending.
        limit: How many rows; None is all.
    """
    shown = ", ".join(_expression(name, kind) for name, kind in kinds.items())
    by = ", ".join(
        f"{view}.{quoted(name)}"
        + (' COLLATE "C"' if kinds[name] in _BYTEWISE else "")
        + (" DESC" if down else "")
        for name, down in order
    )
    bound = f" LIMIT {int(limit)}" if limit is not None else ""
    records = await connection.fetch(f"SELECT {shown} FROM {view} ORDER BY {by}{bound}")
    columns: list[tuple[Any, ...]] = (
        list(zip(*records, strict=True)) if records else [() for _ in kinds]
    )
    return pa.table(
        {
            name: pa.array(values, _arrow_type(kind))
            for (name, kind), values in zip(kinds.items(), columns, strict=True)
        }
    )
