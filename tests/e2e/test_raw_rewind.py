"""Rewinds of a raw stream from the command line, into every sink."""

import asyncio
from typing import Any

import asyncpg
import pytest

from common.settings import Settings
from tests.e2e.command import Sluice
from tests.e2e.test_raw_stream import FILE, write

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NAME, TOPIC, TABLE = "raw-back", "raw-back-sales", "raw_back"
SINKS = ("clickhouse", "timescaledb", "postgres", "kafka", "lake")
FILE_BACK = (
    FILE[: FILE.index("identity:")].replace("sales-by-id", NAME).replace("raw-e2e", TOPIC)
    + f"""\
sinks:
  - clickhouse: {{table: {TABLE}}}
  - timescaledb: {{table: {TABLE}}}
  - postgres: {{table: {TABLE}_plain}}
  - kafka: {{topic: {TABLE}}}
  - lake: {{path: {TABLE}}}
trigger: {{interval: 50ms, max_records: 500}}
"""
)


async def change(settings: Settings) -> None:
    """Lose some rows of TimescaleDB, and let it hold one that no event of the log gives."""
    dsn = settings.timescaledb.dsn
    assert dsn is not None
    connection = await asyncpg.connect(dsn.get_secret_value())
    try:
        await connection.execute(
            f"DELETE FROM {TABLE} WHERE _partition < 2 AND _offset >= 700 AND _offset < 900"
        )
        await connection.execute(
            f"CREATE TEMP TABLE one AS SELECT * FROM {TABLE} WHERE _partition = 0 LIMIT 1"
        )
        await connection.execute("UPDATE one SET _offset = 950, _key = 'nobody'")
        await connection.execute(f"INSERT INTO {TABLE} SELECT * FROM one")
    finally:
        await connection.close()


def places(sluice: Sluice, sink: str) -> list[tuple[int, int]]:
    rows: list[dict[str, Any]] = sluice.json(
        "stream", "results", NAME, "--sink", sink, "--limit", "0"
    )
    return sorted((row["_partition"], row["_offset"]) for row in rows)


def test_a_raw_stream_goes_back_to_offsets_and_to_a_time_in_every_sink(
    sluice: Sluice, stack: Settings
) -> None:
    write(sluice, NAME, FILE_BACK)
    sluice.ok("generate", "sales", "--events", "6000", "--topic", TOPIC)
    first = sluice.json("stream", "start", NAME, "--until", "latest", "--wait")
    expected = places(sluice, "clickhouse")
    assert len(expected) == first["ledger"]["delivered"]
    asyncio.run(change(stack))
    assert places(sluice, "timescaledb") != expected
    again = sluice.json(
        "stream", "start", NAME, "--rewind-to", "0=700,1=700", "--until", "latest", "--wait"
    )
    assert (again["epoch"], again["ledger"]["balanced"]) == (2, True)
    assert 0 < again["ledger"]["consumed"] < 6_000
    for sink in SINKS:
        assert places(sluice, sink) == expected, sink
    sluice.ok("stream", "start", NAME)
    told = sluice.ok("stream", "rewind", NAME, "--to", "2026-01-01T00:00:30Z")
    assert f"{NAME}  epoch 3: events are written again" in told
    sluice.ok("stream", "drain", NAME, "--wait")
    for sink in SINKS:
        assert places(sluice, sink) == expected, sink
