"""Merging by key range: memory holds one range of keys at a time, however many keys there are."""

import asyncio

import polars as pl
from temporalio import activity

from activities.blob import freeze, thaw
from activities.heartbeat import with_heartbeats
from activities.sliced_blob import SliceReader, encode, freeze_slices
from activities.stream_io import KeyCombineInput
from activities.work_prefix import work_prefix
from common.payloads import ObjectStore
from pipelines.stream import StreamSpec
from streaming import key_range
from streaming.combine import combine
from streaming.key_hash import cut
from streaming.key_merge import KeyCombineResult, segment_of
from streaming.key_range import slices_of
from streaming.merge_step import combine_result
from streaming.plan import StreamPlan, compile_stream
from streaming.progress import CombineResult, CombineTask
from streaming.segment import Blob, KeySpan, Segment

READERS = 8
"""Slices that are read at the same time."""


class KeyRangeActivities:
    """Merges of key ranges, several of them side by side."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @activity.defn(name="stream.combine_keys")
    @with_heartbeats
    async def combine_keys(self, task: KeyCombineInput) -> KeyCombineResult:
        """Merge a span of key ranges, one after the other; see `streaming.combine`."""
        prefix = work_prefix(task.spec.name, task.epoch)
        return await merge_keys(self._store, task.spec, prefix, task.task, task.keys)


async def merge_keys(
    store: ObjectStore, spec: StreamSpec, folder: str, task: CombineTask, span: KeySpan
) -> KeyCombineResult:
    """Merge a span of key ranges, one after the other, and freeze what comes of it."""
    plan = compile_stream(spec)
    prefix = f"{folder}/combine-{task.name_seq}-{span.first}-of-{span.count}"
    readers = [_SegmentReader(store, plan, segment, span) for segment in task.segments]
    rows = _RowWriter(store, f"{prefix}-rows")
    kept: list[tuple[int, bytes]] = []
    merged: list[CombineResult] = []
    for number in range(span.first, span.stop):
        frames = await _read(readers, number)
        if not frames:
            kept.append((0, b""))
            continue
        combined = await asyncio.to_thread(
            combine,
            plan,
            frames,
            task.fire_ms,
            task.keep_ms,
            task.fired_ms,
            task.floor_ms,
            task.early,
        )
        del frames
        kept.append(await asyncio.to_thread(encode, combined.kept))
        await rows.add(combined.emitted)
        merged.append(combine_result(combined, _count(combined.kept), _count(combined.emitted)))
    blob = await freeze_slices(store, f"{prefix}-kept", kept)
    return KeyCombineResult(
        kept=segment_of(blob, span, merged) if blob else None, emitted=await rows.close()
    )


async def freeze_segment(
    store: ObjectStore, prefix: str, plan: StreamPlan, frame: pl.DataFrame, key_ranges: int,
    inline_bytes: int,
) -> tuple[Blob, KeySpan | None]:  # fmt: skip
    """Freeze the partials of a range; those of a state in key ranges are cut alike, if big enough.

    Where the state is cut nothing travels inline, because each of many merges would be given it.
    """
    if key_ranges == 1:
        return await freeze(store, prefix, frame, inline_bytes), None
    fit = max(1, frame.height // key_range.LIMITS.slice_rows)
    count = min(key_ranges, 1 << (fit.bit_length() - 1))
    if count == 1:
        return await freeze(store, prefix, frame, 0), None
    span = KeySpan(count=count, first=0, stop=count)
    slices = await asyncio.to_thread(_cut_and_encode, plan, frame, span)
    blob = await freeze_slices(store, prefix, slices)
    assert blob is not None  # noqa: S101 - the frame has rows
    return blob, span


def _cut_and_encode(
    plan: StreamPlan, frame: pl.DataFrame, span: KeySpan
) -> list[tuple[int, bytes]]:
    return [encode(part) for part in cut(frame, plan.keys, span)]


def _count(frame: pl.DataFrame) -> Blob:
    """Describe a table that is yet to be stored."""
    return Blob(row_count=frame.height, size_bytes=0)


class _SegmentReader:
    """Gives the partials of one segment by key range, each once and in ascending order.

    A slice that is coarser than a range is read once, and the rest of it kept until asked for.
    """

    def __init__(
        self, store: ObjectStore, plan: StreamPlan, segment: Segment, span: KeySpan
    ) -> None:
        self._store = store
        self._plan = plan
        self._segment = segment
        self._span = span
        self._waiting: dict[int, pl.DataFrame] = {}
        self._last = -1
        blob = segment.blob
        self._slices = SliceReader(store, blob.ref, blob.slices) if blob.ref else None

    async def read(self, number: int) -> list[pl.DataFrame]:
        """Give the partials of a key range."""
        count = self._segment.keys.count if self._segment.keys else 1
        one = KeySpan(count=self._span.count, first=number, stop=number + 1)
        found = slices_of(self._segment, one)
        if count >= self._span.count:
            frames = [await self._slice(place) for place in found]
            return [frame for frame in frames if frame is not None]
        for place in found:
            if place > self._last:
                self._last = place
                frame = await self._slice(place)
                if frame is not None:
                    await asyncio.to_thread(self._divide, frame)
        return [self._waiting.pop(number)] if number in self._waiting else []

    async def _slice(self, place: int) -> pl.DataFrame | None:
        if self._segment.keys is None or self._slices is None:
            return await thaw(self._store, self._segment.blob)
        return await self._slices.read(place)

    def _divide(self, frame: pl.DataFrame) -> None:
        parts = cut(frame, self._plan.keys, self._span)
        for number, part in enumerate(parts, self._span.first):
            if part.height:
                self._waiting[number] = part


async def _read(readers: list[_SegmentReader], number: int) -> list[pl.DataFrame]:
    """Read a key range of all segments, in their order."""
    room = asyncio.Semaphore(READERS)

    async def one(reader: _SegmentReader) -> list[pl.DataFrame]:
        async with room:
            return await reader.read(number)

    return [frame for frames in await asyncio.gather(*map(one, readers)) for frame in frames]


class _RowWriter:
    """Frozen rows, in slices that a sink's writer can hold and objects of bounded size."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._slices: list[tuple[int, bytes]] = []
        self._blobs: list[Blob] = []

    async def add(self, rows: pl.DataFrame) -> None:
        """Freeze rows; they are stored when there are enough of them."""
        for start in range(0, rows.height, key_range.LIMITS.part_rows):
            part = rows.slice(start, key_range.LIMITS.part_rows)
            self._slices.append(await asyncio.to_thread(encode, part))
            if sum(len(content) for _, content in self._slices) >= key_range.LIMITS.part_bytes:
                await self._store_part()

    async def close(self) -> list[Blob]:
        """Store what is left and give all objects, in order."""
        await self._store_part()
        return self._blobs

    async def _store_part(self) -> None:
        slices, self._slices = self._slices, []
        blob = await freeze_slices(self._store, f"{self._prefix}-{len(self._blobs)}", slices)
        if blob is not None:
            self._blobs.append(blob)
