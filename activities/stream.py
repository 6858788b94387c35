"""The heavy work of a stream: aggregate pinned ranges, merge partials, wait for records."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import polars as pl
from temporalio import activity

from activities.blob import freeze, thaw
from activities.heartbeat import with_heartbeats
from activities.ports import RecordLog
from activities.resource import bound
from activities.seen_store import close_duplicates, open_duplicates
from activities.stream_io import (
    AggregateInput,
    AggregateResult,
    CombineInput,
    WaitInput,
    WaitResult,
)
from activities.stream_keys import freeze_segment
from activities.work_prefix import range_prefix, work_prefix
from common.errors import OffsetLostError
from common.payloads import INLINE_LIMIT_BYTES, ObjectStore
from pipelines.stream import StreamSpec
from streaming.combine import combine, count_unshown, earliest_due, pane_span
from streaming.contract_check import CheckedDecoder
from streaming.dead_letter import dead_letter_frame
from streaming.decode import Decoded, RecordDecoder
from streaming.duplicate import Duplicates
from streaming.late_event import late_event_frame
from streaming.ledger import Ledger
from streaming.merge_step import combine_result
from streaming.partial import ROW, RangePartial, aggregate_events, merge_partials
from streaming.plan import StreamPlan, compile_stream
from streaming.progress import CombineResult, RangeResult
from streaming.record_block import RecordBlock
from streaming.room import INLINE_BYTES
from streaming.segment import Segment
from streaming.side_output import BATCH_BYTES, BATCH_ROWS
from streaming.side_record import pieces
from streaming.state import RangeTask

BLOCK_BYTES = 8 * 1024 * 1024
HELD_BYTES = 32 * 1024 * 1024
"""Decoded blocks are aggregated together until their buffers come to this; it bounds the memory."""

SIDE_INLINE_BYTES = 4 * 1024
"""Records of a side output travel inline up to this size; a range has two side outputs."""

_WAIT_SLICE_MS = 1_000
_OTHERS_PAUSE_MS = 200


class StreamActivities:
    """Work on pinned input; nothing here writes anything that a reader sees."""

    def __init__(self, log: RecordLog, store: ObjectStore) -> None:
        self._log = log
        self._store = store

    @activity.defn(name="stream.aggregate_ranges")
    @with_heartbeats
    async def aggregate_ranges(self, task: AggregateInput) -> AggregateResult:
        """Turn each range into mergeable partials; a pure function of the log and the input."""
        plan = await bound(compile_stream(task.spec), self._store)
        results = [await self._aggregate(plan, task, item) for item in task.tasks]
        topic = await self._log.describe(task.spec.topic)
        check_topic(task.spec.topic, task.topic_id, topic.topic_id)
        results[-1] = results[-1].model_copy(update={"ends": topic.end})
        return AggregateResult(results=results)

    async def _aggregate(
        self, plan: StreamPlan, given: AggregateInput, task: RangeTask
    ) -> RangeResult:
        duplicates = await open_duplicates(plan, self._store, task)
        work = _RangeWork(plan, task, duplicates)
        share_bytes, side_bytes = inline_shares(given, task)
        blocks = self._log.read(task.span, given.topic_id, BLOCK_BYTES)
        async for block in _timed(blocks, work):
            await asyncio.to_thread(work.add, block)
        frame, maximum_ms = await asyncio.to_thread(work.merged)
        span, epoch = task.span, task.epoch
        prefix = range_prefix(plan.spec.name, task)
        segment = None
        if frame is not None and not frame.is_empty():
            inline_bytes = min(INLINE_LIMIT_BYTES, share_bytes)
            blob, keys = await freeze_segment(
                self._store, prefix, plan, frame, task.key_ranges, inline_bytes
            )
            first, last, fresh = pane_span(frame)
            segment = Segment(
                blob=blob,
                first_pane_ms=first or 0,
                last_pane_ms=last or 0,
                first_fresh_ms=fresh,
                due_ms=earliest_due(plan, frame),
                unshown=count_unshown(plan, frame),
                keys=keys,
            )
        dead = None
        if work.dead:
            letters = pl.concat(work.dead)
            dead = await freeze(self._store, f"{prefix}-dead", letters, side_bytes)
        late = [
            await freeze(self._store, f"{prefix}-late", piece, side_bytes)
            for piece in work.late_pieces()
        ]
        return RangeResult(
            span=span,
            epoch=epoch,
            ledger=work.ledger,
            max_event_ms=maximum_ms,
            segment=segment,
            dead=dead,
            late=late,
            seen=await close_duplicates(
                self._store, prefix, duplicates, given.seen_inline_bytes, given.seen_tables
            ),
            timings_us=work.timings_us,
        )

    @activity.defn(name="stream.combine")
    @with_heartbeats
    async def combine(self, task: CombineInput) -> CombineResult:
        """Merge segments that are too big for the workflow; see `streaming.combine`."""
        plan = compile_stream(task.spec)
        frames = [await thaw(self._store, segment.blob) for segment in task.task.segments]
        what = task.task
        combined = await asyncio.to_thread(
            combine, plan, frames, what.fire_ms, what.keep_ms, what.fired_ms, what.floor_ms,
            what.early,
        )  # fmt: skip
        prefix = f"{work_prefix(task.spec.name, task.epoch)}/combine-{task.task.name_seq}"
        kept = await freeze(self._store, f"{prefix}-kept", combined.kept, what.kept_inline_bytes)
        emitted = await freeze(
            self._store, f"{prefix}-rows", combined.emitted, what.rows_inline_bytes
        )
        return combine_result(combined, kept, emitted)

    @activity.defn(name="stream.wait_for_data")
    @with_heartbeats
    async def wait_for_data(self, task: WaitInput) -> WaitResult:
        """Wait until some partition ends beyond its cursor, or the time is up or the worker stops.

        Returns:
            Where all of them end.
        """
        left_ms, cursors = task.timeout_ms, task.cursors
        if not task.others:
            cursors = {**(await self._log.describe(task.topic)).end, **task.cursors}
        while True:
            slice_ms = min(left_ms, _WAIT_SLICE_MS)
            topic = await self._log.wait_for_data(task.topic, cursors, slice_ms)
            check_topic(task.topic, task.topic_id, topic.topic_id)
            news = any(
                end > task.cursors.get(n, -1)
                for n, end in topic.end.items()
                if task.others or n in task.cursors
            )
            if not news and any(end > cursors.get(n, -1) for n, end in topic.end.items()):
                cursors, slice_ms = {**topic.end, **task.cursors}, _OTHERS_PAUSE_MS
                await asyncio.sleep(_OTHERS_PAUSE_MS / 1000)
            left_ms -= slice_ms
            if news or left_ms <= 0 or activity.is_worker_shutdown():
                return WaitResult(ends=topic.end)


class _RangeWork:
    """Partials, side outputs and counts of one range, block by block."""

    def __init__(self, plan: StreamPlan, task: RangeTask, duplicates: Duplicates | None) -> None:
        self._plan = plan
        self._task = task
        self._duplicates = duplicates
        self._decoder = decoder_of(plan.spec)
        self._held: list[tuple[RecordBlock, Decoded]] = []
        self._parts: list[RangePartial] = []
        self.dead: list[pl.DataFrame] = []
        self._late: list[pl.DataFrame] = []
        self.ledger = Ledger()
        self.timings_us = {"fetch": 0, "decode": 0, "aggregate": 0, "merge": 0}

    def clock(self, stage: str, started: float) -> None:
        """Count the time since `started` (seconds of `perf_counter`) towards a stage."""
        self.timings_us[stage] += int((time.perf_counter() - started) * 1e6)

    def add(self, block: RecordBlock) -> None:
        """Decode one block; it is aggregated with others, as many as memory allows."""
        started = time.perf_counter()
        decoded = self._decoder.decode(block, self._task.now_ms)
        counted = Ledger(consumed=len(block), dead_lettered=len(decoded.dead))
        self.ledger = self.ledger.plus(counted)
        self._held.append((block, decoded))
        self.clock("decode", started)
        if sum(len(held.buffer) for held, _ in self._held) >= HELD_BYTES:
            self._aggregate_held()

    def _aggregate_held(self) -> None:
        started = time.perf_counter()
        rows = pl.concat([decoded.rows for _, decoded in self._held])
        partial = aggregate_events(
            self._plan,
            rows,
            self._task.watermark_ms,
            self._task.span.partition,
            self._task.floor_ms,
            self._duplicates,
        )
        self.ledger = self.ledger.plus(partial.ledger)
        self._parts.append(partial)
        first = 0
        for block, decoded in self._held:
            stop = first + decoded.rows.height
            errors = [
                replace(e, row=e.row - first) for e in partial.errors if first <= e.row < stop
            ]
            letters = dead_letter_frame(block, decoded, errors)
            if not letters.is_empty():
                self.dead.append(letters)
            if self._plan.spec.keeps_late:
                self._keep_late(block, decoded, partial.late, first)
            first = stop
        self._held = []
        self.clock("aggregate", started)

    def _keep_late(
        self, block: RecordBlock, decoded: Decoded, late: pl.DataFrame, first: int
    ) -> None:
        """Keep the late ones of a block whose rows begin at `first`."""
        row = pl.col(ROW) - first
        mine = late.filter(row.is_between(0, decoded.rows.height, closed="left"))
        if not mine.is_empty():
            self._late.append(late_event_frame(block, decoded, mine.with_columns(row)))

    def late_pieces(self) -> list[pl.DataFrame]:
        """Give the late events in offset order, in pieces that one transaction can take."""
        return pieces(pl.concat(self._late), BATCH_ROWS, BATCH_BYTES) if self._late else []

    def merged(self) -> tuple[pl.DataFrame | None, int | None]:
        """Merge all partials; gives the frame and the maximum event time."""
        if self._held:
            self._aggregate_held()
        started = time.perf_counter()
        frames = [part.frame for part in self._parts if not part.frame.is_empty()]
        maxima = [part.max_event_ms for part in self._parts if part.max_event_ms is not None]
        frame = merge_partials(self._plan, frames) if frames else None
        self.clock("merge", started)
        return frame, max(maxima, default=None)


async def _timed(
    blocks: AsyncIterator[RecordBlock], work: _RangeWork
) -> AsyncIterator[RecordBlock]:
    """Count the time that the work had to wait for its blocks."""
    started = time.perf_counter()
    async for block in blocks:
        work.clock("fetch", started)
        yield block
        started = time.perf_counter()
    work.clock("fetch", started)


def inline_shares(given: AggregateInput, task: RangeTask) -> tuple[int, int]:
    """Give how many bytes of a range's result travel inline: of the result, and of a side output.

    Of the pieces of late events at most the last one is small.
    """
    share = task.inline_bytes
    if share is None:
        share = INLINE_BYTES // len(given.tasks)
    side_bytes = min(SIDE_INLINE_BYTES, share // 8)
    return share - 2 * side_bytes, side_bytes


def decoder_of(spec: StreamSpec) -> RecordDecoder | CheckedDecoder:
    """Make the decoder of a stream's records, which also holds them against their contract."""
    plan = compile_stream(spec)
    fields = plan.contract.decoded_types(plan.fields) if plan.contract else plan.fields
    at = spec.event_time
    decoder = RecordDecoder(fields, set(plan.wanted), at.field, at.max_ahead_ms)
    return CheckedDecoder(decoder, plan.contract) if plan.contract else decoder


def check_topic(topic: str, expected: str, found: str) -> None:
    """Raise `OffsetLostError` when a topic is not the one that the offsets belong to."""
    if expected != found:
        raise OffsetLostError(
            f"topic `{topic}`: expected the topic with id {expected}, got {found}; it was deleted "
            "and made anew; go on with the new one with `--accept-loss`, or compute everything "
            "from it with `--fresh`"
        )
