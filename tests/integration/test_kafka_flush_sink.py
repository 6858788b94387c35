"""The Kafka sink's own promises: what is in the topic, and a version that the broker forgot."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import OffsetAndMetadata

from activities.ports import SinkColumn, SinkTable
from common.errors import RetryableError, SinkRefusedError
from common.settings import KafkaSettings
from connectors.kafka_admin import KafkaAdmin
from connectors.kafka_cluster import KafkaCluster
from connectors.kafka_flush_sink import KafkaFlushSink
from streaming.state import FLUSH_CHUNK_ROWS
from tests.conformance.sink_case import TEXT, SinkCase, chunk_of, row, table_of

pytestmark = pytest.mark.integration


@pytest.fixture
async def case(kafka_address: str) -> AsyncIterator[SinkCase]:
    async def refuse(statement: str) -> None:
        raise AssertionError(statement)

    sink = KafkaFlushSink(KafkaSettings(bootstrap_servers=kafka_address))
    yield SinkCase("kafka", sink, refuse)
    await sink.close()


@pytest.fixture
def table() -> SinkTable:
    return table_of(f"view-{uuid4().hex[:12]}")


async def records_of(address: str, topic: str) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(bootstrap_servers=address, isolation_level="read_committed")
    await consumer.start()
    try:
        metadata = await consumer._client.fetch_all_metadata()
        parts = [TopicPartition(topic, n) for n in metadata.partitions_for_topic(topic) or ()]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        ends = await consumer.end_offsets(parts)
        found: list[ConsumerRecord] = []
        while any([await consumer.position(part) < ends[part] for part in parts]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                found += batch
        return found
    finally:
        await consumer.stop()


async def make_topic(address: str, topic: str, partitions: int) -> None:
    """Make a topic as a user may, with the broker's own settings."""
    admin = KafkaAdmin(KafkaSettings(bootstrap_servers=address))
    await admin.create_topic(topic, partitions)
    await admin.close()


async def forget_version(address: str, topic: str) -> None:
    """Delete the sink's group, as the broker does when it has been quiet for long."""
    cluster = KafkaCluster(KafkaSettings(bootstrap_servers=address))
    try:
        response = await cluster.request(None, DeleteGroupsRequest([f"sluice-sink-{topic}"]))
        assert [code for _, code in response.results] == [0]
    finally:
        await cluster.close()


async def test_records_have_keys_values_headers_and_tombstones(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await case.prepare(table)
    first, second = chunk_of(table, 1), chunk_of(table, 2, epoch=3)
    await case.write(table, first, row(1, "a", 6))
    await case.write(table, second, row(1, "a", 0, deleted=True))
    shown, gone = await records_of(kafka_address, table.name)
    assert shown.key == gone.key == b'{"window_start":"1970-01-01T00:01:00.000Z","_key":"sa"}'
    assert json.loads(shown.value) == {
        "window_start": "1970-01-01T00:01:00.000Z",
        "window_end": "1970-01-01T00:02:00.000Z",
        "category": "a",
        "sales": 6,
        "best": 1.5,
    }
    assert gone.value is None
    versions = [dict(record.headers)["version"] for record in (shown, gone)]
    assert versions == [b"%d" % first.version, b"%d" % (3 << 40 | 2)]
    assert dict(gone.headers)["stream"] == table.stream.encode()


async def test_a_new_topic_is_compacted(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await case.prepare(table)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_address)
    await admin.start()
    try:
        [described] = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, table.name)]
        )
    finally:
        await admin.close()
    assert {entry[0]: entry[1] for entry in described.resources[0][4]}[
        "cleanup.policy"
    ] == "compact"


async def test_a_version_that_the_broker_forgot_is_found_in_the_last_records(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await make_topic(kafka_address, table.name, 3)
    await case.prepare(table)
    chunks = [chunk_of(table, 7, epoch=2, chunk=place, count=2) for place in (0, 1)]
    await case.write(table, chunk_of(table, 6, epoch=2), *(row(n, "b", n) for n in range(40)))
    await case.write(table, chunks[0], row(1, "a", 5))
    await forget_version(kafka_address, table.name)
    await case.write(table, chunks[0], row(1, "a", 5))
    await case.write(table, chunk_of(table, 6, epoch=2), row(1, "a", 1))
    await case.write(table, chunks[1], row(2, "a", 6))
    assert len(await records_of(kafka_address, table.name)) == 42
    await forget_version(kafka_address, table.name)
    with pytest.raises(SinkRefusedError, match="it is made when the stream starts"):
        await case.final(table)
    assert (await case.prepare(table)).highest_epoch == 2
    assert len(await case.final(table)) == 42


async def test_a_version_lost_with_its_records_is_refused(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await make_topic(kafka_address, table.name, 1)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1), row(1, "a", 5))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_address)
    await admin.start()
    try:
        place = TopicPartition(table.name, 0)
        await admin.delete_records({place: RecordsToDelete(before_offset=-1)})
    finally:
        await admin.close()
    await case.write(table, chunk_of(table, 1), row(1, "a", 5))
    await forget_version(kafka_address, table.name)
    with pytest.raises(SinkRefusedError, match="the version expired together with the records"):
        await case.write(table, chunk_of(table, 2), row(1, "a", 6))
    assert await records_of(kafka_address, table.name) == []


