"""What activities need from outside; connectors fulfil these Protocols, workers wire them in."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from contracts.field_type import FieldType
from streaming.offset_range import OffsetRange
from streaming.record_block import RecordBlock


@dataclass(frozen=True)
class TopicState:
    """What the broker says of a topic at one moment.

    Attributes:
        topic_id: Identity of the topic; another one means that it was deleted and made anew.
        start: First offset still in the log, per partition.
        end: Last stable offset (the next one a committed reader would get to), per partition.
    """

    topic_id: str
    start: dict[int, int]
    end: dict[int, int]


class RecordLog(Protocol):
    """A partitioned log of records.

    Raises `TopicMissingError`, `OffsetLostError`, `ServiceUnavailableError`.
    """

    async def describe(self, topic: str) -> TopicState:
        """Read identity, start and end of every partition."""
        ...

    async def offsets_at(self, topic: str, time_ms: int) -> dict[int, int]:
        """Find the first offset whose record time is at or after `time_ms`, per partition.

        Where no record is, it is the end.
        """
        ...

    async def wait_for_data(
        self, topic: str, cursors: dict[int, int], timeout_ms: int
    ) -> TopicState:
        """Return as soon as a partition's end lies beyond its cursor, or after `timeout_ms`.

        One long poll over all partitions. A partition not named in `cursors` counts as news at
        once.
        """
        ...

    def read(
        self, span: OffsetRange, topic_id: str, block_bytes: int
    ) -> AsyncIterator[RecordBlock]:
        """Yield exactly the committed records of the range, in order.

        They come in blocks of about `block_bytes`. Complete when a batch with last offset >= stop -
        1 or one that starts at or after stop was seen, or the position reached stop. Gaps are
        normal; an empty response is asked again, never a gap.
        """
        ...


@dataclass(frozen=True)
class SinkColumn:
    """A column of a sink's table."""

    name: str
    type: FieldType


@dataclass(frozen=True)
class SinkTable:
    """A target table of one stream.

    Readers use `<name>_final`: each identity once, in its last version, without tombstones. Besides
    `columns` a table has `_key` (text, not null), `_version` (64-bit) and `_deleted`.

    Attributes:
        stream: Name of the stream that owns the table.
        name: Name of the table.
        columns: All visible columns in order; for windowed streams `window_start`, `window_end`
            (type `timestamp`), group keys, aggregates; for raw streams fields, derived columns,
            `_topic`, `_partition`, `_offset`.
        identity: Columns that with `_key` identify a row; `("window_start",)` for windowed streams,
            none where `_key` alone does.
        time: The column that says which time a row is about: readers get the newest first, and it
            cuts a hypertable if it is part of the identity.
        recurring_key: Whether a `_key` comes again and again, as that of a group does in every
            window; no two rows of a raw stream share one.
        retention_ms, compress_after_ms: Housekeeping, where the sink has it.
    """

    stream: str
    name: str
    columns: tuple[SinkColumn, ...]
    identity: tuple[str, ...] = ("window_start",)
    time: str = "window_start"
    recurring_key: bool = True
    retention_ms: int | None = None
    compress_after_ms: int | None = None


@dataclass(frozen=True)
class FlushChunk:
    """The name of one write: doing it twice is doing it once.

    Attributes:
        chunk: Number of the chunk within the flush, from 0.
        chunk_count: Chunks of the flush.
        sha256: Hash of the frozen rows of the whole flush.
        complete_ms: With the last chunk of this flush, every window that ended at or before this
            time is whole in the sink; the sink tells its readers in the same write.
    """

    stream: str
    epoch: int
    flush_seq: int
    chunk: int
    chunk_count: int
    sha256: str
    complete_ms: int | None = None

    @property
    def progress(self) -> "Progress | None":
        """What readers may be told once this chunk is written; None before the last one."""
        if self.complete_ms is None or self.chunk < self.chunk_count - 1:
            return None
        return Progress(self.epoch, self.complete_ms, self.version)

    @property
    def version(self) -> int:
        """Version of every row of the flush: epoch << 40 | flush_seq."""
        return self.epoch << 40 | self.flush_seq


