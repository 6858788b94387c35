import asyncio
import random
from collections.abc import AsyncIterator
from uuid import uuid4

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from common.errors import OffsetLostError, ServiceUnavailableError, TopicMissingError
from common.settings import KafkaSettings
from connectors import kafka_batch, kafka_encode
from connectors.kafka import KafkaLog
from connectors.kafka_admin import KafkaAdmin
from connectors.kafka_producer import BulkProducer
from streaming.offset_range import OffsetRange
from streaming.record_block import RecordBlock

pytestmark = pytest.mark.integration
Row = tuple[int, bytes | None, bytes | None]


@pytest.fixture(scope="module", autouse=True)
def compiled_kernels() -> None:
    kafka_batch.warm_up()
    kafka_encode.warm_up()


@pytest.fixture
def settings(kafka_address: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka_address)


@pytest.fixture
async def log(settings: KafkaSettings) -> AsyncIterator[KafkaLog]:
    made = KafkaLog(settings)
    yield made
    await made.close()


@pytest.fixture
async def admin(settings: KafkaSettings) -> AsyncIterator[KafkaAdmin]:
    made = KafkaAdmin(settings)
    yield made
    await made.close()


@pytest.fixture
async def topic(admin: KafkaAdmin) -> AsyncIterator[str]:
    name = f"log-{uuid4().hex[:12]}"
    await admin.create_topic(name, 2, config={"retention.ms": "-1"})  # record times of 2023
    yield name
    await admin.delete_topic(name)


def block_of(values: list[bytes], start_ms: int = 1_700_000_000_000) -> RecordBlock:
    size = np.array([len(value) for value in values], np.int32)
    start = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.int64)
    row = np.arange(len(values), dtype=np.int64)
    no_key = np.full(len(values), -1, np.int32)
    content = np.frombuffer(b"".join(values), np.uint8)
    return RecordBlock("", 0, content, row, start_ms + row, start, size, start, no_key)


async def append(settings: KafkaSettings, topic: str, partition: int, values: list[bytes]) -> int:
    producer = BulkProducer(settings, batch_bytes=2000)
    await producer.start()
    try:
        return await producer.append(topic, partition, block_of(values))
    finally:
        await producer.stop()


async def read(
    log: KafkaLog, topic: str, start: int, stop: int, *, partition: int = 0, block_bytes: int = 4096
) -> list[Row]:
    topic_id = (await log.describe(topic)).topic_id
    span = OffsetRange(topic=topic, partition=partition, start=start, stop=stop)
    return [
        (int(block.offset[row]), block.key(row), block.value(row))
        async for block in log.read(span, topic_id, block_bytes)
        for row in range(len(block))
    ]


async def write_transactions(address: str, topic: str) -> dict[int, bytes]:
    """Interleave committed, aborted and plain records in partition 0; give what a reader sees."""
    random_ = random.Random(5)
    visible: dict[int, bytes] = {}
    producers = [
        AIOKafkaProducer(bootstrap_servers=address, transactional_id=f"{topic}-{row}")
        for row in range(3)
    ]
    plain = AIOKafkaProducer(bootstrap_servers=address, linger_ms=0)
    for producer in [*producers, plain]:
        await producer.start()
    opened: dict[int, list[tuple[int, bytes]]] = {}
    for step in range(120):
        value = b"%d" % step
        chosen = random_.randrange(4)
        if chosen == 3:
            sent = await plain.send_and_wait(topic, value, partition=0)
            visible[sent.offset] = value
        elif chosen in opened and random_.random() < 0.4:
            mine = opened.pop(chosen)
            if random_.random() < 0.5:
                await producers[chosen].commit_transaction()
                visible.update(mine)
            else:
                await producers[chosen].abort_transaction()
        else:
            if chosen not in opened:
                await producers[chosen].begin_transaction()
            sent = await producers[chosen].send_and_wait(topic, value, partition=0)
            opened.setdefault(chosen, []).append((sent.offset, value))
    for chosen in opened:
        await producers[chosen].abort_transaction()
    for producer in [*producers, plain]:
        await producer.stop()
    return dict(sorted(visible.items()))