async def test_a_topic_with_records_of_others_is_refused(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await make_topic(kafka_address, table.name, 2)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_address)
    await producer.start()
    await producer.send_and_wait(table.name, b"somebody's")
    await producer.stop()
    with pytest.raises(SinkRefusedError, match="it belongs to somebody else"):
        await case.prepare(table)


async def test_another_stream_is_refused_by_the_records_too(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1), row(1, "a", 5))
    await forget_version(kafka_address, table.name)
    with pytest.raises(SinkRefusedError, match="got that of `sales`"):
        await case.prepare(table_of(table.name, stream="others"))
    await case.prepare(table)
    assert await case.final(table) == [(1, "a", 5)]


@pytest.mark.timeout(120)
async def test_a_chunk_as_large_as_the_engine_cuts_them_is_one_transaction(
    case: SinkCase, table: SinkTable
) -> None:
    await case.prepare(table)
    rows = [row(minute, "a", minute) for minute in range(FLUSH_CHUNK_ROWS)]
    await case.write(table, chunk_of(table, 1), *rows)
    assert len(await case.final(table)) == FLUSH_CHUNK_ROWS


async def test_other_columns_are_refused(case: SinkCase, table: SinkTable) -> None:
    await case.prepare(table)
    with pytest.raises(SinkRefusedError, match="choose another topic for the new one"):
        await case.prepare(table_of(table.name, extra={"category": TEXT}))


async def test_more_columns_than_fit_beside_an_offset_are_refused(
    case: SinkCase, table: SinkTable
) -> None:
    names = [f"{uuid4().hex}{uuid4().hex}"[:60] for _ in range(200)]
    wide = SinkTable("s", table.name, (*table.columns, *(SinkColumn(n, TEXT) for n in names)))
    with pytest.raises(SinkRefusedError, match="use fewer or shorter names"):
        await case.prepare(wide)


async def test_a_writer_killed_within_its_transaction_leaves_nothing(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await case.prepare(table)
    writer = f"sluice-sink-{table.name}"
    killed = AIOKafkaProducer(bootstrap_servers=kafka_address, transactional_id=writer)
    await killed.start()
    await killed.begin_transaction()
    place = TopicPartition(table.name, 0)
    offset = OffsetAndMetadata(chunk_of(table, 1).version, "{}")
    await killed.send_offsets_to_transaction({place: offset}, writer)
    await killed.send_and_wait(table.name, b"half", b"key")
    await killed.client.close()
    await case.write(table, chunk_of(table, 1), row(1, "a", 5))
    assert [record.key for record in await records_of(kafka_address, table.name)] == [
        b'{"window_start":"1970-01-01T00:01:00.000Z","_key":"sa"}'
    ]
    await killed.stop()


async def commits_of(address: str, topic: str) -> int:
    """Count how often a version was committed, in the broker's own log of offsets."""
    group = f"sluice-sink-{topic}".encode()
    records = await records_of(address, "__consumer_offsets")
    return sum(group in (record.key or b"") and record.value is not None for record in records)


async def test_a_refresh_commits_what_is_committed_once_more(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await case.prepare(table)
    chunk = chunk_of(table, 7, epoch=2)
    await case.write(table, chunk, row(1, "a", 6))
    commits = await commits_of(kafka_address, table.name)
    await case.sink.refresh(table, chunk.version)
    assert await commits_of(kafka_address, table.name) == commits + 1
    await case.write(table, chunk, row(1, "a", 6))
    assert len(await records_of(kafka_address, table.name)) == 1


async def test_a_refresh_finds_again_what_the_broker_forgot(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await case.prepare(table)
    chunk = chunk_of(table, 7, epoch=2)
    await case.write(table, chunk, row(1, "a", 6))
    await forget_version(kafka_address, table.name)
    await case.sink.refresh(table, chunk.version)
    assert (await case.sink.prepare(table)).highest_epoch == 2
    await case.write(table, chunk, row(1, "a", 6))
    assert len(await records_of(kafka_address, table.name)) == 1


async def test_a_refresh_that_comes_late_commits_nothing_and_fences_nobody(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await case.prepare(table)
    first, second = chunk_of(table, 1), chunk_of(table, 2)
    await case.write(table, first, row(1, "a", 6))
    await case.write(table, second, row(1, "b", 6))
    commits = await commits_of(kafka_address, table.name)
    await case.sink.refresh(table, first.version)
    assert await commits_of(kafka_address, table.name) == commits


async def test_a_refresh_beside_a_write_never_moves_the_version_back(
    case: SinkCase, table: SinkTable, kafka_address: str
) -> None:
    await case.prepare(table)
    zombie = KafkaFlushSink(KafkaSettings(bootstrap_servers=kafka_address))
    await case.write(table, chunk_of(table, 1), row(1, "1", 6))

    async def refresh(version: int) -> None:
        with suppress(RetryableError):
            await zombie.refresh(table, version)

    async def write(number: int) -> None:
        while True:
            with suppress(RetryableError):
                await case.write(table, chunk_of(table, number), row(1, str(number), 6))
                return

    try:
        for number in range(2, 8):
            version = chunk_of(table, number - 1).version
            await asyncio.gather(refresh(version), write(number))
            await case.write(table, chunk_of(table, number), row(1, str(number), 6))
    finally:
        await zombie.close()
    assert len(await records_of(kafka_address, table.name)) == 7
