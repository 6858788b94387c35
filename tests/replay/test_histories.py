"""Recorded histories replayed without a server: what a workflow decided then, it decides now."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from common.payloads_converter import data_converter
from workflows.etl import EtlWorkflow
from workflows.sandbox import sandboxed_runner
from workflows.stream import StreamWorkflow

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
OF_A_MACHINE = re.compile(r"/(?:home|root|Users|tmp|var|work)/|site-packages|^\d+@")


def content_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def history_of(content: dict[str, Any]) -> WorkflowHistory:
    return WorkflowHistory.from_json(content["workflow_id"], {"events": content["events"]})


def events(*paths: Path) -> list[dict[str, Any]]:
    return [event for path in paths for event in content_of(path)["events"]]


def texts(value: object) -> Iterator[str]:
    """Yield every text of a history, payloads decoded."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "data" and isinstance(part, str):
                yield base64.b64decode(part).decode()
            else:
                yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str):
        yield value


def replayer() -> Replayer:
    return Replayer(
        workflows=[StreamWorkflow, EtlWorkflow],
        data_converter=data_converter(),
        workflow_runner=sandboxed_runner(),
    )


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_recorded_history_replays(path: Path) -> None:
    await replayer().replay_workflow(history_of(content_of(path)))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_replay_fails_when_the_workflow_would_run_another_activity(path: Path) -> None:
    content = content_of(path)
    scheduled = [e for e in content["events"] if "activityTaskScheduledEventAttributes" in e]
    last = scheduled[-1]["activityTaskScheduledEventAttributes"]
    last["activityType"]["name"] = "stream.another"
    with pytest.raises(NondeterminismError, match=r"stream\.another"):
        await replayer().replay_workflow(history_of(content))


def test_recorded_histories_hold_every_way_a_stream_goes() -> None:
    found = events(*HISTORIES)
    signals = {
        event["workflowExecutionSignaledEventAttributes"]["signalName"]
        for event in found
        if "workflowExecutionSignaledEventAttributes" in event
    }
    activities = {
        event["activityTaskScheduledEventAttributes"]["activityType"]["name"]
        for event in found
        if "activityTaskScheduledEventAttributes" in event
    }
    attributes = {name for event in found for name in event if name.endswith("Attributes")}

    assert signals == {"pause", "resume", "drain", "stop"}
    assert activities >= {
        "stream.open", "stream.claim_epoch", "stream.aggregate_ranges", "stream.combine",
        "stream.wait_for_data",
        "stream.deliver_ranges", "stream.deliver_dead_letters", "stream.save_state",
        "sink.write_flush", "stream.combine_keys", "alert.raise", "alert.end",
        "etl.open", "etl.settle", "etl.plan", "etl.extract_chunk", "etl.extract_snapshot",
        "etl.transform_chunk", "etl.group", "etl.stage_chunk", "etl.find_repeated", "etl.audit",
        "etl.reconcile", "etl.publish", "etl.finish", "etl.discard",
    }  # fmt: skip
    assert attributes >= {
        "workflowExecutionContinuedAsNewEventAttributes", "timerStartedEventAttributes",
        "activityTaskFailedEventAttributes", "activityTaskCancelRequestedEventAttributes",
        "workflowExecutionCompletedEventAttributes",
        "workflowExecutionUpdateCompletedEventAttributes",
    }  # fmt: skip


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_recorded_history_names_no_machine(path: Path) -> None:
    found = [text[:200] for text in texts(events(path)) if OF_A_MACHINE.search(text)]

    assert found == []


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_recorded_history_is_small(path: Path) -> None:
    assert len(events(path)) <= 3_000
    assert path.stat().st_size <= 1_000_000
