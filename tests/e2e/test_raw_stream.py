"""A raw stream from the command line: a user's own file, in both runs to its end."""

from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.command import Sluice

pytestmark = pytest.mark.timeout(240)

TOPIC = "raw-e2e"
FILE = """\
kind: stream
name: sales-by-id
source:
  kafka: {topic: raw-e2e}
  fields:
    event_id: string
    timestamp: timestamp_ms
    category: string
    customer_id: int64
    amount: decimal(12,2)
event_time: {field: timestamp, out_of_orderness: 2s}
where: amount > 0
derive: {cents: cast(amount * 100 as bigint)}
identity: [customer_id]
sinks:
  - clickhouse: {table: sales_by_id}
  - timescaledb: {table: sales_by_id}
trigger: {interval: 50ms, max_records: 3000}
"""


def write(sluice: Sluice, name: str, text: str) -> Path:
    path = sluice.settings.project_dir / "pipelines" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_raw_stream_by_position_and_by_id_from_the_command_line(sluice: Sluice) -> None:
    sluice.ok("generate", "sales", "--events", "8000", "--topic", TOPIC, "--malformed", "0.01")
    by_position = FILE.replace("identity: [customer_id]\n", "").replace("by-id", "by-place")
    write(sluice, "sales-by-place", by_position.replace("by_id", "by_place"))
    write(sluice, "sales-by-id", FILE)
    results = {}
    for name in ("sales-by-place", "sales-by-id"):
        assert sluice.ok("pipelines", "validate", name)
        results[name] = sluice.json("stream", "start", name, "--until", "latest", "--wait")
        ledger = results[name]["ledger"]
        assert ledger["balanced"]
        assert (ledger["consumed"], ledger["aggregated"], ledger["late"]) == (8_000, 0, 0)
        assert ledger["delivered"] + ledger["dead_lettered"] + ledger["filtered"] == 8_000
        assert ledger["dead_lettered"] > 0

    delivered = results["sales-by-place"]["ledger"]["delivered"]
    assert results["sales-by-id"]["ledger"]["delivered"] == delivered
    rows = {
        sink: sluice.json("stream", "results", "sales-by-place", "--sink", sink, "--limit", "0")
        for sink in ("clickhouse", "timescaledb")
    }
    assert rows["clickhouse"] == rows["timescaledb"]
    places = [(row["_partition"], row["_offset"]) for row in rows["clickhouse"]]
    assert len(places) == len(set(places)) == delivered
    times = [datetime.fromisoformat(row["timestamp"]) for row in rows["clickhouse"]]
    assert times == sorted(times, reverse=True)

    last: dict[tuple[int, int], int] = {}
    for row in rows["clickhouse"]:
        place = (row["customer_id"], row["_partition"])
        last[place] = max(last.get(place, -1), row["_offset"])
    for sink in ("clickhouse", "timescaledb"):
        found = sluice.json("stream", "results", "sales-by-id", "--sink", sink, "--limit", "0")
        ids = [row["customer_id"] for row in found]
        assert len(ids) == len(set(ids)) == len({customer for customer, _ in last})
        for row in found:
            assert row["_offset"] == last[row["customer_id"], row["_partition"]]

    text = sluice.ok("stream", "start", "sales-by-place", "--until", "latest", "--wait")
    assert f"delivered {delivered:,}" in text
    assert "aggregated" not in text
    status = sluice.json("stream", "status", "sales-by-place")
    assert [sink["pending"] for sink in status["sinks"]] == [0, 0]


def test_late_beside_a_raw_stream_is_refused_with_its_place(sluice: Sluice) -> None:
    text = FILE.replace("identity:", "late: {allowed: 1s}\nidentity:")
    path = write(sluice, "raw-late", text.replace("name: sales-by-id", "name: raw-late"))
    told = sluice.refused(2, "pipelines", "validate", str(path))
    assert ":14:7  late: expected only with `window`" in told
    assert "1 problem, nothing started" in told
    path.unlink()


def test_every_word_of_a_record_is_a_row_in_every_sink(sluice: Sluice) -> None:
    text = FILE[: FILE.index("where:")].replace("sales-by-id", "sales-words")
    text += """\
transform:
  - expand: {word: "unnest(string_split(category, 'e'))"}
  - where: word <> ''
sinks:
  - clickhouse: {table: sales_words}
  - timescaledb: {table: sales_words}
  - kafka: {topic: sales_words}
  - lake: {path: sales_words}
trigger: {interval: 50ms, max_records: 3000}
"""
    write(sluice, "sales-words", text)
    sluice.ok("generate", "sales", "--events", "2000", "--topic", TOPIC)
    run = ("stream", "start", "sales-words", "--until", "latest", "--wait")
    ledger = sluice.json(*run)["ledger"]
    assert ledger["balanced"]
    assert ledger["expanded"] > 0
    again = sluice.json(*run, "--rewind-to", "0=100")["ledger"]
    assert again["balanced"]
    shown = ("stream", "results", "sales-words", "--limit", "0")
    rows = sluice.json(*shown)
    assert len(rows) == ledger["delivered"]
    for row in rows:
        assert row["category"].split("e")[row["_element"]] == row["word"]
    for sink in ("timescaledb", "kafka", "lake"):
        assert sluice.json(*shown, "--sink", sink) == rows
