"""Flushes of a raw stream: numbered when their ranges are planned, written in that order.

A number is never given twice. A range that is taken back, or has no row, leaves its number unused:
what is neither planned nor waiting has nothing to write, so a sink passes over it.
"""

import hashlib

from pipelines.stream import StreamSpec
from streaming.offset_range import OffsetRange
from streaming.segment import Blob
from streaming.state import FLUSH_CHUNK_ROWS, Flush, RangeTask, SinkCursor, StreamState

MOST_CUTS = 63
"""Flushes that a range with an identity may need beside its own; what is beyond shares the last."""

MOST_RANGES = 64
"""Ranges that share a flush; a flush of many small ones is one write into a sink, not many."""


def number_flushes(state: StreamState, spec: StreamSpec, batches: list[list[RangeTask]]) -> None:
    """Give ranges that were just planned the number of the flush that takes their rows.

    Small ranges that travel together share one, as the positions of their events differ. With a
    declared identity each range has its own, because a flush holds an identity once, and numbers
    behind it for what it may be cut into: of an identity the event that was read last counts.
    """
    for batch in batches:
        for place, task in enumerate(batch):
            if spec.identity or place % MOST_RANGES == 0:
                state.flush_seq += 1
            task.flush_seq = state.flush_seq
            if spec.identity:
                state.flush_seq += MOST_CUTS
                task.flush_upto = state.flush_seq


def rest_of(state: StreamState, spec: StreamSpec, task: RangeTask, start: int) -> RangeTask | None:
    """Give what is left of a range that ended early, full of tables; None where nothing is.

    It waits for its turn, see `due_rests`, and its rows go to a flush of their own.

    Args:
        state: Changed in place; what the partition remembers is that of its part before.
        spec: The stream.
        task: The range that was planned.
        start: Where it ended.
    """
    if start >= task.span.stop:
        return None
    sequence = task.flush_seq
    if spec.identity and sequence is not None:
        sequence = min(sequence + 1, task.flush_upto or sequence)
    elif spec.raw:
        sequence = state.flush_seq = state.flush_seq + 1
    return task.model_copy(
        update={
            "span": task.span.model_copy(update={"start": start}),
            "flush_seq": sequence,
            "seen": state.partitions[task.span.partition].seen,
            "inline_bytes": 0,
            "waits": True,
        }
    )


def due_rests(state: StreamState) -> list[RangeTask]:
    """Take what cuts left over and may be read now, because no flush before it waits for a sink.

    So what waits of a range is bounded, however often it is cut. Later flushes wait for it, so it
    is not held back for them.
    """
    first = min((flush.flush_seq for flush in state.flushes), default=None)
    due = [
        task
        for task in state.planned
        if task.waits and (first is None or first >= (task.flush_seq or first))
    ]
    for task in due:
        task.waits = False
    return due


def take_rows(state: StreamState, span: OffsetRange, tables: list[Blob]) -> None:
    """Put the frozen rows of a range that is being merged into its flush.

    Args:
        state: Changed in place; the range is still noted as planned.
        span: The range.
        tables: Its rows; none of a stream with windows.
    """
    if not tables:
        return
    sequence = next(
        t.flush_seq
        for t in state.planned
        if (t.span.partition, t.span.start) == (span.partition, span.start)
    )
    assert sequence is not None  # noqa: S101 - only a raw stream's ranges have rows
    state.flushed_rows += sum(table.row_count for table in tables)
    known = next((f for f in state.flushes if f.flush_seq == sequence), None)
    if known is not None:
        known.more += tables
        known.sha256 = _digest(known.tables)
        return
    flush = Flush(
        flush_seq=sequence,
        rows=tables[0],
        chunk_rows=FLUSH_CHUNK_ROWS,
        sha256=_digest(tables),
        more=tables[1:],
    )
    state.flushes.append(flush)
    state.flushes.sort(key=lambda f: f.flush_seq)


def next_flush(state: StreamState, cursor: SinkCursor) -> Flush | None:
    """Give the flush that a sink writes next; None while there is none or an earlier one may come.

    Partitions are merged side by side, so a later flush may be whole before an earlier one.
    """
    waiting = next((f for f in state.flushes if f.flush_seq > cursor.done), None)
    if waiting is None:
        return None
    planned = [t.flush_seq for t in state.planned if t.flush_seq is not None]
    return None if planned and min(planned) <= waiting.flush_seq else waiting


def _digest(tables: list[Blob]) -> str:
    """Hash the frozen bytes of several tables by their own hashes."""
    whole = hashlib.sha256()
    for table in tables:
        own = table.ref.sha256 if table.ref else hashlib.sha256(table.inline or b"").hexdigest()
        whole.update(own.encode())
    return whole.hexdigest()
