"""A topic with copies from file to rows: each event once, in reach of `within`, in every sink."""

import asyncio
import json
from collections import defaultdict

import polars as pl
import pytest

from common.settings import Settings
from connectors.kafka import KafkaLog
from connectors.kafka_consumer import consume
from connectors.sinks import open_sink
from tests.e2e.command import Sluice

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

TOPIC, NAME = "repeated", "repeated"
WITHIN_MS = 240_000
STREAM = """
kind: stream
name: repeated
source:
  kafka: {topic: repeated, format: json}
  fields: {event_id: string, timestamp: timestamp_ms, category: string, amount: "decimal(12,2)"}
event_time: {field: timestamp, out_of_orderness: 2s}
where: amount > 20
deduplicate: {by: [event_id], within: 4m}
group_by: [category]
window: {tumbling: 10s}
aggregate: {sales: count(*), revenue: sum(amount)}
late: {allowed: 1h}
sinks:
  - clickhouse: {table: repeated}
  - timescaledb: {table: repeated}
trigger: {interval: 50ms, max_records: 700}
"""

View = dict[tuple[int, str], tuple[int, int]]


async def read(settings: Settings) -> dict[int, list[bytes]]:
    """Read the values of every partition with the ordinary consumer."""
    log = KafkaLog(settings.kafka)
    ends = (await log.describe(TOPIC)).end
    await log.close()
    values: dict[int, list[bytes]] = defaultdict(list)
    async for part in consume(settings.kafka, TOPIC, ends):
        for record in part:
            values[record.partition].append(record.value)
    return values


def brute_force(partitions: dict[int, list[bytes]]) -> tuple[View, int, int]:
    """Compute (start, category) to (sales, cents), duplicates, and copies out of reach."""
    rows: View = defaultdict(lambda: (0, 0))
    duplicates = again = 0
    for values in partitions.values():
        known: dict[str, int] = {}
        maximum_ms = 0
        for value in values:
            record = json.loads(value)
            name, at_ms = record["event_id"], record["timestamp"]
            cents = round(record["amount"] * 100)
            if cents <= 2_000:
                continue
            copy = name in known and known[name] >= maximum_ms - WITHIN_MS
            duplicates += copy
            again += name in known and not copy
            known[name] = max(at_ms, known.get(name, 0))
            maximum_ms = max(maximum_ms, at_ms)
            if not copy:
                window = at_ms // 10_000 * 10_000, record["category"]
                sales, total = rows[window]
                rows[window] = sales + 1, total + cents
    return dict(rows), duplicates, again


async def view(settings: Settings, kind: str) -> View:
    """Read what a reader of one sink sees."""
    sink = open_sink(kind, settings)
    try:
        rows = pl.DataFrame(await sink.final_rows(TOPIC))
    finally:
        await sink.close()
    rows = rows.with_columns(pl.col("window_start").dt.epoch("ms"))
    return {
        (row["window_start"], row["category"]): (row["sales"], round(row["revenue"] * 100))
        for row in rows.iter_rows(named=True)
    }


def test_copies_of_a_repeated_export_count_once_in_every_sink(
    sluice: Sluice, stack: Settings
) -> None:
    path = stack.project_dir / "pipelines" / f"{NAME}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(STREAM.lstrip())
    shape = ["--rate", "20", "--seed", "1", "--topic", TOPIC]
    total = 0
    for events in (6_000, 2_500, 6_500):  # the second and third repeat what is there
        sluice.json("generate", "sales", "--events", str(events), *shape)
        total += events
        done = sluice.json("stream", "start", NAME, "--until", "latest", "--wait")
        expected, duplicates, again = brute_force(asyncio.run(read(stack)))
        ledger = done["ledger"]
        assert (done["state"], ledger["consumed"], ledger["late"]) == ("completed", total, 0)
        assert ledger["duplicate"] == duplicates
        assert ledger["aggregated"] == sum(sales for sales, _ in expected.values())
        for sink in ("clickhouse", "timescaledb"):
            assert asyncio.run(view(stack, sink)) == expected, sink
    assert duplicates > 3_000
    assert again > 500, "copies further behind count again"
    assert f"duplicate {duplicates:,}" in sluice.ok("stream", "status", NAME)
    go_back(sluice, duplicates)


def go_back(sluice: Sluice, duplicates: int) -> None:
    """Rewind a raw stream over the same topic to offsets; its rows stay as they are."""
    raw = STREAM[: STREAM.index("group_by:")] + STREAM[STREAM.index("sinks:") :]
    raw = raw.replace("name: repeated", "name: repeated-raw").replace("table: ", "table: raw_")
    path = sluice.settings.project_dir / "pipelines" / f"{NAME}-raw.yaml"
    path.write_text(raw.lstrip())
    run = ("stream", "start", f"{NAME}-raw", "--until", "latest", "--wait")
    shown = ("stream", "results", f"{NAME}-raw", "--limit", "0")
    assert sluice.json(*run)["ledger"]["duplicate"] == duplicates
    before = sluice.json(*shown)
    ledger = sluice.json(*run, "--rewind-to", "0=2500,1=2500,2=3100")["ledger"]
    assert ledger["balanced"]
    assert ledger["below_floor"] > 0
    assert 0 < ledger["duplicate"] <= duplicates
    for sink in ("clickhouse", "timescaledb"):
        assert sluice.json(*shown, "--sink", sink) == before
