"""A user's own stream from file to rows: bounded runs, exact against a batch computation."""

import asyncio
import csv
import io
import json
from decimal import Decimal

import polars as pl
import pytest

from common.settings import Settings
from starter.compare import compare
from starter.demo_expected import expected_sales
from tests.e2e.command import Sluice
from tests.stack_rig import raw_values

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

EVENTS, TOPIC, NAME = 60_000, "own-sales", "own-stream"
TIME = "%Y-%m-%dT%H:%M:%SZ"
KEY = ["window_start", "category"]


@pytest.fixture(scope="module")
def written(sluice: Sluice) -> dict[str, object]:
    arguments = ["--events", str(EVENTS), "--seed", "5", "--malformed", "0.01", "--topic", TOPIC]
    found: dict[str, object] = sluice.json("generate", "sales", *arguments)
    return found


@pytest.fixture(scope="module")
def first_run(sluice: Sluice, written: dict[str, object]) -> str:
    assert written["events"] == EVENTS
    sluice.write_stream(NAME, TOPIC)
    return sluice.ok("stream", "start", NAME, "--until", "latest", "--wait")


def rows(sluice: Sluice, sink: str) -> pl.DataFrame:
    found = sluice.json("stream", "results", NAME, "--sink", sink, "--limit", "0")

    def decimals(name: str, scale: int) -> pl.Series:
        return pl.Series(name, [Decimal(row[name]) for row in found], pl.Decimal(38, scale))

    return pl.DataFrame(found).with_columns(
        pl.col("window_start").str.to_datetime(TIME, time_unit="ms", time_zone="UTC"),
        decimals("revenue", 2),
        decimals("average_amount", 6),
    )


def check(sluice: Sluice, stack: Settings) -> None:
    expected = expected_sales(asyncio.run(raw_values(stack, TOPIC)))
    for sink in ("clickhouse", "postgres"):
        found = compare(expected, rows(sluice, sink), KEY)
        assert found.different_rows == 0, (sink, found.examples)


def test_rows_of_an_own_stream_are_those_of_a_batch_computation(
    sluice: Sluice, stack: Settings, first_run: str
) -> None:
    assert first_run.startswith(f"{NAME}  completed 60,000 events in ")
    assert "  consumed 60,000 = aggregated 59," in first_run
    assert "balanced" in first_run
    assert "NOT BALANCED" not in first_run
    check(sluice, stack)


@pytest.mark.usefixtures("first_run")
def test_status_has_the_fields_that_scripts_read(
    sluice: Sluice, written: dict[str, object]
) -> None:
    status = sluice.json("stream", "status", NAME)
    assert status["state"] == "completed"
    assert status["reason"] == ""
    assert "watermark" in status
    assert status["open_windows"] == 0
    assert status["flushes"] >= 1
    ledger = status["ledger"]
    assert (ledger["consumed"], ledger["dead_lettered"]) == (EVENTS, written["malformed"])
    assert ledger["balanced"]
    assert len(status["partitions"]) == written["partitions"]
    for partition in status["partitions"]:
        assert {"partition", "offset", "end", "lag", "idle"} <= partition.keys()
        assert (partition["offset"], partition["lag"]) == (partition["end"], 0)


@pytest.mark.usefixtures("first_run")
def test_results_say_the_same_as_table_json_and_csv(sluice: Sluice) -> None:
    found = sluice.json("stream", "results", NAME, "--limit", "3")
    text = sluice.ok("stream", "results", NAME, "--limit", "3", "-o", "csv")
    assert [{key: str(value) for key, value in row.items()} for row in found] == list(
        csv.DictReader(io.StringIO(text))
    )
    table = sluice.ok("stream", "results", NAME, "--limit", "3").splitlines()
    assert table[0].split() == list(found[0])
    assert table[1].split() == [str(value) for value in found[0].values()]
    assert table[-1] == "3 rows"
    told = sluice.refused(2, "stream", "results", NAME, "--sink", "timescaledb")
    assert "expected one of clickhouse, postgres" in told


@pytest.mark.usefixtures("first_run")
def test_refused_start_costs_no_saved_state(sluice: Sluice) -> None:
    # A start with another specification took the saved state before it looked at it; so did one
    # with a wrong `--until`: the next right one found none and asked for --fresh.
    sluice.write_stream(NAME, TOPIC, window="5m")
    changed = sluice("stream", "start", NAME, "--until", "latest", "--wait")
    assert changed.returncode == 1
    assert "start with `--fresh`" in changed.stderr
    sluice.write_stream(NAME, TOPIC)
    told = sluice.refused(2, "stream", "start", NAME, "--until", "0=10,9=1", "--fresh")
    assert "expected partitions [0, 1, 2, 3], got [9]" in told
    done = sluice.json("stream", "start", NAME, "--until", "latest", "--wait")
    assert (done["state"], done["epoch"]) == ("completed", 1)
    assert done["ledger"]["consumed"] == EVENTS


@pytest.mark.usefixtures("first_run")
def test_fresh_runs_begin_and_end_where_they_are_told_and_replace_the_rows(
    sluice: Sluice, stack: Settings
) -> None:
    part = ("stream", "start", NAME, "--fresh", "--wait")
    done = sluice.json(*part, "--until", "0=1500,1=900,2=0,3=0")
    assert (done["epoch"], done["ledger"]["consumed"]) == (2, 2400)
    done = sluice.json(*part, "--from", "latest", "--until", "latest")
    assert (done["epoch"], done["ledger"]["consumed"]) == (3, 0)
    done = sluice.json(*part, "--from", "2000-01-01T00:00Z", "--until", "2100-01-01T00:00Z")
    assert (done["epoch"], done["ledger"]["consumed"]) == (4, EVENTS)
    check(sluice, stack)


def test_shipped_and_own_pipelines_are_listed_and_checked(sluice: Sluice) -> None:
    path = sluice.write_stream("checked", TOPIC)
    names = {one["name"] for one in sluice.json("pipelines", "list")}
    assert {"sales-1m", "flights-1h", "checked"} <= names
    assert "ok" in sluice.ok("pipelines", "validate", str(path))
    assert json.loads(sluice.ok("pipelines", "schema"))["$schema"].startswith(
        "https://json-schema.org"
    )
    path.write_text(
        path.read_text().replace("tumbling", "tumblng").replace("sum(amount)", "sum(amout)")
    )
    for command in (("pipelines", "validate", str(path)), ("stream", "start", "checked")):
        told = sluice.refused(2, *command).splitlines()
        assert len(told) == 3
        assert "window.tumblng: unknown option" in "".join(told)
        assert "did you mean `tumbling`?" in "".join(told)
        assert "did you mean `amount`?" in "".join(told)
        assert told[-1] == "2 problems, nothing started"
    path.unlink()
