"""What PostgreSQL tells its readers of a stream: the row that its writers lock carries it."""

from datetime import UTC, datetime, timedelta

import asyncpg

from activities.ports import Progress, SinkTable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def tell(connection: asyncpg.Connection, table: SinkTable, progress: Progress) -> None:
    """Move what readers see forward, within the transaction that holds the stream's row."""
    await connection.execute(
        "UPDATE sluice_stream SET complete_through = greatest(complete_through, $3), "
        "version = greatest(version, $4) WHERE stream = $1 AND sink_table = $2",
        table.stream,
        table.name,
        _EPOCH + timedelta(milliseconds=progress.complete_ms),
        progress.version,
    )


async def told(connection: asyncpg.Connection, table: SinkTable) -> Progress | None:
    """Read what readers see."""
    row = await connection.fetchrow(
        "SELECT epoch, complete_through, version FROM sluice_streams "
        "WHERE stream = $1 AND sink_table = $2",
        table.stream,
        table.name,
    )
    if row is None or row["complete_through"] is None:
        return None
    complete_ms = (row["complete_through"] - _EPOCH) // timedelta(milliseconds=1)
    return Progress(row["epoch"], complete_ms, row["version"])
