"""A rewind by time from the command line, while records arrive."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import polars as pl
import pytest

from common.settings import Settings
from connectors.sinks import open_sink
from starter.compare import compare
from starter.demo_expected import expected_sales
from tests.e2e.command import Sluice
from tests.stack_rig import raw_values

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

NAME, TOPIC, TABLE = "gone-back", "gone-back-sales", "gone_back"
FIRST, MORE = 6_000, 30_000
FLOOR = datetime(2026, 1, 1, 0, 4, tzinfo=UTC)


def write_stream(sluice: Sluice) -> None:
    path = sluice.write_stream(NAME, TOPIC)
    path.write_text(path.read_text().replace("- postgres:", "- timescaledb:"))


async def lose_rows(settings: Settings) -> int:
    """Delete what TimescaleDB holds from the floor on; gives how many rows that were."""
    dsn = settings.timescaledb.dsn
    assert dsn is not None
    connection = await asyncpg.connect(dsn.get_secret_value())
    try:
        done = await connection.execute(f"DELETE FROM {TABLE} WHERE window_start >= $1", FLOOR)
    finally:
        await connection.close()
    return int(done.split()[-1])


async def view(settings: Settings, kind: str, table: str) -> pl.DataFrame:
    sink = open_sink(kind, settings)
    try:
        return pl.DataFrame(await sink.final_rows(table))
    finally:
        await sink.close()


def consumed(sluice: Sluice) -> tuple[int, int]:
    """Give the epoch, and how many records it has read."""
    status = sluice.json("stream", "status", NAME)
    return status["epoch"], status["ledger"]["consumed"]


def test_windows_from_a_time_on_are_written_again_while_records_arrive(
    sluice: Sluice, stack: Settings
) -> None:
    write_stream(sluice)
    shape = ["--rate", "10", "--topic", TOPIC]
    sluice.ok("generate", "sales", "--events", str(FIRST), *shape)
    sluice.ok("stream", "start", NAME)
    while consumed(sluice) != (1, FIRST):
        pass
    lost = 0
    while not lost:  # its windows are written a moment after their records are read
        lost = asyncio.run(lose_rows(stack))
    later = ["--seed", "2", "--start", "2026-01-01T00:10Z"]
    arriving = sluice.start("generate", "sales", "--events", str(MORE), *later, *shape)
    rewound = sluice.json("stream", "rewind", NAME, "--to", "2026-01-01T00:04:30Z")
    assert (rewound["epoch"], rewound["floor"]) == (2, "2026-01-01T00:04:00.000Z")
    assert sum(rewound["offsets"].values()) < FIRST
    arriving.communicate()
    assert arriving.returncode == 0
    expected_count = FIRST + MORE - sum(rewound["offsets"].values())
    while consumed(sluice) != (2, expected_count):
        pass
    sluice.ok("stream", "drain", NAME, "--wait")
    done = sluice.json("stream", "start", NAME, "--until", "latest", "--wait")
    ledger = done["ledger"]
    assert (done["state"], done["epoch"], ledger["late"]) == ("completed", 2, 0)
    assert ledger["aggregated"] + ledger["below_floor"] == ledger["consumed"] == expected_count
    expected = expected_sales(asyncio.run(raw_values(stack, TOPIC)))
    for kind in ("clickhouse", "timescaledb"):
        shown = asyncio.run(view(stack, kind, TABLE))
        found = compare(expected, shown, ["window_start", "category"])
        assert found.different_rows == 0, (kind, found.examples)