@dataclass(frozen=True)
class RetiredRows:
    """Rows that an epoch takes back, because it computed their windows anew and did not find them.

    They are those whose last version before the chunk's is of an epoch from `since_epoch` on and
    before the chunk's, whose window starts at or after `floor_ms` and ends after `after_ms` and at
    or before `until_ms`; milliseconds since the epoch.
    """

    since_epoch: int
    floor_ms: int
    after_ms: int
    until_ms: int

    def versions(self, epoch: int) -> tuple[int, int]:
        """Give the first version that is meant, and the first one of the chunk's epoch."""
        return self.since_epoch << 40, epoch << 40


@dataclass(frozen=True)
class RetiredEvents:
    """Rows of events that an epoch takes back, because it read their offsets and wrote them not.

    They are those whose last version before the chunk's is `first_version` or later and before the
    chunk's epoch, and whose `_partition` and `_offset` are in one of the spans.

    Attributes:
        spans: Partition, first offset, and the one after the last; no partition twice unless its
            spans lie apart.
    """

    first_version: int
    spans: tuple[tuple[int, int, int], ...]

    def versions(self, epoch: int) -> tuple[int, int]:
        """Give the first version that is meant, and the first one of the chunk's epoch."""
        return self.first_version, epoch << 40


@dataclass(frozen=True)
class Progress:
    """What a sink tells its readers of a stream.

    Attributes:
        complete_ms: Every window that ended at or before this time is whole in this sink; within
            an epoch it never goes back.
        version: Of the last flush written before.
    """

    epoch: int
    complete_ms: int
    version: int


@dataclass(frozen=True)
class Preflight:
    """What a sink found and did before the first write.

    Attributes:
        highest_epoch: Highest epoch of this stream that the target has rows of, 0 if none.
        notes: Facts for the log, such as that a plain table stands in for a hypertable.
    """

    highest_epoch: int = 0
    notes: list[str] = field(default_factory=list)


class FlushSink(Protocol):
    """A versioned table of windows or events.

    Raises `SinkRefusedError`, `StaleEpochError`, `ServiceUnavailableError`.
    """

    async def prepare(self, table: SinkTable) -> Preflight:
        """Create table, view and bookkeeping where missing.

        A target that cannot hold the promise is refused.
        """
        ...

    async def write(self, table: SinkTable, chunk: FlushChunk, rows: pa.Table) -> None:
        """Write one frozen chunk.

        `rows` has the columns of the table plus `_key`, `_version` and `_deleted`. Timestamps are
        `timestamp[ms, UTC]`, decimals decimal128, `_version` int64, `_deleted` bool.
        """
        ...

    async def retire(
        self, table: SinkTable, chunk: FlushChunk, rows: RetiredRows | RetiredEvents
    ) -> None:
        """Write a tombstone, in the version of the chunk, over each of the rows that is left.

        Nothing is physically deleted, so a late writer of an older epoch changes nothing. Doing it
        twice is doing it once.
        """
        ...

    async def publish(self, table: SinkTable, progress: Progress) -> None:
        """Tell readers that time went on without rows; where a sink can only tell with rows, no-op.

        Older progress than what was told changes nothing.
        """
        ...

    async def refresh(self, table: SinkTable, version: int) -> None:
        """Commit again what is committed, where it would be forgotten after some quiet days.

        Nothing is done, and no write in flight disturbed, once a version above `version` is
        committed. A sink that keeps its version with its rows has nothing to do.
        """
        ...

    async def progress(self, table: SinkTable) -> Progress | None:
        """Read what readers are told; None before the first flush."""
        ...

    async def final_rows(
        self, table: str, limit: int | None = None, time: str = "window_start"
    ) -> pa.Table:
        """Read `<table>_final`, newest `time` first, without `_key`, at most `limit` rows."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class RecordSink(Protocol):
    """A topic written exactly once, fenced by sequence numbers."""

    async def write_once(
        self,
        writer: str,
        topic: str,
        sequence: int,
        records: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]],
    ) -> None:
        """Append records in one transaction unless `writer` already wrote `sequence`.

        A record is (key, value, headers). `writer` is the transactional id and private group.
        Sequences of one writer only grow; a retry first fences any zombie, then reads the committed
        sequence: at or above `sequence` means done. The topic is created if missing.
        """
        ...
