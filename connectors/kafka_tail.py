"""The last records of a topic, which tell the version that its sink committed last."""

from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka import errors as kafka_errors

from activities.ports import TopicState
from common.errors import ServiceUnavailableError
from common.settings import KafkaSettings
from connectors.kafka_cluster import security_options

TAIL_OFFSETS = 1_000
"""Offsets of a partition that are searched first; then sixteen times as many, up to its start."""


@dataclass(frozen=True)
class TailMark:
    """The latest chunk of which a record was found."""

    version: int
    chunk: int
    stream: str
    complete_ms: int | None = None


async def last_mark(settings: KafkaSettings, topic: str, state: TopicState) -> TailMark | None:
    """Find the highest version and chunk among the last records of every partition.

    A transaction shows whole or not at all, so one record of a chunk says that the chunk was
    committed. Compaction never removes the last record of a partition, unless it is an old
    tombstone; then an earlier chunk is found, and the later one may be written again.

    Returns:
        None when no record, or a last record without the headers, was found.
    """
    if state.start == state.end:
        return None
    servers = settings.bootstrap_servers or ""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, isolation_level="read_committed", enable_auto_commit=False,
        **security_options(settings),
    )  # fmt: skip
    try:
        await consumer.start()
        marks = []
        for number, end in state.end.items():
            last = await _last_record(consumer, TopicPartition(topic, number), state, end)
            if last is not None:
                marks.append(_mark(last))
    except (kafka_errors.KafkaError, OSError) as error:
        raise ServiceUnavailableError("Kafka", servers, str(error)) from error
    finally:
        await consumer.stop()
    found = [mark for mark in marks if mark is not None]
    if not found or len(found) < len(marks):
        return None
    return max(found, key=lambda mark: (mark.version, mark.chunk))


async def _last_record(
    consumer: AIOKafkaConsumer, place: TopicPartition, state: TopicState, end: int
) -> ConsumerRecord | None:
    """Read backwards in growing steps: markers and aborted records take offsets too."""
    first, step, stop = state.start[place.partition], TAIL_OFFSETS, end
    consumer.assign([place])
    while stop > first:
        start = max(first, stop - step)
        consumer.seek(place, start)
        last = None
        while await consumer.position(place) < stop:
            for records in (await consumer.getmany(place, timeout_ms=500)).values():
                for record in records:
                    if record.offset < stop:
                        last = record
        if last is not None:
            return last
        stop, step = start, step * 16
    return None


def _mark(record: ConsumerRecord) -> TailMark | None:
    headers = dict(record.headers)
    if not {"stream", "version", "chunk"} <= headers.keys():
        return None
    told = headers.get("complete_through_ms")
    return TailMark(
        int(headers["version"]),
        int(headers["chunk"]),
        headers["stream"].decode(),
        None if told is None else int(told),
    )
