"""Steps of the engine that cut by key, with a store in memory and bounds small enough to matter."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import polars as pl
from temporalio.testing import ActivityEnvironment

from activities.blob import thaw
from activities.flush_rows import chunks
from activities.stream_io import KeyCombineInput
from activities.stream_keys import KeyRangeActivities, freeze_segment
from pipelines.stream import StreamSpec
from streaming.chunk_span import ChunkSpan, chunk_count
from streaming.combine import count_unshown, earliest_due, pane_span
from streaming.frame import from_bytes, to_bytes
from streaming.key_merge import KeyCombineResult, joined, part_of
from streaming.key_range import KeyLimits, lanes
from streaming.merge_step import combine_inline
from streaming.plan import StreamPlan, compile_stream
from streaming.progress import CombineResult, CombineTask
from streaming.segment import Blob, KeySpan, Segment
from streaming.state import Flush
from tests.workflows.memory import MemoryStore

SMALL = KeyLimits(rows=3, most=8, lanes=4, slice_rows=1, part_bytes=1_500, part_rows=2)

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, outside of any loop."""
    return asyncio.run(work)


def freeze_range(
    store: MemoryStore, plan: StreamPlan, frame: pl.DataFrame, key_ranges: int
) -> Segment:
    """Freeze the partials of a range as its activity does."""
    blob, keys = _frozen(frame), None
    if key_ranges > 1:
        blob, keys = run(freeze_segment(store, "range", plan, frame, key_ranges, 10**9))
    first, last, fresh = pane_span(frame)
    assert first is not None
    assert last is not None
    return Segment(
        blob=blob,
        first_pane_ms=first,
        last_pane_ms=last,
        first_fresh_ms=fresh,
        due_ms=earliest_due(plan, frame),
        unshown=count_unshown(plan, frame),
        keys=keys,
    )


def combine_with(
    store: MemoryStore, spec: StreamSpec, task: CombineTask, chosen: list[KeySpan] | None = None
) -> CombineResult:
    """Do a combine as the workflow has it done."""
    if task.key_ranges == 1 and all(s.blob.inline is not None for s in task.segments):
        return combine_inline(compile_stream(spec), task)
    return run(_combine(store, spec, task, chosen))


def rows_of(store: MemoryStore, flush: Flush) -> pl.DataFrame:
    """Give the rows of a flush, and make sure of its chunks."""
    if flush.rows.inline is not None:
        return from_bytes(flush.rows.inline)

    async def read(span: ChunkSpan | None = None) -> list[pl.DataFrame]:
        numbered = [one async for one in chunks(store, flush, span)]
        first = span.first if span else 0
        assert [number for number, _ in numbered] == list(range(first, first + len(numbered)))
        return [rows for _, rows in numbered]

    found = run(read())
    assert len(found) == chunk_count(flush)
    middle = len(found) // 2
    for first, stop in ((0, middle), (middle, len(found))):
        again = run(read(ChunkSpan(first=first, stop=stop))) if first < stop else []
        assert [r.to_dicts() for r in again] == [r.to_dicts() for r in found[first:stop]]
    assert all(rows.height == flush.chunk_rows for rows in found[:-1])
    joined_rows = pl.concat(found)
    assert joined_rows.height == flush.rows.row_count
    return joined_rows


async def _combine(
    store: MemoryStore, spec: StreamSpec, task: CombineTask, chosen: list[KeySpan] | None
) -> CombineResult:
    if task.key_ranges == 1:
        whole = [await _inline(store, segment) for segment in task.segments]
        return combine_inline(compile_stream(spec), task.model_copy(update={"segments": whole}))
    environment, keys = ActivityEnvironment(), KeyRangeActivities(store)
    results: list[KeyCombineResult] = []
    for span in chosen or lanes(task.segments, task.key_ranges):
        work = KeyCombineInput(spec=spec, epoch=1, task=part_of(task, span), keys=span)
        first = await environment.run(keys.combine_keys, work)
        assert await environment.run(keys.combine_keys, work) == first, "twice is once"
        results.append(first)
    return joined(results)


async def _inline(store: MemoryStore, segment: Segment) -> Segment:
    table = _frozen(await thaw(store, segment.blob))
    return segment.model_copy(update={"blob": table, "keys": None})


def _frozen(frame: pl.DataFrame) -> Blob:
    content = to_bytes(frame)
    return Blob(row_count=frame.height, size_bytes=len(content), inline=content)
