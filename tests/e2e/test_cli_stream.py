"""The commands of a first session, typed on a shell against a running stack."""

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from common.settings import Settings
from devstack.sample.sales import SalesShape, sales_records

pytestmark = pytest.mark.timeout(180)

EVENTS, MALFORMED, TOPIC = 20_000, 0.01, "sales"


class Shell:
    """Runs `sluice` in a project."""

    def __init__(self, settings: Settings) -> None:
        self._environment = {**os.environ, "SLUICE_PROJECT_DIR": str(settings.project_dir)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "starter.main", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - a JSON document
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shell(stack: Settings) -> Shell:
    return Shell(stack)


def expected_rows() -> dict[tuple[int, str], tuple[int, Decimal]]:
    """Count and sum the sound events by minute and category, without the engine."""
    counts: Counter[tuple[int, str]] = Counter()
    sums: dict[tuple[int, str], Decimal] = {}
    for batch in sales_records(SalesShape(EVENTS, seed=7, malformed=MALFORMED)):
        for block in batch.blocks:
            for row in range(len(block)):
                try:
                    event = json.loads(block.value(row) or b"", parse_float=Decimal)
                except ValueError:
                    continue
                if not isinstance(event, dict) or len(event) != 6 or event["category"] is None:
                    continue
                if not isinstance(event["amount"], Decimal):
                    continue
                key = (event["timestamp"] // 60_000 * 60_000, event["category"])
                counts[key] += 1
                sums[key] = sums.get(key, Decimal(0)) + event["amount"]
    return {key: (counts[key], sums[key]) for key in counts}


def window_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def test_first_session_gives_the_rows_of_a_batch_computation(shell: Shell) -> None:
    unknown = shell.run("stream", "start", "sales-2m")
    assert unknown.returncode == 2
    assert "did you mean `sales-1m`?" in unknown.stderr

    written = shell.json(
        "generate", "sales", "--events", str(EVENTS), "--seed", "7",
        "--malformed", str(MALFORMED), "--topic", TOPIC, "--fresh",
    )  # fmt: skip
    assert written["events"] == EVENTS

    ended = shell.json("stream", "start", "sales-1m", "--until", "latest", "--fresh", "--wait")
    ledger = ended["ledger"]
    assert ended["state"] == "completed"
    assert ledger["balanced"]
    assert ledger["consumed"] == EVENTS
    assert ledger["dead_lettered"] == written["malformed"]
    assert "/workflows/stream%2Fsales-1m" in ended["web_ui"]

    for sink in ("clickhouse", "timescaledb"):
        rows = shell.json("stream", "results", "sales-1m", "--limit", "0", "--sink", sink)
        found = {
            (window_ms(row["window_start"]), row["category"]): (
                row["sales"],
                Decimal(row["revenue"]),
            )
            for row in rows
        }
        assert len(found) == len(rows)
        assert found == expected_rows()

    status = shell.json("stream", "status", "sales-1m")
    assert (status["state"], status["ledger"]["consumed"]) == ("completed", EVENTS)
    assert sum(one["offset"] for one in status["partitions"]) == EVENTS


def test_endless_stream_is_watched_paused_resumed_and_stopped(shell: Shell) -> None:
    shell.json("generate", "flights", "--fresh")
    assert shell.run("stream", "start", "flights-1h", "--from", "latest").returncode == 0
    again = shell.run("stream", "start", "flights-1h")
    assert again.returncode == 2
    assert "sluice stream status flights-1h --wait" in again.stderr
    timed_out = shell.run("stream", "status", "flights-1h", "--wait", "--timeout", "1s")
    assert timed_out.returncode == 6
    assert "it goes on" in timed_out.stderr
    assert shell.run("stream", "pause", "flights-1h", "--wait").stdout == "flights-1h  paused\n"
    assert shell.run("stream", "resume", "flights-1h", "--wait").stdout == "flights-1h  running\n"
    ended = shell.run("stream", "stop", "flights-1h", "--wait")
    assert ended.returncode == 0
    assert "stopped" in ended.stdout
    assert "balanced" in ended.stdout
    gone = shell.run("stream", "pause", "flights-1h")
    assert gone.returncode == 1
    assert "has ended" in gone.stderr


def test_missing_topic_starts_nothing(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "ghost.yaml"
    path.write_text(
        "kind: stream\nname: ghost\nsource:\n  kafka: {topic: ghost, format: json}\n"
        "  fields: {at: timestamp_ms}\nevent_time: {field: at}\nwindow: {tumbling: 1m}\n"
        "aggregate: {events: count(*)}\nsinks:\n  - clickhouse: {table: ghost}\n"
    )
    done = shell.run("stream", "start", str(path))
    assert done.returncode == 2
    assert "topic `ghost`: expected to exist" in done.stderr
    assert shell.run("stream", "status", str(path)).returncode == 2


@pytest.mark.parametrize("command", ["start", "status"])
def test_temporal_that_is_down_is_one_message(command: str) -> None:
    environment = {**os.environ, "SLUICE_TEMPORAL__ADDRESS": "127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "starter.main", "stream", command, "sales-1m"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: Temporal at 127.0.0.1:9: expected an answer")
    assert done.stderr.count("\n") == 1
