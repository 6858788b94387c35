"""The heavy work of a raw stream: freeze every event of pinned ranges as a row."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import polars as pl
from temporalio import activity

from activities.blob import freeze, thaw
from activities.heartbeat import with_heartbeats
from activities.ports import RecordLog
from activities.resource import bound
from activities.seen_store import close_duplicates, open_duplicates
from activities.stream import (
    BLOCK_BYTES,
    check_topic,
    decoder_of,
    inline_shares,
)
from activities.stream_io import AggregateInput, AggregateResult
from activities.work_prefix import range_prefix
from common.payloads import ObjectStore, Ref
from streaming.dead_letter import dead_letter_frame
from streaming.decode import OFFSET, Decoded
from streaming.duplicate import Duplicates
from streaming.ledger import Ledger
from streaming.offset_range import OffsetRange
from streaming.partial import RowError
from streaming.plan import StreamPlan, compile_stream
from streaming.progress import RangeResult
from streaming.raw_row import KEY, fitting, raw_rows
from streaming.record_block import RecordBlock
from streaming.room import pieces_of
from streaming.segment import Blob
from streaming.state import RangeTask

HELD_BYTES = 16 * 1024 * 1024
"""Decoded blocks become one frozen table when their buffers come to this; it bounds the memory."""

ROWS_INLINE_BYTES = 4 * 1024
"""Rows travel inline up to this size: they pass through history once for the range and once for
every sink."""

Held = list[tuple[RecordBlock, Decoded]]


class StreamDeliverActivities:
    """Work on pinned input; nothing here writes anything that a reader sees."""

    def __init__(self, log: RecordLog, store: ObjectStore, held_bytes: int = HELD_BYTES) -> None:
        self._log = log
        self._store = store
        self._held_bytes = held_bytes

    @activity.defn(name="stream.deliver_ranges")
    @with_heartbeats
    async def deliver_ranges(self, task: AggregateInput) -> AggregateResult:
        """Turn each range into frozen rows; a pure function of the log and the input."""
        plan = await bound(compile_stream(task.spec), self._store)
        results = [await self._deliver(plan, task, item) for item in task.tasks]
        topic = await self._log.describe(task.spec.topic)
        check_topic(task.spec.topic, task.topic_id, topic.topic_id)
        results[-1] = results[-1].model_copy(update={"ends": topic.end})
        return AggregateResult(results=results)

    async def _deliver(
        self, plan: StreamPlan, given: AggregateInput, task: RangeTask
    ) -> RangeResult:
        duplicates = await open_duplicates(plan, self._store, task)
        work = _RangeWork(plan, task, duplicates)
        share_bytes, side_bytes = inline_shares(given, task)
        inline_bytes = min(ROWS_INLINE_BYTES, share_bytes)
        frozen = _Frozen(self._store, work.prefix, recurring=bool(plan.spec.identity))
        span, most = task.span, pieces_of(task.span)
        blocks = self._log.read(span, given.topic_id, BLOCK_BYTES)
        async with aclosing(work.batches(blocks, self._held_bytes)) as batches:
            async for held in batches:
                if given.may_cut:
                    room = most - frozen.count
                    held, span = await asyncio.to_thread(work.fit, held, span, room)  # noqa: PLW2901 - the part that fits
                parts = work.parts_of(held)
                while (frame := await asyncio.to_thread(next, parts, None)) is not None:
                    # The last table stays in hand: a range of one small table travels inline.
                    await frozen.add(frame)
                if span.stop < task.span.stop:
                    break
        tables = await frozen.close(inline_bytes)
        dead = None
        if work.dead:
            dead = await freeze(
                self._store, f"{work.prefix}-dead", pl.concat(work.dead), side_bytes
            )
        return RangeResult(
            span=span,
            epoch=task.epoch,
            ledger=work.ledger,
            max_event_ms=work.maximum_ms,
            dead=dead,
            rows=tables,
            superseded=frozen.superseded,
            seen=await close_duplicates(
                self._store, work.prefix, duplicates, given.seen_inline_bytes, given.seen_tables
            ),
            timings_us=work.timings_us,
        )


class _RangeWork:
    """Side outputs and counts of one range, batch by batch."""

    def __init__(self, plan: StreamPlan, task: RangeTask, duplicates: Duplicates | None) -> None:
        self._plan = plan
        self._task = task
        self._duplicates = duplicates
        self._decoder = decoder_of(plan.spec)
        self.prefix = range_prefix(plan.spec.name, task)
        self.dead: list[pl.DataFrame] = []
        self.ledger = Ledger()
        self.maximum_ms: int | None = None
        self.timings_us = {"fetch": 0, "decode": 0, "rows": 0}

    async def batches(
        self, blocks: AsyncIterator[RecordBlock], held_bytes: int
    ) -> AsyncGenerator[Held]:
        """Decode blocks and yield them, as many at a time as memory allows."""
        held: Held = []
        started = time.perf_counter()
        async for block in blocks:
            started = self._clock("fetch", started)
            held.append((block, await asyncio.to_thread(self._decode, block)))
            started = self._clock("decode", started)
            if sum(len(one.buffer) for one, _ in held) >= held_bytes:
                yield held
                held, started = [], time.perf_counter()
        self._clock("fetch", started)
        if held:
            yield held

    def _clock(self, stage: str, started: float) -> float:
        """Count the time since `started` (seconds of `perf_counter`); gives the time now."""
        now = time.perf_counter()
        self.timings_us[stage] += int((now - started) * 1e6)
        return now

    def _decode(self, block: RecordBlock) -> Decoded:
        return self._decoder.decode(block, self._task.now_ms)

    def fit(self, held: Held, span: OffsetRange, room: int) -> tuple[Held, OffsetRange]:
        """Leave out what comes to more than `room` tables; gives also where the range then ends.

        It ends early as well where no room is left for what comes after.
        """
        events = pl.concat([decoded.rows for _, decoded in held])
        count = fitting(self._plan, events, span.partition, room)
        if count < events.height:
            stop = int(events[OFFSET][count])
            cut = [block.before(stop) for block, _ in held]
            held = [(block, self._decode(block)) for block in cut if len(block)]
        elif fitting(self._plan, events, span.partition, room - 1) < count:
            stop = int(held[-1][0].offset[-1]) + 1
        else:
            stop = span.stop
        return held, span.model_copy(update={"stop": min(stop, span.stop)})

    def parts_of(self, held: Held) -> Iterator[pl.DataFrame]:
        """Turn decoded blocks into rows, part by part; counts and dead letters are kept."""
        started = time.perf_counter()
        for block, decoded in held:
            counted = Ledger(consumed=len(block), dead_lettered=len(decoded.dead))
            self.ledger = self.ledger.plus(counted)
        events = pl.concat([decoded.rows for _, decoded in held])
        task = self._task
        errors: list[RowError] = []
        parts = raw_rows(self._plan, events, task.span.partition, self._duplicates, task.rows_from)
        for rows in parts:
            self.ledger = self.ledger.plus(rows.ledger)
            errors += rows.errors
            if rows.max_event_ms is not None:
                known_ms = rows.max_event_ms if self.maximum_ms is None else self.maximum_ms
                self.maximum_ms = max(rows.max_event_ms, known_ms)
            self._clock("rows", started)
            yield rows.frame
            started = time.perf_counter()
        self._keep_dead(held, errors)

    def _keep_dead(self, held: Held, found: list[RowError]) -> None:
        first = 0
        for block, decoded in held:
            stop = first + decoded.rows.height
            errors = [replace(e, row=e.row - first) for e in found if first <= e.row < stop]
            letters = dead_letter_frame(block, decoded, errors)
            if not letters.is_empty():
                self.dead.append(letters)
            first = stop


@dataclass
class _Frozen:
    """Tables of a range on their way into the store, under names that follow from the range.

    Attributes:
        recurring: Whether a later event may have the identity of an earlier one and replace it.
        superseded: Objects of tables that were written again without what was replaced.
    """

    store: ObjectStore
    prefix: str
    recurring: bool
    superseded: list[Ref] = field(default_factory=list)
    _tables: list[Blob] = field(default_factory=list)
    _keys: list[pl.Series] = field(default_factory=list)
    _waiting: pl.DataFrame | None = None

    @property
    def count(self) -> int:
        """Count the tables so far."""
        return len(self._tables) + (self._waiting is not None)

    async def add(self, frame: pl.DataFrame) -> None:
        """Take the next table; the one before it is put into the store."""
        if frame.is_empty():
            return
        if self._waiting is not None:
            await self._freeze(self._waiting, 0)
        self._waiting = frame

    async def close(self, inline_bytes: int) -> list[Blob]:
        """Give all tables; one that is alone travels inline if it is small."""
        if self._waiting is not None:
            await self._freeze(self._waiting, 0 if self._tables else inline_bytes)
            self._waiting = None
        if self.recurring and len(self._tables) > 1:
            await self._drop_replaced()
        return self._tables

    async def _freeze(self, frame: pl.DataFrame, inline_bytes: int) -> None:
        name = f"{self.prefix}-rows{len(self._tables)}"
        self._tables.append(await freeze(self.store, name, frame, inline_bytes))
        if self.recurring:
            self._keys.append(frame[KEY])

    async def _drop_replaced(self) -> None:
        """Write again the tables with rows that a later table replaces: a flush has each once."""
        kept: list[Blob] = [self._tables[-1]]
        later = self._keys[-1]
        for place in range(len(self._tables) - 2, -1, -1):
            table, keys = self._tables[place], self._keys[place]
            replaced = keys.is_in(later.implode())
            if replaced.any():
                rows = (await thaw(self.store, table)).filter(~replaced)
                self.superseded += [table.ref] if table.ref else []
                if not rows.is_empty():
                    name = f"{self.prefix}-rows{place}"
                    kept.append(await freeze(self.store, name, rows, 0))
            else:
                kept.append(table)
            later = pl.concat([later, keys.filter(~replaced)])
        self._tables = kept[::-1]
