"""Extract chunks: read exactly what is pinned, and let it land in the raw zone."""

import asyncio
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
from temporalio import activity

from activities.etl_book import PLAN, chunk_of, pinned_run
from activities.etl_folder import RunFolder
from activities.etl_io import ChunkCounts, ChunkInput, ChunkPlan, EtlPlanned, PinnedRun, PlanInput
from activities.etl_ports import ChunkReader
from activities.etl_prepare import SourceOpener, reading
from activities.heartbeat import with_heartbeats
from activities.parquet_part import PartWriter, encode
from batch.chunk import Chunk, CursorWindow, ExtractedChunk, SourceShape
from batch.quarantine import QUARANTINE
from common.payloads import ObjectStore
from contracts.field_dtype import polars_type
from contracts.field_type_parse import parse_field_type

EXTRACTED = "extracted"
BLOCK_BYTES = 4 * 1024 * 1024
SNAPSHOT_READERS = 4
"""Chunks of one snapshot that are read at the same time, all in one process."""


@dataclass(frozen=True)
class _Landing:
    """Where the chunks of one attempt land."""

    run: PinnedRun
    shape: SourceShape
    window: CursorWindow
    prefix: str


class EtlExtractActivities:
    """Reads sources. A chunk is pinned once it has landed; its retry finds it there."""

    def __init__(self, store: ObjectStore, lake: ObjectStore, open_source: SourceOpener) -> None:
        self._store = store
        self._lake = lake
        self._open_source = open_source

    @activity.defn(name="etl.extract_chunk")
    @with_heartbeats
    async def extract_chunk(self, task: ChunkInput) -> ChunkCounts:
        """Read one chunk into the raw zone."""
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        name = f"{EXTRACTED}/{task.chunk:05d}"
        kept = await folder.find(name, ExtractedChunk)
        if kept is None:
            run = await pinned_run(self._store, task.name)
            plan = await chunk_of(self._store, task.name, task.chunk)
            source = self._open_source(run.spec, run.interval)
            landing = _Landing(run, reading(run), plan.window, raw_prefix(run))
            try:
                kept = await folder.keep(name, await self._land(source, landing, plan.chunks[0]))
            finally:
                await source.close()
        return ChunkCounts(rows=kept.rows + kept.unreadable, rejected=kept.unreadable)

    @activity.defn(name="etl.extract_snapshot")
    @with_heartbeats
    async def extract_snapshot(self, task: PlanInput) -> EtlPlanned:
        """Plan and read all chunks at one moment; a retry begins again at another moment."""
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        plan = await folder.find(PLAN, ChunkPlan)
        if plan is None:
            run = await pinned_run(self._store, task.name)
            info = activity.info()
            attempt = f"{info.workflow_run_id}-{info.activity_id}-{info.attempt}"
            landing = _Landing(run, reading(run), task.window, f"{raw_prefix(run)}/{attempt}")
            source = self._open_source(run.spec, run.interval)
            try:
                async with source.at_one_moment() as moment:
                    limit = run.spec.limits.chunk_rows
                    chunks = await moment.plan(landing.shape, task.window, limit)
                    landed = await self._land_all(moment, landing, chunks)
            finally:
                await source.close()
            for one in landed:
                await folder.keep(f"{attempt}/{EXTRACTED}/{one.number:05d}", one)
            # What is kept here decides which attempt counts, with all its chunks.
            plan = await folder.keep(
                PLAN, ChunkPlan(window=task.window, chunks=chunks, attempt=attempt)
            )
        rows = sum(chunk.row_estimate for chunk in plan.chunks)
        return EtlPlanned(chunk_count=len(plan.chunks), row_estimate=rows)

    async def _land_all(
        self, source: ChunkReader, landing: _Landing, chunks: list[Chunk]
    ) -> list[ExtractedChunk]:
        turns = asyncio.Semaphore(SNAPSHOT_READERS)

        async def land(chunk: Chunk) -> ExtractedChunk:
            async with turns:
                return await self._land(source, landing, chunk)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(land(chunk)) for chunk in chunks]
        return [task.result() for task in tasks]

    async def _land(self, source: ChunkReader, landing: _Landing, chunk: Chunk) -> ExtractedChunk:
        prefix = f"{landing.prefix}/chunk-{chunk.number:05d}"
        writer = PartWriter(self._lake, prefix, raw_schema(landing.shape))
        unreadable: list[pl.DataFrame] = []
        blocks = source.read(landing.shape, landing.window, chunk, BLOCK_BYTES)
        async for block in blocks:
            await writer.add(block.rows)
            if block.unreadable is not None:
                unreadable.append(block.unreadable)
        rejected = pl.concat(unreadable) if unreadable else pl.DataFrame(schema=QUARANTINE)
        ref = None
        if rejected.height:
            content = await asyncio.to_thread(encode, rejected.to_arrow())
            ref = await self._lake.put(f"{prefix}-unreadable", content, "parquet")
        return ExtractedChunk(
            number=chunk.number,
            rows=writer.rows,
            parts=await writer.close(),
            unreadable=rejected.height,
            unreadable_rows=ref,
        )


async def extracted_chunk(folder: RunFolder, number: int) -> ExtractedChunk:
    """Give a chunk that has landed."""
    plan = await folder.need(PLAN, ChunkPlan)
    place = f"{plan.attempt}/{EXTRACTED}" if plan.attempt else EXTRACTED
    return await folder.need(f"{place}/{number:05d}", ExtractedChunk)


def raw_prefix(run: PinnedRun) -> str:
    """Give the folder of a run in the lake's raw zone, by the day of its interval."""
    day = run.interval.day if run.interval is not None else "all"
    return f"{run.prefix}/raw/{day}"


def raw_schema(shape: SourceShape) -> pa.Schema:
    """Give the Arrow columns of extracted rows."""
    types = {name: polars_type(parse_field_type(kind)) for name, kind in shape.columns.items()}
    return pl.DataFrame(schema=types).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
