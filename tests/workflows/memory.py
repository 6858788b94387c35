"""A log, a store and sinks in memory, behind the same Protocols as the real ones."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from activities.ports import (
    FlushChunk,
    Preflight,
    Progress,
    RetiredEvents,
    RetiredRows,
    SinkTable,
    TopicState,
)
from common.errors import (
    FatalError,
    OffsetLostError,
    RetryableError,
    TopicMissingError,
)
from common.payloads import Ref, StoredObject, ref_for
from streaming.offset_range import OffsetRange
from streaming.record_block import RecordBlock

Sleep = Callable[[float], Awaitable[None]]


@dataclass
class MemoryLog:
    """Partitions of raw values; a wait passes on the server's clock, so that time can be skipped.

    Attributes:
        failures: Errors to raise, one per call of `read`, before the log works again.
        starts: First offset that is still there, where records were deleted.
        away: Error of every call while the log cannot be reached.
    """

    topic: str
    partitions: dict[int, list[bytes | None]]
    sleep: Sleep
    topic_id: str = "topic-1"
    starts: dict[int, int] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    reads: list[OffsetRange] = field(default_factory=list)
    waits: int = 0
    away: Exception | None = None
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def append(self, partition: int, *values: bytes | None) -> None:
        """Add records."""
        self.partitions.setdefault(partition, []).extend(values)
        self.grown.set()

    async def describe(self, topic: str) -> TopicState:
        """Tell where the partitions start and end."""
        if topic != self.topic:
            raise TopicMissingError(topic)
        if self.away is not None:
            raise self.away
        ends = {n: len(values) for n, values in self.partitions.items()}
        starts = {n: self.starts.get(n, 0) for n in ends}
        return TopicState(self.topic_id, starts, ends)

    def delete_before(self, partition: int, offset: int) -> None:
        """Lose what lies before an offset, as retention does."""
        self.starts[partition] = offset

    def make_anew(self, partitions: dict[int, list[bytes | None]]) -> None:
        """Replace the topic by another one of the same name."""
        self.topic_id += "-anew"
        self.partitions, self.starts = partitions, {}
        self.grown.set()

    async def offsets_at(self, topic: str, time_ms: int) -> dict[int, int]:  # noqa: ARG002 - the port's
        """Records are stamped with their offset in milliseconds."""
        return {n: min(time_ms, len(values)) for n, values in self.partitions.items()}

    async def wait_for_data(
        self, topic: str, cursors: dict[int, int], timeout_ms: int
    ) -> TopicState:
        """Look, and if there is nothing let the server's clock pass the time-out."""
        self.waits += 1
        state = await self.describe(topic)
        if any(end > cursors.get(n, -1) for n, end in state.end.items()):
            return state
        await self.sleep(timeout_ms / 1000)
        return await self.describe(topic)

    async def read(
        self,
        span: OffsetRange,
        topic_id: str,
        block_bytes: int,  # noqa: ARG002 - the port's
    ) -> AsyncIterator[RecordBlock]:
        """Give the range in blocks of three records."""
        self.reads.append(span)
        if self.away is not None:
            raise self.away
        if self.failures:
            raise self.failures.pop(0)
        if topic_id != self.topic_id or span.start < self.starts.get(span.partition, 0):
            raise OffsetLostError(f"{span}: expected it in the log, got another one")
        for start in range(span.start, span.stop, 3):
            yield _block(span, self.partitions[span.partition], start, min(start + 3, span.stop))


def _block(span: OffsetRange, values: list[bytes | None], start: int, stop: int) -> RecordBlock:
    chosen = values[start:stop]
    sizes = np.array([-1 if v is None else len(v) for v in chosen], np.int32)
    starts = np.concatenate([[0], np.cumsum(np.maximum(sizes, 0))[:-1]]).astype(np.int64)
    buffer = np.frombuffer(b"".join(v or b"" for v in chosen), np.uint8)
    offsets = np.arange(start, stop, dtype=np.int64)
    none = np.full(len(chosen), -1, np.int32)
    return RecordBlock(
        span.topic, span.partition, buffer, offsets, offsets.copy(), starts, sizes,
        np.zeros(len(chosen), np.int64), none,
    )  # fmt: skip


class MemoryStore:
    """Objects in a dictionary.

    Attributes:
        refusals: Errors to raise, one for each word, when a key with the word is created.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refusals: dict[str, Exception] = {}
        self.modified_ms: dict[str, int] = {}

    async def put(self, prefix: str, content: bytes, codec: str = "arrow") -> Ref:
        """Store under a name made from the content."""
        ref = ref_for(prefix, content, codec)
        self.objects[ref.key] = content
        return ref

    async def get(self, ref: Ref) -> bytes:
        """Read one; it must be there."""
        if ref.key not in self.objects:
            raise FatalError(f"object `{ref.key}`: expected it in memory, got none")
        return self.objects[ref.key]

    async def get_range(self, ref: Ref, start: int, stop: int) -> bytes:
        """Read a part of one; it must be there."""
        return (await self.get(ref))[start:stop]

    async def create(self, key: str, content: bytes) -> bool:
        """Store unless it exists."""
        for word in [word for word in self.refusals if word in key]:
            raise self.refusals.pop(word)
        if key in self.objects:
            return False
        self.objects[key] = content
        return True

    async def read(self, key: str) -> bytes | None:
        """Read one if it is there."""
        return self.objects.get(key)

    async def keys(self, prefix: str) -> list[str]:
        """List by prefix."""
        return sorted(key for key in self.objects if key.startswith(prefix))

    async def listing(self, prefix: str) -> list[StoredObject]:
        """List by prefix; objects are as old as the test says, by default from 1970."""
        return [
            StoredObject(key, len(self.objects[key]), self.modified_ms.get(key, 0))
            for key in await self.keys(prefix)
        ]

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove."""
        for key in keys:
            self.objects.pop(key, None)


