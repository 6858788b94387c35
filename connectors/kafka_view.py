"""The last record of each row of a topic that a stream writes."""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass

from activities.ports import FlushChunk, RetiredRows, SinkColumn
from common.settings import KafkaSettings
from connectors.kafka import KafkaLog
from connectors.kafka_consumer import consume
from connectors.kafka_row import decode_row

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


@dataclass(frozen=True)
class LastRecord:
    """The record of a row's highest version; a tombstone has no value."""

    version: int
    value: bytes | None


async def last_records(
    settings: KafkaSettings,
    log: KafkaLog,
    topic: str,
    stream: str,
    wanted: Callable[[bytes], bool] = lambda _: True,
) -> dict[bytes, LastRecord]:
    """Read a topic to its end; gives by key the last record of each row.

    Args:
        settings: Where Kafka is.
        log: Tells where the topic ends.
        topic: Name of the topic.
        stream: Records of others are passed over.
        wanted: Which keys are kept in memory.
    """
    state = await log.describe(topic)
    ends = {n: end for n, end in state.end.items() if end > state.start[n]}
    last: dict[bytes, LastRecord] = {}
    if not ends:
        return last
    async for part in consume(settings, topic, ends):
        for record in part:
            headers = dict(record.headers)
            if headers.get("stream") != stream.encode() or record.key is None:
                continue
            version = int(headers["version"])
            known = last.get(record.key)
            if (known is None or known.version <= version) and wanted(record.key):
                last[record.key] = LastRecord(version, record.value)
    return last


def starts_in(meant: RetiredRows, start: str) -> Callable[[bytes], bool]:
    """Tell by its key whether a row's window, whose start is in `start`, starts in a span."""

    def test(key: bytes) -> bool:
        return meant.floor_ms <= _to_ms(json.loads(key)[start]) < meant.until_ms

    return test


def left_over(
    last: dict[bytes, LastRecord],
    columns: tuple[SinkColumn, ...],
    chunk: FlushChunk,
    meant: RetiredRows,
) -> list[bytes]:
    """List the keys of rows that are meant and still of an older epoch, in a fixed order."""
    since, before = meant.versions(chunk.epoch)
    keys = []
    for key, record in last.items():
        if record.value is None or not since <= record.version < before:
            continue
        end = decode_row(columns, key, record.value)["window_end"]
        if meant.after_ms < (end - _EPOCH) // _MILLISECOND <= meant.until_ms:
            keys.append(key)
    return sorted(keys)


def _to_ms(text: str) -> int:
    return (dt.datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
