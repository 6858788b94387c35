"""PostgreSQL as a sink of versioned windows; the code path that TimescaleDB shares."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pyarrow as pa

from activities.ports import (
    FlushChunk,
    Preflight,
    Progress,
    RetiredEvents,
    RetiredRows,
    SinkTable,
)
from common.errors import FatalError, SinkRefusedError, StaleEpochError
from connectors.postgres_found import look_up
from connectors.postgres_load import COPY_ROWS, ChunkLoader
from connectors.postgres_pool import PostgresPool
from connectors.postgres_progress import tell, told
from connectors.postgres_read import read_final
from connectors.postgres_table import (
    BOOKKEEPING,
    create_statements,
    create_view,
    mark_statement,
    name_refusals,
    quoted,
    refusals,
    retire_events,
    retire_windows,
)
from connectors.sink_rows import check_declaration, conform

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_FLUSHES_KEPT = 256
"""Records of older flushes are removed; without its record a repeated write is still stopped by the
row versions.
"""

PREPARE_LOCK = 0x536C7569636531
"""Advisory lock under which tables are made, since `IF NOT EXISTS` races."""

_SESSION = {"idle_in_transaction_session_timeout": "60000"}
"""Milliseconds after which the server ends the transaction of a frozen writer, which would keep
its stream's row from the next attempt."""


class PostgresSink:
    """A `FlushSink` over a plain table with a primary key on (identity…, _key).

    One write is one transaction: it locks the stream's row, refuses an older epoch, returns when
    the chunk is on record,
    keeps the higher version of every row, and records the chunk. A writer that wakes up late
    changes nothing.

    Args:
        dsn: `postgresql://user:password@host:port/database`; the pool connects at the first use and
            again when it must.
    """

    service = "PostgreSQL"
    copy_rows = COPY_ROWS

    def __init__(self, dsn: str) -> None:
        self._pool = PostgresPool(
            dsn, self.service, wait_s=30, max_size=4, timeout=10, command_timeout=120,
            server_settings=_SESSION,
        )  # fmt: skip
        self._loader = ChunkLoader(self.copy_rows)

    async def prepare(self, table: SinkTable) -> Preflight:
        """Create table, view and bookkeeping where missing; refuse a table that does not fit."""
        check_declaration(table)
        self._refuse(table, name_refusals(table))
        async with self._pool.session(f"preparing table `{table.name}`") as connection:
            notes = await self._before(connection) + await self._loader.probe(connection)
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", PREPARE_LOCK)
                for statement in BOOKKEEPING:
                    await connection.execute(statement)
                found = await look_up(connection, quoted(table.name))
                if found is None:
                    for statement in create_statements(table):
                        await connection.execute(statement)
                    notes += await self._shape(connection, table)
                else:
                    self._refuse(table, refusals(table, found))
                    if not found.comment:
                        await connection.execute(mark_statement(table))
                await connection.execute(create_view(table))
                highest = await _claim(connection, table)
            notes += await self._after(connection, table)
        return Preflight(highest_epoch=highest, notes=notes)

    async def write(self, table: SinkTable, chunk: FlushChunk, rows: pa.Table) -> None:
        """Write one frozen chunk in one transaction; nothing of a refused chunk is visible."""
        checked = conform(table, chunk, rows)
        action = f"writing flush {chunk.flush_seq} to `{table.name}`"
        async with self._pool.session(action) as connection:
            copied = await self._loader.choose(connection, len(checked))
            async with connection.transaction():
                await _lock_stream(connection, table, chunk)
                if await _is_recorded(connection, table, chunk):
                    return
                await self._loader.load(connection, table, checked, copied=copied)
                await _record(connection, table, chunk, len(checked))
                if chunk.progress is not None:
                    await tell(connection, table, chunk.progress)

    async def publish(self, table: SinkTable, progress: Progress) -> None:
        """Tell readers of time that passed without rows, unless a newer epoch owns the table."""
        action = f"telling the progress of `{table.name}`"
        async with self._pool.session(action) as connection, connection.transaction():
            await _lock_stream(connection, table, progress)
            await tell(connection, table, progress)

    async def refresh(self, table: SinkTable, version: int) -> None:
        """Do nothing: the version is kept with the rows."""

    async def progress(self, table: SinkTable) -> Progress | None:
        """Read the stream's row of `sluice_streams`."""
        async with self._pool.session("reading `sluice_streams`") as connection:
            return await told(connection, table)

    async def retire(
        self, table: SinkTable, chunk: FlushChunk, rows: RetiredRows | RetiredEvents
    ) -> None:
        """Turn what is left of older epochs into tombstones, in one transaction."""
        meant: list[object]
        if isinstance(rows, RetiredEvents):
            statement = retire_events(table)
            meant = [list(part) for part in zip(*rows.spans, strict=True)]
        else:
            statement = retire_windows(table)
            times = (rows.floor_ms, rows.until_ms, rows.after_ms)
            meant = [_EPOCH + timedelta(milliseconds=at) for at in times]
        action = f"retiring rows of `{table.name}`"
        async with self._pool.session(action) as connection, connection.transaction():
            await _lock_stream(connection, table, chunk)
            if await _is_recorded(connection, table, chunk):
                return
            done = await connection.execute(
                statement, chunk.version, *rows.versions(chunk.epoch), *meant
            )
            await _record(connection, table, chunk, int(done.split()[-1]))

    async def final_rows(
        self, table: str, limit: int | None = None, time: str = "window_start"
    ) -> pa.Table:
        """Read `<table>_final`, newest `time` first, then by position or the rest.

        UUIDs and JSON are text, and text orders by its bytes.
        """
        async with self._pool.session(f"reading `{table}_final`") as connection:
            return await read_final(connection, table, limit, time)

    async def close(self) -> None:
        """Close the connections; the next use opens them again."""
        await self._pool.close()

    async def _before(self, connection: asyncpg.Connection) -> list[str]:  # noqa: ARG002 - a hook of TimescaleDB
        """Do what must precede the table, outside its transaction."""
        return []

    async def _shape(self, connection: asyncpg.Connection, table: SinkTable) -> list[str]:  # noqa: ARG002 - a hook
        """Shape a table that was just made, within its transaction."""
        return []

    async def _after(self, connection: asyncpg.Connection, table: SinkTable) -> list[str]:  # noqa: ARG002 - a hook
        """Set up housekeeping once the table is there."""
        if table.retention_ms is None and table.compress_after_ms is None:
            return []
        return [
            f"{self.service} table `{table.name}`: retention and compress_after are not "
            "applied to a plain table"
        ]

    def _refuse(self, table: SinkTable, reasons: list[str]) -> None:
        if reasons:
            raise SinkRefusedError(
                f"{self.service} table `{table.name}` cannot hold stream `{table.stream}`: "
                f"{'; '.join(reasons)}"
            )


