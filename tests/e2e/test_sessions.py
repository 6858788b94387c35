"""Sessions of customers from file to rows: joined after they were shown, exact in every sink."""

import asyncio
import json
from collections import defaultdict
from typing import Any

import polars as pl
import pytest

from common.settings import Settings
from connectors.sinks import open_sink
from tests.e2e.command import Sluice
from tests.stack_rig import raw_values

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

TOPIC, NAME = "visits", "visits"
SINKS = {
    "clickhouse": "visits",
    "timescaledb": "visits",
    "kafka": "visits.sessions",
    "lake": "shop/visits",
}
GAP_MS, LONGEST_MS = 20_000, 240_000
STREAM = """
kind: stream
name: visits
source:
  kafka: {topic: visits, format: json}
  fields: {event_id: string, timestamp: timestamp_ms, customer_id: int64, amount: "decimal(12,2)"}
event_time: {field: timestamp, out_of_orderness: 2s}
group_by: [customer_id]
window: {session: 20s, max_length: 4m}
aggregate: {sales: count(*), revenue: sum(amount), last_sale: last(event_id)}
late: {allowed: 1h}
sinks:
  - clickhouse: {table: visits}
  - timescaledb: {table: visits}
  - kafka: {topic: visits.sessions}
  - lake: {path: shop/visits}
trigger: {interval: 50ms, max_records: 700}
"""

Row = tuple[int, int, int, str]
Sessions = dict[tuple[int, int], Row]


def brute_force(values: list[bytes | None]) -> Sessions:
    """Compute (start, customer) to (end, sales, cents, last event), one event after the other."""
    events: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for value in values:
        record = json.loads(value or b"")
        events[record["customer_id"]].append(record)
    found: Sessions = {}
    for customer, mine in events.items():
        mine.sort(key=lambda record: record["timestamp"])
        run: list[dict[str, Any]] = []
        for record in mine:
            if run and not together(run[-1]["timestamp"], record["timestamp"]):
                found[run[0]["timestamp"], customer] = row_of(run)
                run = []
            run.append(record)
        found[run[0]["timestamp"], customer] = row_of(run)
    return found


def together(one_ms: int, next_ms: int) -> bool:
    return next_ms - one_ms <= GAP_MS and one_ms // LONGEST_MS == next_ms // LONGEST_MS


def row_of(run: list[dict[str, Any]]) -> Row:
    last_ms = run[-1]["timestamp"]
    end_ms = min(last_ms + GAP_MS, (last_ms // LONGEST_MS + 1) * LONGEST_MS)
    cents = sum(round(record["amount"] * 100) for record in run)
    return end_ms, len(run), cents, run[-1]["event_id"]


async def view(settings: Settings, kind: str) -> Sessions:
    """Read what a reader of one sink sees."""
    sink = open_sink(kind, settings)
    try:
        rows = pl.DataFrame(await sink.final_rows(SINKS[kind]))
    finally:
        await sink.close()
    rows = rows.with_columns(pl.col("window_start", "window_end").dt.epoch("ms"))
    found = {
        (row["window_start"], row["customer_id"]): (
            row["window_end"], row["sales"], round(row["revenue"] * 100), row["last_sale"],
        )
        for row in rows.iter_rows(named=True)
    }  # fmt: skip
    assert len(found) == rows.height
    return found


def test_sessions_that_grew_together_are_those_of_all_events_in_every_sink(
    sluice: Sluice, stack: Settings
) -> None:
    path = stack.project_dir / "pipelines" / f"{NAME}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(STREAM.lstrip())
    shape = ["--rate", "4", "--customers", "60", "--topic", TOPIC]
    starts = []
    for seed, start in ((1, "2026-01-01T00:00Z"), (2, "2026-01-01T00:03:20Z")):
        written = ["--events", "3000", "--seed", str(seed), "--start", start, *shape]
        sluice.json("generate", "sales", *written)
        done = sluice.json("stream", "start", NAME, "--until", "latest", "--wait")
        assert (done["state"], done["ledger"]["late"]) == ("completed", 0)
        expected = brute_force(asyncio.run(raw_values(stack, TOPIC)))
        for sink in SINKS:
            assert asyncio.run(view(stack, sink)) == expected, sink
        starts.append(set(expected))
    assert len(starts[0] - starts[1]) > 100, "sessions that were shown are absorbed"
    assert len(starts[1]) > 500
    newest = sluice.ok("stream", "results", NAME, "--limit", "2").splitlines()
    assert newest[0].split()[:3] == ["window_start", "window_end", "customer_id"]
