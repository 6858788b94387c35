"""Late events of a stream on the embedded stack: its Kafka holds each of them once."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from common.settings import Settings
from connectors.kafka import KafkaLog
from connectors.kafka_admin import KafkaAdmin
from connectors.kafka_consumer import consume
from connectors.kafka_sink import SinkRecord, TransactionalRecordSink
from connectors.temporal import connect
from pipelines.stream import EventTime, Late, SinkSpec, StreamSpec, Trigger, Window
from tests.stack_rig import StreamOnStack

pytestmark = pytest.mark.integration

MINUTE_MS = 60_000
START_MS = 1_767_225_600_000


def late_spec(name: str) -> StreamSpec:
    return StreamSpec(
        name=name,
        topic=f"{name}-events",
        fields={"at": "timestamp_ms"},
        event_time=EventTime(field="at"),
        window=Window(kind="tumbling", size_ms=MINUTE_MS),
        late=Late(allowed_ms=10_000, to=f"{name}.late"),
        aggregate={"n": "count(*)"},
        sinks=[SinkSpec(kind="postgres", table=name.replace("-", "_"))],
        trigger=Trigger(interval_ms=50, max_records=400),
    )


def record(after_ms: int, key: bytes | None = None) -> SinkRecord:
    value = json.dumps({"at": START_MS + after_ms, "note": "ä"}, ensure_ascii=False).encode()
    return key, value, []


async def read(settings: Settings, topic: str) -> list[Any]:
    log = KafkaLog(settings.kafka)
    ends = (await log.describe(topic)).end
    await log.close()
    return [one async for part in consume(settings.kafka, topic, ends) for one in part]


async def test_late_topic_holds_each_late_event_once_through_a_stop_and_continue_as_new(
    stack: Settings,
) -> None:
    spec = late_spec("late-once")
    admin = KafkaAdmin(stack.kafka)
    await admin.create_topic(spec.topic, 1)
    await admin.close()
    sink = TransactionalRecordSink(stack.kafka)
    await sink.write_once("filler", spec.topic, 1, [record(0), record(10 * MINUTE_MS)])
    stream = StreamOnStack(stack, spec)
    await stream.start(until_latest=False, history_events=30)
    await stream.until(lambda s: s.watermark_ms == START_MS + 10 * MINUTE_MS)

    keys = [b"k", None, b""]
    late = [record(at, keys[at % 3]) for at in range(1_500)]
    await sink.write_once("filler", spec.topic, 2, [*late, record(10 * MINUTE_MS)])
    await stream.until(lambda s: s.ledger.late > 400)
    await stream.handle.signal("stop")
    stopped = await stream.handle.result()
    assert stopped.state == "stopped"
    client = await connect(stack.temporal)
    first = client.get_workflow_handle(stream.handle.id, run_id=stream.run_id)
    assert (await first.describe()).status is WorkflowExecutionStatus.CONTINUED_AS_NEW
    await stream.start()
    result = await stream.handle.result()
    await sink.close()

    assert result.ledger.balanced
    assert result.ledger.late == 1_500
    assert result.ledger.aggregated == 3
    source = {one.offset: one for one in await read(stack, spec.topic)}
    found = [
        (one, {k: v.decode() for k, v in one.headers})
        for one in await read(stack, f"{spec.name}.late")
    ]
    assert [(one.key, one.value) for one, _ in found] == [(key, value) for key, value, _ in late]
    assert len({headers["offset"] for _, headers in found}) == 1_500
    for one, headers in found:
        assert (one.key, one.value) == (
            source[int(headers["offset"])].key, source[int(headers["offset"])].value,
        )  # fmt: skip
        at_ms = json.loads(one.value)["at"]
        at = datetime.fromtimestamp(at_ms // 1_000, UTC)
        assert headers["event_time"] == f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03}Z"
        assert headers["late_by_ms"] == str(9 * MINUTE_MS - 10_000)
        assert (headers["topic"], headers["partition"]) == (spec.topic, "0")
        assert headers["pipeline"] == spec.name
