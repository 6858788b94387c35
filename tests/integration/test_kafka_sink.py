import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from common.errors import RetryableError
from common.settings import KafkaSettings
from connectors.kafka_admin import KafkaAdmin
from connectors.kafka_sink import SinkRecord, TransactionalRecordSink

pytestmark = pytest.mark.integration


@pytest.fixture
async def sink(kafka_address: str) -> AsyncIterator[TransactionalRecordSink]:
    made = TransactionalRecordSink(KafkaSettings(bootstrap_servers=kafka_address))
    yield made
    await made.close()


@pytest.fixture
def topic() -> str:
    return f"sink-{uuid4().hex[:12]}"


async def committed(address: str, topic: str) -> list[SinkRecord]:
    """Read a topic of one partition with aiokafka's own consumer, up to its last stable offset."""
    consumer = AIOKafkaConsumer(bootstrap_servers=address, isolation_level="read_committed")
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        records: list[SinkRecord] = []
        while await consumer.position(place) < end:
            for batch in (await consumer.getmany(timeout_ms=1000)).values():
                records += [(record.key, record.value, list(record.headers)) for record in batch]
        return records
    finally:
        await consumer.stop()


def numbered(count: int) -> list[SinkRecord]:
    return [(b"k", b"%d" % row, [("row", b"%d" % row)]) for row in range(count)]


async def transactional(address: str, writer: str) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(bootstrap_servers=address, transactional_id=writer)
    await producer.start()
    return producer


async def test_a_thousand_records_are_written_once_when_repeated(
    sink: TransactionalRecordSink, kafka_address: str, topic: str
) -> None:
    records = numbered(1000)
    for _ in range(3):
        await sink.write_once(topic, topic, 7, records)
    await sink.write_once(topic, topic, 6, records)
    assert await committed(kafka_address, topic) == records
    assert await sink.committed_sequence(topic, topic) == 7


async def test_null_keys_null_values_and_headers_arrive_as_they_are(
    sink: TransactionalRecordSink, kafka_address: str, topic: str
) -> None:
    records: list[SinkRecord] = [
        (None, b"v", []),
        (b"k", None, [("error", b"bad"), ("error", b"again"), ("empty", b"")]),
        (b"", b"", []),
        (b"large", b"x" * 2_000_000, []),
    ]
    await sink.write_once(topic, topic, 0, records)
    assert await committed(kafka_address, topic) == records


async def test_an_empty_list_still_commits_the_sequence(
    sink: TransactionalRecordSink, kafka_address: str, topic: str
) -> None:
    await sink.write_once(topic, topic, 1, [])
    assert await sink.committed_sequence(topic, topic) == 1
    await sink.write_once(topic, topic, 1, numbered(3))
    assert await committed(kafka_address, topic) == []


async def test_sequences_follow_each_other_and_writers_do_not_mix(
    sink: TransactionalRecordSink, kafka_address: str, topic: str
) -> None:
    for sequence in (1, 2, 5 << 40):
        await sink.write_once(f"{topic}-a", topic, sequence, [(None, b"a%d" % sequence, [])])
    await sink.write_once(f"{topic}-b", topic, 1, [(None, b"b1", [])])
    values = [value for _, value, _ in await committed(kafka_address, topic)]
    assert values == [b"a1", b"a2", b"a%d" % (5 << 40), b"b1"]


async def test_a_retry_after_a_crash_between_produce_and_commit_writes_once(
    sink: TransactionalRecordSink, kafka_address: str, topic: str
) -> None:
    await sink.write_once(topic, topic, 1, numbered(1))
    crashed = await transactional(kafka_address, topic)
    await crashed.begin_transaction()
    await crashed.send_and_wait(topic, b"lost")
    await crashed.send_offsets_to_transaction({TopicPartition(topic, 0): 2}, topic)
    await crashed.client.close()
    await sink.write_once(topic, topic, 2, [(None, b"second", [])])
    values = [value for _, value, _ in await committed(kafka_address, topic)]
    assert values == [b"0", b"second"]
    await crashed.stop()


async def test_a_zombie_is_fenced_and_its_records_never_show(
    sink: TransactionalRecordSink, kafka_address: str, topic: str
) -> None:
    await sink.write_once(topic, topic, 1, [])
    zombie = await transactional(kafka_address, topic)
    await zombie.begin_transaction()
    await zombie.send_and_wait(topic, b"zombie")
    await sink.write_once(topic, topic, 2, [(None, b"alive", [])])
    with pytest.raises(Exception, match=r"fenced|newer producer"):
        await zombie.commit_transaction()
    await zombie.stop()
    assert [value for _, value, _ in await committed(kafka_address, topic)] == [b"alive"]


async def test_attempts_side_by_side_write_once_and_the_loser_may_retry(
    sink: TransactionalRecordSink, kafka_address: str, topic: str
) -> None:
    await sink.write_once(topic, topic, 0, [])
    attempts = await asyncio.gather(
        *(sink.write_once(topic, topic, 1, numbered(50)) for _ in range(4)), return_exceptions=True
    )
    assert all(result is None or isinstance(result, RetryableError) for result in attempts)
    await sink.write_once(topic, topic, 1, numbered(50))
    assert await committed(kafka_address, topic) == numbered(50)


async def test_a_new_target_allows_records_that_are_larger_than_their_source(
    sink: TransactionalRecordSink, kafka_address: str, topic: str
) -> None:
    admin = KafkaAdmin(KafkaSettings(bootstrap_servers=kafka_address))
    await sink.write_once(topic, topic, 0, [(None, b"x" * 1_048_576, [("error", b"e" * 500)])])
    assert (await admin.list_topics())[topic] == 1
    await admin.close()