async def test_any_cut_gives_exactly_the_committed_records(
    log: KafkaLog, settings: KafkaSettings, kafka_address: str, topic: str
) -> None:
    visible = await write_transactions(kafka_address, topic)
    first = await append(settings, topic, 0, [b"bulk%d" % row for row in range(500)])
    visible |= {first + row: b"bulk%d" % row for row in range(500)}
    end = (await log.describe(topic)).end[0]
    random_ = random.Random(11)
    for _ in range(60):
        start, stop = sorted(random_.choices(range(end + 1), k=2))
        expected = [
            (offset, None, value) for offset, value in visible.items() if start <= offset < stop
        ]
        block_bytes = random_.choice([1, 500, 1 << 20])
        assert await read(log, topic, start, stop, block_bytes=block_bytes) == expected


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_batches_that_the_broker_took_are_read_in_every_compression(
    log: KafkaLog, kafka_address: str, topic: str, compression: str | None
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_address, compression_type=compression)
    await producer.start()
    rows: list[Row] = []
    for offset in range(300):
        key = b"k%d" % offset if offset % 3 else None
        value = b"v%d" % offset * 20 if offset % 3 != 1 else None
        await producer.send(topic, value, key, partition=0, headers=[("h", b"x")])
        rows.append((offset, key, value))
    await producer.stop()
    assert await read(log, topic, 0, 300) == rows
    assert await read(log, topic, 17, 251, block_bytes=1) == rows[17:251]


@pytest.mark.parametrize("compression", ["none", "lz4"])
async def test_a_bulk_append_keeps_the_order_in_every_partition(
    log: KafkaLog, settings: KafkaSettings, topic: str, compression: str
) -> None:
    producer = BulkProducer(settings, compression=compression, batch_bytes=3000)
    await producer.start()
    parts = [[b"%d-%d" % (part, row) for row in range(1000)] for part in range(4)]
    firsts = await asyncio.gather(
        *(producer.append(topic, part % 2, block_of(values)) for part, values in enumerate(parts))
    )
    assert await producer.append(topic, 0, block_of([])) == -1
    await producer.stop()
    assert sorted(firsts) == [0, 0, 1000, 1000]
    for partition in (0, 1):
        got = [value for _, _, value in await read(log, topic, 0, 2000, partition=partition)]
        assert got == parts[partition] + parts[partition + 2]


async def test_a_batch_larger_than_a_block_is_still_read(
    log: KafkaLog, settings: KafkaSettings, topic: str
) -> None:
    values = [b"x" * 900_000, b"y", b"z" * 900_000]
    await append(settings, topic, 0, values)
    assert [row[2] for row in await read(log, topic, 0, 3, block_bytes=10)] == values


async def test_a_range_waits_for_an_open_transaction_and_then_skips_what_was_aborted(
    log: KafkaLog, settings: KafkaSettings, kafka_address: str, topic: str
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_address, transactional_id=topic)
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"open", partition=0)
    await append(settings, topic, 0, [b"after"])
    assert (await log.describe(topic)).end[0] == 0
    reading = asyncio.create_task(read(log, topic, 0, 2))
    waiting = asyncio.create_task(log.wait_for_data(topic, {0: 0, 1: 0}, 20_000))
    await producer.abort_transaction()
    assert (await waiting).end[0] == 3
    assert await reading == [(1, None, b"after")]
    await producer.stop()


async def test_deleted_records_are_an_offset_lost_error(
    log: KafkaLog, settings: KafkaSettings, kafka_address: str, topic: str
) -> None:
    await append(settings, topic, 0, [b"%d" % row for row in range(20)])
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_address)
    await client.start()
    await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=5)})
    await client.close()
    assert (await log.describe(topic)).start[0] == 5
    with pytest.raises(OffsetLostError, match=rf"{topic}-0 at offset 4: .* got 5 to 20"):
        await read(log, topic, 4, 20)
    with pytest.raises(OffsetLostError, match="at offset 3"):
        await log.wait_for_data(topic, {0: 3, 1: 0}, 100)
    assert len(await read(log, topic, 5, 20)) == 15


async def test_an_offset_beyond_the_end_is_an_offset_lost_error(log: KafkaLog, topic: str) -> None:
    with pytest.raises(OffsetLostError, match=r"at offset 9: .* got 0 to 0"):
        await read(log, topic, 9, 10)


