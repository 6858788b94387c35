"""PostgreSQL as a target of batches: staged beside the target, published in one transaction."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import asyncpg
import pyarrow as pa

from activities.etl_ports import BatchTable, Published, TargetPlan
from common.errors import RetryableError, SinkRefusedError
from connectors.batch_rows import HISTORY, check_batch_table, conform_batch, staging_gone
from connectors.postgres_batch_ddl import after_rows, before_rows, whole
from connectors.postgres_batch_found import (
    is_logged,
    is_open,
    look_at,
    published_run,
    schema_of,
    tables_like,
    whole_attempts,
    written,
)
from connectors.postgres_batch_publish import Publication
from connectors.postgres_batch_staging import (
    attempt_number,
    create_staging,
    note_written,
    older,
    rows_name,
    run_prefix,
    slot_prefix,
    staged_kinds,
)
from connectors.postgres_batch_table import Server, batch_refusals, split_name
from connectors.postgres_copy import copy_in
from connectors.postgres_load import COPY_ROWS, STATEMENT_ROWS, ChunkLoader, array_parameters
from connectors.postgres_pool import PostgresPool
from connectors.postgres_read import column_kinds, read_view
from connectors.postgres_table import quoted, unnested

ANSWER_S = 3_600
"""How long a statement over a whole table may take."""

_CONNECTIONS = 16
_LEDGER_LOCK = 0x536C7569636532


class PostgresBatchTarget:
    """A `BatchTarget` over plain tables of one server.

    Args:
        dsn: `postgresql://user:password@host:port/database`; the pool connects at the first use.
    """

    service = "PostgreSQL"
    connection_class: ClassVar[type[asyncpg.Connection]] = asyncpg.Connection
    idle_ms = 60_000
    """After how long the server ends the transaction of a frozen publication."""

    def __init__(self, dsn: str) -> None:
        self._pool = PostgresPool(
            dsn, self.service, max_size=_CONNECTIONS, timeout=10,
            command_timeout=ANSWER_S, statement_cache_size=0,
            connection_class=self.connection_class,
            server_settings={"idle_in_transaction_session_timeout": str(self.idle_ms)},
        )  # fmt: skip
        self._loader = ChunkLoader()

    async def preflight(self, table: BatchTable) -> TargetPlan:
        """Say which statements `publish` will execute; refuse a table that cannot hold the mode."""
        check_batch_table(table)
        async with self._pool.session(f"looking at table `{table.name}`") as connection:
            server = await look_at(connection, table, await schema_of(connection, table))
            shape, notes = await self._shape(connection, table, server)
        self._require(table, server)
        return TargetPlan([*before_rows(table, server, shape), *after_rows(table, server)], notes)

    async def open(self, table: BatchTable) -> None:
        """Drop staging of older runs of this slot, and make that of this run.

        Rows that will become the target itself are logged from the start.
        """
        check_batch_table(table)
        async with self._pool.session(f"opening staging of `{table.name}`") as connection:
            schema = await schema_of(connection, table)
            for name in older(await tables_like(connection, schema, slot_prefix(table)), table.run):
                await _drop(connection, schema, name)
            server = await look_at(connection, table, schema)
            shape, _ = await self._shape(connection, table, server)
            logged = whole(table, server) and not shape
            async with connection.transaction():
                await _lock(connection, f"{schema}.{run_prefix(table)}")
                for statement in create_staging(table, schema, logged=logged):
                    await connection.execute(statement)

    async def stage(
        self, table: BatchTable, chunk: int, token: str, rows: AsyncIterator[pa.RecordBatch]
    ) -> int:
        """Copy the rows of a chunk into staging, and note their number in the same transaction.

        A server without COPY takes them in statements, and notes those of each.
        """
        attempt, count = attempt_number(chunk, token), 0

        async def conformed() -> AsyncIterator[pa.Table]:
            nonlocal count
            async for batch in rows:
                part = conform_batch(table, batch)
                count += part.num_rows
                yield part

        async with self._pool.session(f"staging chunk {chunk} of `{table.name}`") as connection:
            schema = await schema_of(connection, table)
            if not await is_open(connection, table, schema):
                raise staging_gone(table, "to be open")
            try:
                if await self._loader.choose(connection, COPY_ROWS):
                    done = await self._copy(connection, table, schema, attempt, conformed())
                else:
                    done = await self._state(connection, table, schema, attempt, conformed())
            except asyncpg.UndefinedTableError:
                raise staging_gone(table, "to be open") from None
        if done != count:
            raise RetryableError(
                f"staging chunk {chunk} of `{table.name}`: expected {count} rows in staging, got "
                f"{done}; it is staged again"
            )
        return count

    async def staged(self, table: BatchTable, tokens: Mapping[int, str]) -> dict[int, int]:
        """Read how many rows the attempts that are named left; one that is gone has none.

        The server counted them, in the transactions that wrote them.
        """
        counts = {}
        async with self._pool.session(f"counting staging of `{table.name}`") as connection:
            schema = await schema_of(connection, table)
            if await is_open(connection, table, schema):
                counts = whole_attempts(await written(connection, table, schema))
        return {c: counts.get(attempt_number(c, token), 0) for c, token in tokens.items()}

    async def publish(self, table: BatchTable, tokens: Mapping[int, str]) -> Published:
        """Change the target, and note it in `sluice_batches`, in one transaction."""
        check_batch_table(table)
        async with self._pool.session(f"publishing `{table.name}`") as connection:
            await self._before(connection, table)
            async with connection.transaction():
                schema = await schema_of(connection, table)
                await _lock(connection, f"{schema}.{split_name(table.name)[1]}")
                server = await look_at(connection, table, schema)
                shape, _ = await self._shape(connection, table, server)
                self._require(table, server)
                if server.ledger and await published_run(connection, table, schema) >= table.run:
                    return Published()
                if not await is_open(connection, table, schema):
                    raise staging_gone(table, f"{len(tokens)} chunks")
                publication = Publication(connection, table, server, tokens)
                adopted = (
                    whole(table, server)
                    and not shape
                    and await is_logged(connection, table, schema)
                    and await publication.take_over()
                )
                await publication.check(adopted=adopted)
                if not server.ledger:
                    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LEDGER_LOCK)
                for statement in before_rows(table, server, shape, adopted=adopted):
                    await connection.execute(statement)
                after = after_rows(table, server, adopted=adopted)
                if adopted:
                    changes = await publication.adopt(after)
                else:
                    changes = await publication.insert()
                    for statement in after:
                        await connection.execute(statement)
                await publication.drop_before()
                await publication.note()
        return changes

    async def discard(self, table: BatchTable) -> None:
        """Drop the staging of this run."""
        async with self._pool.session(f"dropping staging of `{table.name}`") as connection:
            schema = await schema_of(connection, table)
            for name in await tables_like(connection, schema, run_prefix(table)):
                await _drop(connection, schema, name)

    async def final_rows(self, name: str, limit: int | None = None) -> pa.Table:
        """Read `<name>_final`, ordered by all columns; UUIDs and JSON come as text."""
        schema, bare = split_name(name)
        view = f"{quoted(schema)}." if schema else ""
        view += quoted(f"{bare}_final")
        async with self._pool.session(f"reading `{name}_final`") as connection:
            kinds = {
                column: kind
                for column, kind in (await column_kinds(connection, view)).items()
                if not column.startswith("_") or column in HISTORY
            }
            if not kinds:
                raise SinkRefusedError(
                    f"view `{name}_final`: expected to exist, got none; it is made when a run "
                    "is published"
                )
            order = [(column, False) for column in kinds]
            return await read_view(connection, view, kinds, order, limit)

    async def close(self) -> None:
        """Close the connections; the next use opens them again."""
        await self._pool.close()

    async def _before(self, connection: asyncpg.Connection, table: BatchTable) -> None:
        """Do what must precede a publication, outside its transaction."""

    async def _shape(
        self,
        connection: asyncpg.Connection,  # noqa: ARG002 - TimescaleDB asks the server
        table: BatchTable,
        server: Server,  # noqa: ARG002 - TimescaleDB shapes a new table only
    ) -> tuple[list[str], list[str]]:
        """Give the statements that shape a new table before its first row, and notes."""
        if table.partition_by is None:
            return [], []
        return [], [f"{self.service} table `{table.name}`: partition_by makes no partitions here"]

    async def _copy(
        self,
        connection: asyncpg.Connection,
        table: BatchTable,
        schema: str,
        attempt: int,
        rows: AsyncIterator[pa.Table],
    ) -> int:
        names = [column.name for column in table.columns]
        async with connection.transaction():
            done = await copy_in(
                connection, rows_name(table), names, staged_kinds(table), rows, schema
            )
            noted = note_written(table, schema, attempt, str(done), ended=True)
            await connection.execute(noted)
        return done

    async def _state(
        self,
        connection: asyncpg.Connection,
        table: BatchTable,
        schema: str,
        attempt: int,
        rows: AsyncIterator[pa.Table],
    ) -> int:
        listed = ", ".join(quoted(column.name) for column in table.columns)
        statement = (
            f"WITH part AS (INSERT INTO {quoted(schema)}.{quoted(rows_name(table))} ({listed}) "
            f"SELECT {unnested(staged_kinds(table))} RETURNING 1) "
            f"{note_written(table, schema, attempt, 'count(*)')} FROM part RETURNING row_count"
        )
        done = 0
        async for part in rows:
            for start in range(0, len(part), STATEMENT_ROWS):
                arrays = array_parameters(table.name, part.slice(start, STATEMENT_ROWS))
                done += await connection.fetchval(statement, *arrays)
        await connection.execute(note_written(table, schema, attempt, "0", ended=True))
        return done

    def _require(self, table: BatchTable, server: Server) -> None:
        reasons = batch_refusals(table, server)
        if reasons:
            raise SinkRefusedError(
                f"{self.service} table `{table.name}` cannot hold pipeline `{table.pipeline}`, "
                f"mode {table.mode}: {'; '.join(reasons)}"
            )


async def _drop(connection: asyncpg.Connection, schema: str, name: str) -> None:
    await connection.execute(f"DROP TABLE IF EXISTS {quoted(schema)}.{quoted(name)}")


async def _lock(connection: asyncpg.Connection, name: str) -> None:
    """Take a lock of the server for this transaction."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", number)
