"""What ClickHouse tells its readers of streams: the table `sluice_streams` and its final view."""

import pyarrow as pa
from clickhouse_connect.driver.asyncclient import AsyncClient

from activities.ports import Progress, SinkTable

_EARLIEST_MS = -2_208_988_800_000
_TIME_BITS = 44
"""Milliseconds from 1900 to 2299 fit; a row's rank is the epoch above the time, so that of two
rows the newer epoch wins, then the later time, whoever writes last.
"""

STATEMENTS = (
    "CREATE TABLE IF NOT EXISTS sluice_streams (stream String, sink_table String, epoch UInt32, "
    "complete_through DateTime64(3, 'UTC'), version UInt64, _rank UInt64) "
    "ENGINE = ReplacingMergeTree(_rank) ORDER BY (stream, sink_table)",
    "CREATE VIEW IF NOT EXISTS sluice_streams_final AS SELECT stream, sink_table, epoch, "
    "complete_through, version FROM sluice_streams FINAL",
)


async def tell(client: AsyncClient, table: SinkTable, progress: Progress) -> None:
    """Add a row, which is shown unless a newer one is there."""
    rank = progress.epoch << _TIME_BITS | (progress.complete_ms - _EARLIEST_MS)
    row = pa.table(
        {
            "stream": [table.stream],
            "sink_table": [table.name],
            "epoch": pa.array([progress.epoch], pa.uint32()),
            "complete_through": pa.array([progress.complete_ms], pa.timestamp("ms", "UTC")),
            "version": pa.array([progress.version], pa.uint64()),
            "_rank": pa.array([rank], pa.uint64()),
        }
    )
    await client.insert_arrow("sluice_streams", row, settings={"async_insert": 0})


async def told(client: AsyncClient, table: SinkTable) -> Progress | None:
    """Read what readers see."""
    found = await client.query(
        "SELECT epoch, toUnixTimestamp64Milli(complete_through), version FROM sluice_streams_final "
        "WHERE stream = {stream:String} AND sink_table = {name:String}",
        parameters={"stream": table.stream, "name": table.name},
    )
    if not found.result_rows:
        return None
    epoch, complete_ms, version = found.result_rows[0]
    return Progress(int(epoch), int(complete_ms), int(version))