async def _claim(connection: asyncpg.Connection, table: SinkTable) -> int:
    """Give the stream its row and return its highest epoch; without a record, the rows tell."""
    epoch = await connection.fetchval(
        "SELECT epoch FROM sluice_stream WHERE stream = $1 AND sink_table = $2",
        table.stream,
        table.name,
    )
    if epoch is not None:
        return int(epoch)
    highest = await connection.fetchval(
        f"SELECT coalesce(max(_version) >> 40, 0) FROM {quoted(table.name)}"
    )
    await connection.execute(
        "INSERT INTO sluice_stream (stream, sink_table, epoch) VALUES ($1, $2, $3) ON CONFLICT "
        "DO NOTHING",
        table.stream,
        table.name,
        highest,
    )
    return int(highest)


async def _lock_stream(
    connection: asyncpg.Connection, table: SinkTable, chunk: FlushChunk | Progress
) -> None:
    """Take the stream's row for this transaction, and refuse an older epoch."""
    epoch = await connection.fetchval(
        "SELECT epoch FROM sluice_stream WHERE stream = $1 AND sink_table = $2 FOR UPDATE",
        table.stream,
        table.name,
    )
    if epoch is None:
        raise SinkRefusedError(
            f"table `{table.name}`: expected to be prepared for stream `{table.stream}`, got "
            "no record of it; "
            "start the stream, which prepares it"
        )
    if epoch > chunk.epoch:
        raise StaleEpochError(
            f"table `{table.name}` of stream `{table.stream}`: expected epoch {epoch} or "
            f"later, got {chunk.epoch}; "
            "a newer run of the stream owns it, this one must end"
        )
    if epoch < chunk.epoch:
        await connection.execute(
            "UPDATE sluice_stream SET epoch = $3, complete_through = NULL, version = NULL "
            "WHERE stream = $1 AND sink_table = $2",
            table.stream,
            table.name,
            chunk.epoch,
        )


async def _is_recorded(connection: asyncpg.Connection, table: SinkTable, chunk: FlushChunk) -> bool:
    recorded = await connection.fetchval(
        "SELECT sha256 FROM sluice_flush "
        "WHERE stream = $1 AND sink_table = $2 AND epoch = $3 AND flush_seq = $4 AND chunk = $5",
        table.stream,
        table.name,
        chunk.epoch,
        chunk.flush_seq,
        chunk.chunk,
    )
    if recorded not in (None, chunk.sha256):
        raise FatalError(
            f"flush {chunk.flush_seq} chunk {chunk.chunk} of `{table.name}` (epoch "
            f"{chunk.epoch}): expected the rows "
            f"already written, sha256 {recorded}, got {chunk.sha256}; two runs share one "
            "epoch, start the stream `--fresh`"
        )
    return recorded is not None


async def _record(
    connection: asyncpg.Connection, table: SinkTable, chunk: FlushChunk, row_count: int
) -> None:
    await connection.execute(
        "INSERT INTO sluice_flush (stream, sink_table, epoch, flush_seq, chunk, sha256, rows) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        table.stream,
        table.name,
        chunk.epoch,
        chunk.flush_seq,
        chunk.chunk,
        chunk.sha256,
        row_count,
    )
    if chunk.chunk == 0:
        await connection.execute(
            "DELETE FROM sluice_flush WHERE stream = $1 AND sink_table = $2 AND (epoch < $3 OR "
            "flush_seq < $4)",
            table.stream,
            table.name,
            chunk.epoch,
            chunk.flush_seq - _FLUSHES_KEPT,
        )
