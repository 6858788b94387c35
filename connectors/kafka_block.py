"""From fetch responses to the record blocks of a pinned range: what is visible, what complete."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from common.errors import FatalError, RetryableError
from connectors.kafka_batch import (
    ABORT_MARKER,
    ATTRIBUTES,
    BAD_CHECKSUM,
    BASE_OFFSET,
    BASE_TIMESTAMP,
    COMPRESSION_MASK,
    CONTROL,
    END,
    HEADER_BYTES,
    LAST_OFFSET,
    LOG_APPEND_TIME,
    MARKER,
    MAX_TIMESTAMP,
    OK,
    OLD_FORMAT,
    POSITION,
    PRODUCER_ID,
    RECORD_COUNT,
    TRANSACTIONAL,
    Bytes,
    Int64s,
    find_records,
    scan,
)
from connectors.kafka_compression import decompress
from streaming.offset_range import OffsetRange
from streaming.record_block import RecordBlock


@dataclass(frozen=True)
class Fetched:
    """What one fetch response says of one partition.

    Attributes:
        records: The record set, as it came.
        aborted: (producer id, first offset) of the aborted transactions that reach into it.
        last_stable_offset, log_start_offset: As of the fetch; -1 when the broker did not say.
    """

    records: memoryview
    aborted: list[tuple[int, int]]
    last_stable_offset: int
    log_start_offset: int


class RangeCursor:
    """Follows one range through the batches of successive responses.

    The position is one past the last offset of the last whole batch seen, so the range is complete
    when it reaches stop: a batch with last offset >= stop - 1 or one that starts at or after stop
    was seen. An empty response moves nothing.

    Attributes:
        position: Offset to fetch next.
        complete: Whether the whole range was seen.
    """

    def __init__(self, span: OffsetRange) -> None:
        self.span = span
        self.position = span.start
        self.complete = span.start >= span.stop

    def take(self, fetched: Fetched) -> "Section":
        """Check the whole batches of a response and move the position behind them.

        Raises:
            RetryableError: When a batch is damaged.
            FatalError: When a batch has a message format older than version 2.
        """
        buffer = np.frombuffer(fetched.records, np.uint8)
        table, status, rows = scan(buffer)
        if status != OK:
            self._refuse(status, int(table[rows, BASE_OFFSET]))
        if len(table):
            self.position = max(self.position, int(table[-1, LAST_OFFSET]) + 1)
            self.complete = self.position >= self.span.stop
        visible = _visible(table, fetched.aborted)
        visible &= (table[:, LAST_OFFSET] >= self.span.start) & (
            table[:, BASE_OFFSET] < self.span.stop
        )
        size_bytes = int(table[-1, END]) if len(table) else 0
        return Section(self.span, buffer, table[visible], size_bytes, len(table))

    def _refuse(self, status: int, offset: int) -> None:
        where = f"batch at offset {offset} of {self.span.topic}-{self.span.partition}"
        if status == OLD_FORMAT:
            raise FatalError(
                f"{where}: expected message format 2, got an older one; copy the topic to a new one"
            )
        got = "another" if status == BAD_CHECKSUM else "a length that does not fit"
        raise damaged(where, f"expected its checksum, got {got}")


def damaged(where: str, what: str) -> RetryableError:
    """Say that a batch cannot be read; it may be the transfer's fault, so a retry is worth it."""
    return RetryableError(
        f"{where}: {what}; it is read again, if it stays so check the broker's disk"
    )