async def test_a_topic_made_anew_is_an_offset_lost_error(
    log: KafkaLog, admin: KafkaAdmin, settings: KafkaSettings, topic: str
) -> None:
    await append(settings, topic, 0, [b"old"])
    old = (await log.describe(topic)).topic_id
    await admin.delete_topic(topic)
    with pytest.raises(TopicMissingError, match=topic):
        await log.describe(topic)
    await admin.create_topic(topic, 2)
    await append(settings, topic, 0, [b"new"])
    span = OffsetRange(topic=topic, partition=0, start=0, stop=1)
    with pytest.raises(OffsetLostError, match="deleted and made anew"):
        await anext(aiter(log.read(span, old, 4096)))
    assert await read(log, topic, 0, 1) == [(0, None, b"new")]


async def test_a_missing_topic_is_said_so(log: KafkaLog) -> None:
    for call in (log.describe("no-such"), log.offsets_at("no-such", 0)):
        with pytest.raises(TopicMissingError, match="topic `no-such`"):
            await call


async def test_waiting_ends_when_data_arrive_on_any_partition(
    log: KafkaLog, settings: KafkaSettings, topic: str
) -> None:
    for cursors in ({0: 0, 1: 0}, {0: 0, 1: 1}):
        waiting = asyncio.create_task(log.wait_for_data(topic, cursors, 30_000))
        await append(settings, topic, 1 if cursors[1] == 0 else 0, [b"v"])
        state = await waiting
        assert any(state.end[partition] > cursor for partition, cursor in cursors.items())


async def test_waiting_ends_at_its_time_and_at_once_for_what_is_there(
    log: KafkaLog, settings: KafkaSettings, topic: str
) -> None:
    assert (await log.wait_for_data(topic, {0: 0, 1: 0}, 50)).end == {0: 0, 1: 0}
    assert (await log.wait_for_data(topic, {0: 0}, 30_000)).end == {0: 0, 1: 0}
    await append(settings, topic, 0, [b"v"])
    assert (await log.wait_for_data(topic, {0: 0, 1: 0}, 30_000)).end == {0: 1, 1: 0}


async def test_new_partitions_end_a_wait(log: KafkaLog, admin: KafkaAdmin, topic: str) -> None:
    waiting = asyncio.create_task(log.wait_for_data(topic, {0: 0, 1: 0}, 30_000))
    assert await admin.add_partitions(topic, 3)
    assert not await admin.add_partitions(topic, 3)
    assert set((await waiting).end) == {0, 1, 2}


async def test_offsets_are_found_by_record_time(
    log: KafkaLog, settings: KafkaSettings, topic: str
) -> None:
    await append(settings, topic, 0, [b"%d" % row for row in range(10)])
    assert await log.offsets_at(topic, 1_700_000_000_004) == {0: 4, 1: 0}
    assert await log.offsets_at(topic, 0) == {0: 0, 1: 0}
    assert await log.offsets_at(topic, 1_800_000_000_000) == {0: 10, 1: 0}


async def test_many_coroutines_share_one_log(
    log: KafkaLog, settings: KafkaSettings, topic: str
) -> None:
    values = [b"%d" % row for row in range(2000)]
    await append(settings, topic, 0, values)
    polls = [
        asyncio.create_task(log.wait_for_data(topic, {0: 2000, 1: 0}, 30_000)) for _ in range(3)
    ]
    spans = [(start, start + 100) for start in range(0, 2000, 100)]
    parts = await asyncio.gather(*(read(log, topic, start, stop) for start, stop in spans))
    assert [value for part in parts for _, _, value in part] == values
    await append(settings, topic, 1, [b"v"])
    assert [(await poll).end[1] for poll in polls] == [1, 1, 1]


async def test_a_reader_that_stops_early_leaves_nothing_behind(
    log: KafkaLog, settings: KafkaSettings, topic: str
) -> None:
    await append(settings, topic, 0, [b"x" * 500 for _ in range(100)])
    topic_id = (await log.describe(topic)).topic_id
    reading = log.read(OffsetRange(topic=topic, partition=0, start=0, stop=100), topic_id, 1000)
    assert len(await anext(reading)) > 0
    del reading
    assert len(await read(log, topic, 0, 100)) == 100


async def test_creation_is_idempotent_and_topics_are_listed(admin: KafkaAdmin, topic: str) -> None:
    assert not await admin.create_topic(topic, 5)
    assert (await admin.list_topics())[topic] == 2
    assert not await admin.delete_topic("no-such")


async def test_a_broker_that_is_down_is_named_within_seconds() -> None:
    down = KafkaLog(KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    with pytest.raises(
        ServiceUnavailableError, match=r"Kafka at 127\.0\.0\.1:1: expected an answer"
    ):
        await down.describe("sales")
    await down.close()
