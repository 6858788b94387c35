import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from common.errors import SourceRefusedError, TopicMissingError
from common.settings import KafkaSettings, Settings
from connectors.kafka_admin import KafkaAdmin
from pipelines.data_interval import DataInterval
from pipelines.etl_source import KafkaSource
from tests.unit.source.source_case import Read, read_all, read_chunk, settings_of, source_of

pytestmark = pytest.mark.integration

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BEGIN_MS = 1_700_000_000_000
MINUTE_MS = 60_000
FIELDS = {
    "id": "int64", "price": "decimal(38,18)", "_partition": "int32", "_offset": "int64",
    "_timestamp": "timestamp",
}  # fmt: skip
BAD = [b"{", None, b'{"id": 1.5, "price": 1}', b"[]"]


@pytest.fixture
def settings(kafka_address: str, tmp_path: Path) -> Settings:
    kafka = KafkaSettings(bootstrap_servers=kafka_address)
    return settings_of(tmp_path).model_copy(update={"kafka": kafka})


@pytest.fixture
async def topic(settings: Settings) -> AsyncIterator[str]:
    admin = KafkaAdmin(settings.kafka)
    name = f"range-{uuid4().hex[:12]}"
    await admin.create_topic(name, 2, config={"retention.ms": "-1"})  # record times of 2023
    yield name
    await admin.delete_topic(name)
    await admin.close()


def interval(first_minute: int, last_minute: int) -> DataInterval:
    start, end = ((BEGIN_MS + minute * MINUTE_MS) * 1000 for minute in (first_minute, last_minute))
    return DataInterval(start_us=start, end_us=end, label="2023-11-14T22:13+00:00")


async def fill(address: str, topic: str) -> list[tuple[int, int, int, bytes | None]]:
    """Write records whose times go back now and then; gives partition, offset, time and value."""
    random_ = random.Random(7)
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    written = []
    for number in range(400):
        partition = random_.randrange(2)
        time_ms = BEGIN_MS + number * MINUTE_MS // 10 - random_.choice([0, 0, 0, 90_000])
        good = b'{"id": %d, "price": %d.000000000000000001}' % (number, number)
        value = random_.choice(BAD) if random_.random() < 0.1 else good
        sent = await producer.send_and_wait(
            topic, value, key=b"k", partition=partition, timestamp_ms=time_ms
        )
        written.append((partition, sent.offset, time_ms, value))
    await producer.stop()
    return sorted(written, key=lambda record: record[:2])


def first_offset(
    written: list[tuple[int, int, int, bytes | None]], partition: int, time_ms: int
) -> int:
    mine = [record for record in written if record[0] == partition]
    return next((offset for _, offset, at, _ in mine if at >= time_ms), len(mine))


def places(read: Read) -> list[tuple[int, int]]:
    good = [(row["_partition"], row["_offset"]) for row in read.rows]
    texts = [reason.rpartition("-")[2].rstrip(")") for reason in read.reasons()]
    bad = [tuple(map(int, text.split(" at offset "))) for text in texts]
    return sorted([*good, *((one[0], one[1]) for one in bad)])


async def test_intervals_share_no_record_and_leave_none_out(
    settings: Settings, kafka_address: str, topic: str, tmp_path: Path
) -> None:
    written = await fill(kafka_address, topic)
    seen: list[tuple[int, int]] = []
    for first, last in ((-60, 5), (5, 6), (6, 30), (30, 90)):
        span = interval(first, last)
        made = source_of(tmp_path, KafkaSource(topic=topic), FIELDS, span, settings)
        read = await read_all(made, chunk_rows=random.Random(first).choice([1, 7, 1000]))
        expected = [
            record
            for record in written
            if first_offset(written, record[0], span.start_us // 1000)
            <= record[1]
            < first_offset(written, record[0], span.end_us // 1000)
        ]
        assert places(read) == [record[:2] for record in expected]
        by_place = {(record[0], record[1]): record for record in written}
        for row in read.rows:
            _, _, time_ms, value = by_place[row["_partition"], row["_offset"]]
            assert value is not None
            assert row["id"] == json.loads(value)["id"]
            assert f"{row['price']:f}" == f"{row['id']}.000000000000000001"
            assert row["_timestamp"] == EPOCH + timedelta(milliseconds=time_ms)
        contents = [json.loads(row["content"])["_text"].encode() for row in read.unreadable]
        assert sorted(contents) == sorted(value or b"" for *_, value in expected if value in BAD)
        seen += places(read)
    assert sorted(seen) == [record[:2] for record in written]


async def test_without_an_interval_everything_is_read_and_fields_alone_are_columns(
    settings: Settings, kafka_address: str, topic: str, tmp_path: Path
) -> None:
    written = await fill(kafka_address, topic)
    made = source_of(tmp_path, KafkaSource(topic=topic), {"id": "int64"}, None, settings)
    read = await read_all(made, block_bytes=500)
    assert len(read.rows) + len(read.unreadable) == len(written)
    assert list(read.rows[0]) == ["id"]
    assert read.shape.row_estimate == len(written)
    assert read.shape.notes == []


async def test_what_may_be_gone_or_still_come_is_told_and_lost_offsets_are_refused(
    settings: Settings, kafka_address: str, topic: str, tmp_path: Path
) -> None:
    await fill(kafka_address, topic)
    late = source_of(tmp_path, KafkaSource(topic=topic), FIELDS, interval(30, 90), settings)
    assert any("may still come" in note for note in (await read_all(late)).shape.notes)
    made = source_of(tmp_path, KafkaSource(topic=topic), FIELDS, interval(-60, 30), settings)
    read = await read_all(made)
    assert read.shape.notes == []
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_address)
    await client.start()
    await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=5)})
    await client.close()
    made = source_of(tmp_path, KafkaSource(topic=topic), FIELDS, interval(-60, 30), settings)
    [note] = (await made.describe()).notes
    assert "partitions 0 begins" in note
    with pytest.raises(SourceRefusedError, match="as when the run was planned, got another log"):
        await read_chunk(made, read.shape, read.chunks[0])
    await made.close()


async def test_a_topic_that_is_not_there_and_wrong_types_of_places_are_refused(
    settings: Settings, tmp_path: Path
) -> None:
    gone = source_of(
        tmp_path, KafkaSource(topic=f"none-{uuid4().hex}"), {"id": "int64"}, None, settings
    )
    with pytest.raises(TopicMissingError):
        await read_all(gone)
    with pytest.raises(SourceRefusedError, match=r"fields\._offset: expected `int64`"):
        source_of(tmp_path, KafkaSource(topic="x"), {"_offset": "int32"}, None, settings)
