"""The last record of each row of a topic that a stream writes."""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from activities.ports import FlushChunk, RetiredEvents, RetiredRows, SinkColumn, SinkTable
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


def may_be_meant(table: SinkTable, meant: RetiredRows | RetiredEvents) -> Callable[[bytes], bool]:
    """Tell by its key whether a row can be meant in any version.

    Of events by position the key says where they stand; by an identity of their own, any can be.
    """
    if isinstance(meant, RetiredEvents):
        return _within(meant) if table.identity else lambda _: True
    start = table.identity[0]

    def test(key: bytes) -> bool:
        return meant.floor_ms <= _to_ms(json.loads(key)[start]) < meant.until_ms

    return test


def _within(meant: RetiredEvents) -> Callable[[bytes], bool]:
    spans: dict[int, list[tuple[int, int]]] = {}
    for number, start, stop in meant.spans:
        spans.setdefault(number, []).append((start, stop))

    def test(key: bytes) -> bool:
        _, number, offset, *_ = json.loads(key)["_key"].split("|")
        return any(start <= int(offset) < stop for start, stop in spans.get(int(number), ()))

    return test


def left_over(
    last: dict[bytes, LastRecord],
    columns: tuple[SinkColumn, ...],
    chunk: FlushChunk,
    meant: RetiredRows | RetiredEvents,
) -> list[bytes]:
    """List the keys of rows that are meant and still of an older epoch, in a fixed order."""
    since, before = meant.versions(chunk.epoch)
    keys = []
    for key, record in last.items():
        if record.value is None or not since <= record.version < before:
            continue
        if _is_meant(decode_row(columns, key, record.value), meant):
            keys.append(key)
    return sorted(keys)


def _is_meant(row: dict[str, Any], meant: RetiredRows | RetiredEvents) -> bool:
    if isinstance(meant, RetiredRows):
        end_ms: int = (row["window_end"] - _EPOCH) // _MILLISECOND
        return meant.after_ms < end_ms <= meant.until_ms
    return any(
        number == row["_partition"] and start <= row["_offset"] < stop
        for number, start, stop in meant.spans
    )


def _to_ms(text: str) -> int:
    return (dt.datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
