"""The frozen rows of a flush, chunk by chunk, however many objects they are in."""

from collections.abc import AsyncIterator

import polars as pl

from activities.blob import thaw
from activities.sliced_blob import SliceReader
from common.payloads import ObjectStore
from streaming.chunk_span import ChunkSpan, chunk_count
from streaming.flush_chunk import groups
from streaming.segment import Blob
from streaming.state import Flush


async def chunks(
    store: ObjectStore, flush: Flush, span: ChunkSpan | None = None
) -> AsyncIterator[tuple[int, pl.DataFrame]]:
    """Yield chunks with their numbers, always the same; a slice and a chunk are held at a time.

    Args:
        store: Where the rows are.
        flush: Frozen rows.
        span: Chunks wanted; None is all.
    """
    size = flush.chunk_rows
    if not flush.parts:
        async for numbered in _small_chunks(store, flush):
            yield numbered
        return
    number, stop = (span.first, span.stop) if span else (0, chunk_count(flush))
    skip, held = number * size, 0
    waiting: list[pl.DataFrame] = []
    async for rows in _frames(store, flush, skip):
        waiting.append(rows)
        held += rows.height
        if held < size:
            continue
        joined = pl.concat(waiting)
        for start in range(0, held - size + 1, size):
            yield number, joined.slice(start, size)
            number += 1
            if number == stop:
                return
        held %= size
        waiting = [joined.tail(held)]
    if held:
        yield number, pl.concat(waiting)


async def _small_chunks(
    store: ObjectStore, flush: Flush
) -> AsyncIterator[tuple[int, pl.DataFrame]]:
    """Yield the chunks of neighbouring tables; a few of them are held at a time."""
    number = 0
    for group in groups(flush):
        rows = pl.concat([await thaw(store, table) for table in group])
        for start in range(0, rows.height, flush.chunk_rows):
            yield number, rows.slice(start, flush.chunk_rows)
            number += 1


async def _frames(store: ObjectStore, flush: Flush, skip: int) -> AsyncIterator[pl.DataFrame]:
    """Yield the rows after the first `skip`; objects and slices before them are not read."""
    for blob in flush.parts:
        if blob.row_count <= skip:
            skip -= blob.row_count
            continue
        async for rows in _slices(store, blob, skip):
            yield rows
        skip = 0


async def _slices(store: ObjectStore, blob: Blob, skip: int) -> AsyncIterator[pl.DataFrame]:
    if not blob.slices or blob.ref is None:
        yield (await thaw(store, blob)).slice(skip)
        return
    reader = SliceReader(store, blob.ref, blob.slices)
    for number, part in enumerate(await reader.index()):
        if part.row_count <= skip:
            skip -= part.row_count
            continue
        rows = await reader.read(number)
        if rows is not None:
            yield rows.slice(skip)
        skip = 0
