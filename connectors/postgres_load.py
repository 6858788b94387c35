"""How a chunk of rows gets into a PostgreSQL table, within the transaction that holds its stream.

Three ways, each of which keeps the higher version of every row: COPY straight into the table, which
is all or nothing and fails where one of the rows is there already; COPY into a table of the
session's own and one statement from there; and statements that take arrays, for few rows and for
servers without COPY.
"""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import pyarrow as pa
import pyarrow.compute as pc

from activities.ports import SinkTable
from common.errors import ContractViolationError
from connectors.postgres_copy import HEADER, TRAILER, copy_in, warm_up
from connectors.postgres_table import expected_columns, quoted, upsert, upsert_from

STATEMENT_ROWS: Final = 1_000
"""Rows of one statement; the embedded TimescaleDB takes no more."""

COPY_ROWS: Final = 250
"""Rows from which on a COPY and its statement are faster than a statement alone."""

STAGED_CHUNKS: Final = 64
"""Chunks of a table that are not copied straight, after one met rows that were there."""

_PROBE = "sluice_copy_probe"


class ChunkLoader:
    """Puts rows into tables in the fastest way that the server has.

    What it remembers saves time only: any way gives the same rows.

    Args:
        copy_rows: Rows from which on a chunk is copied.
    """

    def __init__(self, copy_rows: int = COPY_ROWS) -> None:
        self._copy_rows = copy_rows
        self._copies: bool | None = None
        self._staged: dict[str, int] = {}

    async def probe(self, connection: asyncpg.Connection) -> list[str]:
        """Find out whether the server takes COPY and tables of a session; outside a transaction.

        Returns:
            What somebody should know about it.
        """
        try:
            async with connection.transaction():
                await connection.execute(f"CREATE TEMP TABLE {_PROBE} (a integer) ON COMMIT DROP")
                await connection.copy_to_table(
                    _PROBE, source=_nothing(), schema_name="pg_temp", format="binary"
                )
        except asyncpg.FeatureNotSupportedError:
            self._copies = False
            return []
        except asyncpg.InsufficientPrivilegeError:
            self._copies = False
            return [
                "PostgreSQL: the user may not make temporary tables, so rows go in by statements, "
                "which is slower; GRANT TEMPORARY ON DATABASE … TO the user"
            ]
        await asyncio.to_thread(warm_up)
        self._copies = True
        return []

    async def choose(self, connection: asyncpg.Connection, row_count: int) -> bool:
        """Tell whether that many rows are copied; asks the server the first time it matters."""
        if row_count < self._copy_rows:
            return False
        if self._copies is None:
            await self.probe(connection)
        return bool(self._copies)

    async def load(
        self, connection: asyncpg.Connection, table: SinkTable, rows: pa.Table, *, copied: bool
    ) -> None:
        """Write rows within the caller's transaction; of each identity the higher version stays.

        Args:
            connection: In a transaction.
            table: The target.
            rows: As `conform` gives them.
            copied: What `choose` said.

        Raises:
            ContractViolationError: A value that PostgreSQL cannot hold.
        """
        if not copied:
            await _state(connection, table, rows)
            return
        staged = self._staged.get(table.name, 0)
        if staged == 0 and await _copied_straight(connection, table, rows):
            return
        self._staged[table.name] = (staged or STAGED_CHUNKS + 1) - 1
        await _copy_staged(connection, table, rows)


async def _nothing() -> AsyncIterator[bytes]:
    yield HEADER + TRAILER


async def _copied_straight(
    connection: asyncpg.Connection, table: SinkTable, rows: pa.Table
) -> bool:
    """Copy rows into their table; False, and nothing happened, if one of them is there already."""
    columns = expected_columns(table)
    kinds = [kind for kind, _ in columns.values()]
    try:
        async with connection.transaction():
            await copy_in(connection, table.name, list(columns), kinds, rows)
    except (asyncpg.UniqueViolationError, asyncpg.FeatureNotSupportedError):
        return False
    return True


async def _copy_staged(connection: asyncpg.Connection, table: SinkTable, rows: pa.Table) -> None:
    """Copy rows into a table of the session, and move them with one statement.

    The table stays with the session, empty between transactions: to make it costs more than a
    thousand rows.
    """
    columns = expected_columns(table)
    kinds = [kind for kind, _ in columns.values()]
    shape = ", ".join(f"{quoted(name)} {kind}" for name, (kind, _) in columns.items())
    stage = f"sluice_stage_{zlib.crc32(shape.encode()):08x}"
    await connection.execute(
        f"CREATE TEMP TABLE IF NOT EXISTS {stage} ({shape}) ON COMMIT DELETE ROWS"
    )
    await copy_in(connection, stage, list(columns), kinds, rows, schema="pg_temp")
    await connection.execute(upsert_from(table, f"pg_temp.{stage}"))


async def _state(connection: asyncpg.Connection, table: SinkTable, rows: pa.Table) -> None:
    statement = upsert(table)
    for start in range(0, len(rows), STATEMENT_ROWS):
        part = rows.slice(start, STATEMENT_ROWS)
        await connection.execute(statement, *array_parameters(table.name, part))


def array_parameters(name: str, rows: pa.Table) -> list[list[Any]]:
    """Turn columns into one array each, as `postgres_table.unnested` takes them.

    Args:
        name: Of the table, for the message.
        rows: At most `STATEMENT_ROWS`.

    Raises:
        ContractViolationError: A value that PostgreSQL cannot hold.
    """
    result = []
    for column in rows.schema.names:
        values = rows[column]
        if (
            pa.types.is_large_string(values.type)
            and pc.any(pc.match_substring(values, "\x00")).as_py()
        ):
            raise ContractViolationError(
                f"rows for `{name}`, column `{column}`: expected text without U+0000, got "
                "some with it; "
                "PostgreSQL cannot store that character, filter or replace it in the pipeline"
            )
        result.append(_list_texts(values) if pa.types.is_list(values.type) else values.to_pylist())
    return result


def _list_texts(values: pa.ChunkedArray) -> list[str | None]:
    """Write every list as JSON of texts, which keeps nulls, decimals and times exact."""
    return [
        None
        if items is None
        else json.dumps([None if item is None else _item_text(item) for item in items])
        for items in values.to_pylist()
    ]


def _item_text(item: object) -> str:
    return str(item).lower() if isinstance(item, bool) else str(item)
