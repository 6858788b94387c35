"""`sluice alerts` over an object store, without any server."""

import asyncio
import json
from pathlib import Path

import pytest

from activities.alert_io import EndInput, RaiseInput
from activities.alert_record import AlertRecord
from connectors.object_store import ObstoreStore
from starter.main import run
from streaming.alert import alert_id

DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLUICE_PROJECT_DIR", str(tmp_path))
    return tmp_path


def fill(project: Path, count: int) -> list[str]:
    """Record alerts of two pipelines, a day apart, and end the first."""
    store = ObstoreStore((project / ".sluice/objects").as_uri())

    async def add() -> list[str]:
        record, names = AlertRecord(store), []
        for day in range(count):
            pipeline = ("sales-1m", "flights-1h")[day % 2]
            name = alert_id(pipeline, day * DAY_MS, "0193a5c8-1", day + 1)
            alert = RaiseInput(
                name=name,
                pipeline=pipeline,
                what=f"sink:{day}",
                reason="gone",
                raised_ms=day * DAY_MS,
            )
            await record.add(alert)
            await record.add(alert.model_copy(update={"reason": "told twice"}))
            names.append(name)
        await record.end(EndInput(name=names[0], ended_ms=5))
        await record.end(EndInput(name=names[0], ended_ms=6))
        return names

    return asyncio.run(add())


def test_alerts_are_listed_newest_first_with_their_state(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(project, 3)
    assert run(["alerts"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "time                      pipeline    state  what    reason",
        "1970-01-03T00:00:00.000Z  sales-1m    open   sink:2  gone",
        "1970-01-02T00:00:00.000Z  flights-1h  open   sink:1  gone",
        "1970-01-01T00:00:00.000Z  sales-1m    ended  sink:0  gone",
    ]


def test_limit_counts_from_the_newest_and_json_has_all_fields(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = fill(project, 4)
    assert run(["alerts", "--limit", "1", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "name": names[-1], "time": "1970-01-04T00:00:00.000Z", "pipeline": "flights-1h",
            "state": "open", "ended": None, "what": "sink:3", "reason": "gone",
        }
    ]  # fmt: skip
    run(["alerts", "-o", "json"])
    assert json.loads(capsys.readouterr().out)[-1]["ended"] == "1970-01-01T00:00:00.005Z"


def test_a_store_without_alerts_is_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_limit_below_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", "--limit", "0"]) == 2
    assert "--limit" in capsys.readouterr().err


def test_a_start_ends_the_alerts_of_its_own_pipeline_only(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(project, 4)
    store = ObstoreStore((project / ".sluice/objects").as_uri())
    asyncio.run(AlertRecord(store).end_all("sales-1m", 9))
    run(["alerts", "-o", "json"])
    listed = json.loads(capsys.readouterr().out)
    assert [(one["pipeline"], one["state"]) for one in listed] == [
        ("flights-1h", "open"), ("sales-1m", "ended"), ("flights-1h", "open"),
        ("sales-1m", "ended"),
    ]  # fmt: skip
    assert listed[-1]["ended"] == "1970-01-01T00:00:00.005Z", "the first time counts"