def _visible(table: Int64s, aborted: list[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    """Mark the batches whose records a committed reader sees, as the Java consumer decides it."""
    attributes = table[:, ATTRIBUTES]
    visible: npt.NDArray[np.bool_] = (attributes & CONTROL) == 0
    if not aborted:
        return visible
    waiting = sorted(aborted, key=lambda transaction: transaction[1], reverse=True)
    open_producers: set[int] = set()
    for row in range(len(table)):
        producer = int(table[row, PRODUCER_ID])
        if producer < 0:
            continue
        while waiting and waiting[-1][1] <= table[row, LAST_OFFSET]:
            open_producers.add(waiting.pop()[0])
        if attributes[row] & CONTROL:
            if table[row, MARKER] == ABORT_MARKER:
                open_producers.discard(producer)
        elif attributes[row] & TRANSACTIONAL and producer in open_producers:
            visible[row] = False
    return visible


@dataclass(frozen=True)
class Section:
    """The visible batches of one response that reach into the range.

    Attributes:
        size_bytes, batch_count: Extent of all whole batches of the response, visible or not.
    """

    span: OffsetRange
    buffer: Bytes
    table: Int64s
    size_bytes: int
    batch_count: int

    def blocks(self, block_bytes: int) -> Iterator[RecordBlock]:
        """Decode the records, in blocks of about `block_bytes` of uncompressed bytes.

        Raises:
            RetryableError: When a batch does not decompress or its records do not fit it.
        """
        for rows in self._runs():
            run = self.table[rows]
            if run[0, ATTRIBUTES] & COMPRESSION_MASK:
                yield from self._compressed(run, block_bytes)
            else:
                for part in _cut(run, block_bytes):
                    yield from self._block(
                        self.buffer, part, part[:, POSITION] + HEADER_BYTES, part[:, END]
                    )

    def _runs(self) -> Iterator[slice]:
        """Split where the compression or the kind of timestamp changes."""
        kind = self.table[:, ATTRIBUTES] & (COMPRESSION_MASK | LOG_APPEND_TIME)
        edges = [0, *(np.flatnonzero(np.diff(kind)) + 1).tolist(), len(kind)]
        for first, last in pairwise(edges):
            if first < last:
                yield slice(first, last)

    def _compressed(self, run: Int64s, block_bytes: int) -> Iterator[RecordBlock]:
        sections: list[Bytes] = []
        first, size = 0, 0
        for row in range(len(run)):
            sections.append(self._decompress(run[row]))
            size += len(sections[-1])
            if size >= block_bytes or row == len(run) - 1:
                ends = np.cumsum([len(section) for section in sections], dtype=np.int64)
                starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
                joined = np.concatenate(sections)
                joined.flags.writeable = (
                    False  # as a fetched buffer, for which the kernel is compiled
                )
                yield from self._block(joined, run[first : row + 1], starts, ends)
                sections, first, size = [], row + 1, 0

    def _decompress(self, batch: Int64s) -> Bytes:
        section = self.buffer[batch[POSITION] + HEADER_BYTES : batch[END]]
        try:
            return decompress(int(batch[ATTRIBUTES] & COMPRESSION_MASK), section.data)
        except ValueError as error:
            raise damaged(
                self._place(batch), f"expected it to decompress, got `{error}`"
            ) from error

    def _block(
        self, buffer: Bytes, run: Int64s, starts: Int64s, ends: Int64s
    ) -> Iterator[RecordBlock]:
        log_append_time = bool(run[0, ATTRIBUTES] & LOG_APPEND_TIME)
        spans = np.empty((len(run), 6), np.int64)
        spans[:, 0], spans[:, 1], spans[:, 2] = starts, ends, run[:, BASE_OFFSET]
        spans[:, 3] = run[:, MAX_TIMESTAMP if log_append_time else BASE_TIMESTAMP]
        spans[:, 4] = not log_append_time
        spans[:, 5] = np.clip(run[:, RECORD_COUNT], 0, ends - starts)
        capacity = int(spans[:, 5].sum())
        places = [np.empty(capacity, np.int64) for _ in range(4)]
        sizes = [np.empty(capacity, np.int32) for _ in range(2)]
        count, bad = find_records(
            buffer, spans, self.span.start, self.span.stop,
            places[0], places[1], places[2], sizes[0], places[3], sizes[1],
        )  # fmt: skip
        if bad >= 0:
            raise damaged(
                self._place(run[bad]), "expected whole records, got one that does not fit"
            )
        if count:
            yield RecordBlock(
                topic=self.span.topic,
                partition=self.span.partition,
                buffer=buffer,
                offset=places[0][:count],
                timestamp_ms=places[1][:count],
                value_start=places[2][:count],
                value_size=sizes[0][:count],
                key_start=places[3][:count],
                key_size=sizes[1][:count],
                log_append_time=log_append_time,
            )

    def _place(self, batch: Int64s) -> str:
        offset = int(batch[BASE_OFFSET])
        return f"batch at offset {offset} of {self.span.topic}-{self.span.partition}"


def _cut(run: Int64s, block_bytes: int) -> Iterator[Int64s]:
    """Cut a run of batches where about `block_bytes` are together."""
    number = (run[:, END] - run[0, POSITION] - 1) // max(block_bytes, 1)
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(run)]
    for first, last in pairwise(edges):
        yield run[first:last]
