"""Tables that are made and filled in one transaction: all of them are there, or none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
import pyarrow as pa

from common.errors import ServiceUnavailableError, UsageError
from connectors.postgres_copy import copy_in
from connectors.postgres_error import translated
from connectors.postgres_table import quoted


@dataclass(frozen=True)
class FilledTable:
    """A table and its rows.

    Attributes:
        columns: Names with their types, as `CREATE TABLE` takes them.
        rows: Their columns in the same order; read while the server takes them.
        primary_key: Column of the primary key.
        indexes: Other columns that get an index.
    """

    name: str
    columns: dict[str, str]
    rows: Iterable[pa.RecordBatch]
    primary_key: str
    indexes: Sequence[str] = ()


async def fill_tables(
    dsn: str, tables: Sequence[FilledTable], *, fresh: bool = False
) -> dict[str, int]:
    """Make tables and copy their rows in.

    Args:
        dsn: `postgresql://user:password@host:port/database`.
        tables: In this order.
        fresh: Drop tables of these names first.

    Returns:
        How many rows each has.

    Raises:
        UsageError: A table is there already; nothing was changed.
        ServiceUnavailableError: The server does not answer.
    """
    parts = urlsplit(dsn)
    address = f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
    counts: dict[str, int] = {}
    with translated("filling tables", "PostgreSQL", address):
        try:
            connection = await asyncpg.connect(dsn)
        except OSError as error:
            raise ServiceUnavailableError("PostgreSQL", address, str(error)) from error
        try:
            async with connection.transaction():
                await _clear(connection, tables, fresh=fresh)
                for table in tables:
                    counts[table.name] = await _fill(connection, table)
            for table in tables:
                await connection.execute(f"ANALYZE {quoted(table.name)}")
        finally:
            await connection.close()
    return counts


async def _clear(
    connection: asyncpg.Connection, tables: Sequence[FilledTable], *, fresh: bool
) -> None:
    for table in tables:
        if fresh:
            await connection.execute(f"DROP TABLE IF EXISTS {quoted(table.name)}")
        elif await connection.fetchval("SELECT to_regclass($1)", quoted(table.name)) is not None:
            raise UsageError(
                f"table `{table.name}`: expected none of this name, got one; give `--fresh` to "
                "drop it and its rows, or another `--connection`"
            )


async def _fill(connection: asyncpg.Connection, table: FilledTable) -> int:
    name = quoted(table.name)
    columns = ", ".join(f"{quoted(column)} {kind}" for column, kind in table.columns.items())
    await connection.execute(f"CREATE TABLE {name} ({columns})")
    kinds = [kind.removesuffix(" NOT NULL") for kind in table.columns.values()]
    count = await copy_in(connection, table.name, list(table.columns), kinds, table.rows)
    await connection.execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({quoted(table.primary_key)})")
    for column in table.indexes:
        await connection.execute(f"CREATE INDEX ON {name} ({quoted(column)})")
    return count
