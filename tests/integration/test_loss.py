"""Records that Kafka deleted before they were read, and a topic that was made anew."""

import json

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from common.settings import Settings
from connectors.kafka_admin import KafkaAdmin
from connectors.kafka_sink import SinkRecord, TransactionalRecordSink
from pipelines.stream import EventTime, SinkSpec, StreamSpec, Trigger, Window
from tests.stack_rig import StreamOnStack

pytestmark = pytest.mark.integration

START_MS = 1_767_225_600_000


def spec_of(name: str) -> StreamSpec:
    return StreamSpec(
        name=name,
        topic=f"{name}-events",
        fields={"at": "timestamp_ms"},
        event_time=EventTime(field="at"),
        window=Window(kind="tumbling", size_ms=1_000),
        aggregate={"n": "count(*)"},
        sinks=[SinkSpec(kind="postgres", table=name.replace("-", "_"))],
        trigger=Trigger(interval_ms=50, max_records=100),
    )


def records(first: int, stop: int) -> list[SinkRecord]:
    """Make one event per 10 ms of event time."""
    return [(None, json.dumps({"at": START_MS + i * 10}).encode(), []) for i in range(first, stop)]


async def counts(stream: StreamOnStack) -> dict[int, int]:
    view = await stream.view("postgres")
    return {
        (round(row["window_start"].timestamp() * 1000) - START_MS) // 1_000: row["n"]
        for row in view.iter_rows(named=True)
    }


async def test_deleted_records_pause_a_stream_until_their_loss_is_accepted(stack: Settings) -> None:
    spec = spec_of("retention-won")
    admin = KafkaAdmin(stack.kafka)
    await admin.create_topic(spec.topic, 1, config={"retention.ms": "-1"})
    await admin.close()
    sink = TransactionalRecordSink(stack.kafka)
    await sink.write_once("loss-filler", spec.topic, 1, records(0, 250))
    stream = StreamOnStack(stack, spec)
    await stream.start(until_latest=False)
    await stream.until(lambda s: s.ledger.consumed == 250)
    await stream.handle.signal("pause")
    await stream.until(lambda s: s.state == "paused")

    await sink.write_once("loss-filler", spec.topic, 2, records(250, 1_000))
    await sink.close()
    client = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap_servers)
    await client.start()
    await client.delete_records({TopicPartition(spec.topic, 0): RecordsToDelete(before_offset=600)})
    await client.close()

    await stream.handle.signal("resume")
    lost = await stream.until(lambda s: s.state == "paused" and "--accept-loss" in s.reason)
    assert lost.ledger.consumed == 250
    await stream.handle.signal("accept_loss")
    await stream.until(lambda s: s.partitions[0].offset >= 1_000)
    await stream.handle.signal("stop")
    await stream.handle.result()
    await stream.start()
    result = await stream.handle.result()

    ledger = result.ledger
    assert ledger.balanced
    # Offsets count markers of transactions, which nobody consumes.
    assert (ledger.skipped, ledger.consumed) == (600 - 251, 250 + 1_001 - 600)
    assert await counts(stream) == {0: 100, 1: 100, 2: 50, 5: 1, 6: 100, 7: 100, 8: 100, 9: 100}


async def test_another_topic_of_the_name_is_read_once_the_loss_is_accepted(stack: Settings) -> None:
    spec = spec_of("made-anew")
    admin = KafkaAdmin(stack.kafka)
    await admin.create_topic(spec.topic, 1, config={"retention.ms": "-1"})
    sink = TransactionalRecordSink(stack.kafka)
    await sink.write_once("anew-filler", spec.topic, 1, records(0, 150))
    stream = StreamOnStack(stack, spec)
    await stream.start(until_latest=False)
    await stream.until(lambda s: s.ledger.consumed == 150)
    await stream.handle.signal("pause")
    await stream.until(lambda s: s.state == "paused")

    await admin.delete_topic(spec.topic)
    await admin.create_topic(spec.topic, 2, config={"retention.ms": "-1"})
    await admin.close()
    await stream.handle.signal("resume")
    await stream.until(lambda s: s.state == "paused" and "--accept-loss" in s.reason)
    await sink.write_once("anew-filler-2", spec.topic, 1, records(150, 300))
    await sink.close()
    await stream.handle.signal("accept_loss")
    status = await stream.until(lambda s: s.ledger.consumed == 300)
    assert len(status.partitions) == 2
    await stream.handle.signal("stop")
    await stream.handle.result()
    await stream.start()
    await stream.handle.result()
    assert await counts(stream) == {0: 100, 1: 100, 2: 100}