@dataclass
class MemorySink:
    """A versioned table as a dictionary.

    Attributes:
        failures: Errors to raise, one per write, before the sink works again.
        spared: Writes that succeed before the first failure.
        flushed: Rows of each write.
    """

    rows: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    writes: list[FlushChunk] = field(default_factory=list)
    retired: list[tuple[FlushChunk, RetiredRows | RetiredEvents]] = field(default_factory=list)
    told: list[Progress] = field(default_factory=list)
    refreshed: list[int] = field(default_factory=list)
    spared: int = 0
    flushed: list[list[dict[str, Any]]] = field(default_factory=list)

    async def prepare(self, table: SinkTable) -> Preflight:  # noqa: ARG002 - the port's
        """Nothing to make."""
        return Preflight()

    async def write(
        self,
        table: SinkTable,
        chunk: FlushChunk,
        rows: pa.Table,
    ) -> None:
        """Keep the highest version of each row."""
        if self.failures and len(self.writes) >= self.spared:
            raise self.failures.pop(0)
        self.writes.append(chunk)
        self.flushed.append(rows.to_pylist())
        for row in rows.to_pylist():
            name = (*(row[column] for column in table.identity), row["_key"])
            if name not in self.rows or row["_version"] >= self.rows[name]["_version"]:
                self.rows[name] = row
        if chunk.progress is not None:
            self.told.append(chunk.progress)

    async def publish(self, table: SinkTable, progress: Progress) -> None:  # noqa: ARG002 - the port's
        """Note what readers are told."""
        self.told.append(progress)

    async def refresh(self, table: SinkTable, version: int) -> None:  # noqa: ARG002 - the port's
        """Note which version is kept."""
        self.refreshed.append(version)

    async def progress(self, table: SinkTable) -> Progress | None:  # noqa: ARG002 - the port's
        """Give what readers were told last."""
        return self.told[-1] if self.told else None

    async def retire(
        self,
        table: SinkTable,  # noqa: ARG002 - the port's
        chunk: FlushChunk,
        rows: RetiredRows | RetiredEvents,
    ) -> None:
        """Mark as deleted what is left of older epochs."""
        self.retired.append((chunk, rows))
        since, before = rows.versions(chunk.epoch)
        for row in self.rows.values():
            is_old = since <= row["_version"] < before and not row["_deleted"]
            if is_old and self._is_meant(row, rows):
                row |= {"_version": chunk.version, "_deleted": True}

    def _is_meant(self, row: dict[str, Any], rows: RetiredRows | RetiredEvents) -> bool:
        if isinstance(rows, RetiredEvents):
            number, offset = row["_partition"], row["_offset"]
            return any(n == number and start <= offset < stop for n, start, stop in rows.spans)
        start, end = (round(row[n].timestamp() * 1000) for n in ("window_start", "window_end"))
        return bool(start >= rows.floor_ms and rows.after_ms < end <= rows.until_ms)

    async def final_rows(
        self,
        table: str,  # noqa: ARG002 - the port's
        limit: int | None = None,
        time: str = "window_start",  # noqa: ARG002 - the port's
    ) -> pa.Table:
        """Give what a reader sees."""
        shown = [row for row in self.rows.values() if not row["_deleted"]]
        return pa.Table.from_pylist(shown[:limit])

    async def close(self) -> None:
        """Nothing to close."""


Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


@dataclass
class MemoryRecordSink:
    """Topics written once per sequence.

    Attributes:
        records: Those of all topics.
        failures: Errors to raise after writing, one per call: the answer is lost.
        refusals: Errors to raise instead of writing.
    """

    sequences: dict[str, int] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    topics: dict[str, list[Record]] = field(default_factory=dict)
    failures: list[RetryableError] = field(default_factory=list)
    refusals: list[FatalError] = field(default_factory=list)

    async def write_once(
        self,
        writer: str,
        topic: str,
        sequence: int,
        records: list[Record],
    ) -> None:
        """Append unless the sequence is there; a failure loses the answer, not the records."""
        if self.refusals:
            raise self.refusals.pop(0)
        if sequence > self.sequences.get(writer, 0):
            self.sequences[writer] = sequence
            self.records += records
            self.topics.setdefault(topic, []).extend(records)
        if self.failures:
            raise self.failures.pop(0)


@dataclass
class MemoryWebhook:
    """What was posted.

    Attributes:
        down: Whether each post fails.
        attempts: Posts, failed ones included.
    """

    down: bool = False
    attempts: int = 0
    posted: list[bytes] = field(default_factory=list)

    async def post(self, content: bytes) -> None:
        """Take one, unless it is down."""
        self.attempts += 1
        if self.down:
            raise RetryableError("webhook: expected an answer, got none")
        self.posted.append(content)
