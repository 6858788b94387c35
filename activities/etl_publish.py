"""Stage, reconcile and publish the rows of a run, target by target, and record how it ended."""

import asyncio
from collections.abc import AsyncIterator

import polars as pl
import pyarrow as pa
from temporalio import activity

from activities.alert_record import AlertRecord
from activities.etl_book import PLAN, RUN, pinned_run
from activities.etl_folder import RunFolder
from activities.etl_history import PipelineHistory, RunRecord
from activities.etl_io import (
    ChunkCounts,
    ChunkPlan,
    DroppedRows,
    Evidence,
    FinishInput,
    Nothing,
    PinnedRun,
    StagedChunk,
    StageInput,
    TargetInput,
    TargetResult,
)
from activities.etl_prepare import TargetOpener
from activities.etl_table import batch_table
from activities.heartbeat import with_heartbeats
from activities.parquet_part import arrow, read_part
from batch.batch_step import without
from batch.chunk import CleanChunk
from common.errors import FatalError
from common.names import etl_run_prefix
from common.payloads import ObjectStore

CLEAN = "clean"
GROUPED = "grouped"
DROPPED = "dropped"
BATCH_ROWS = 65_536
_READS_AT_ONCE = 16


class EtlPublishActivities:
    """Writes in two steps: into staging, where nobody reads, then for readers to see."""

    def __init__(self, store: ObjectStore, lake: ObjectStore, open_target: TargetOpener) -> None:
        self._store = store
        self._lake = lake
        self._open_target = open_target

    @activity.defn(name="etl.stage_chunk")
    @with_heartbeats
    async def stage_chunk(self, task: StageInput) -> ChunkCounts:
        """Write one chunk into the staging of one target."""
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        name = f"staged-{task.target}/{task.chunk:05d}"
        kept = await folder.find(name, StagedChunk)
        if kept is None:
            run = await pinned_run(self._store, task.name)
            target = run.spec.targets[task.target]
            info = activity.info()
            token = f"{(info.workflow_run_id or '')[:8]}-{info.activity_id}-{info.attempt}"
            chunk = await clean_chunk(folder, run, task.chunk)
            rows = await self._open_target(target).stage(
                batch_table(run, target), task.chunk, token, self._rows(folder, chunk)
            )
            staged = StagedChunk(number=task.chunk, token=token, rows=rows)
            kept = await folder.keep(name, staged)
        return ChunkCounts(rows=kept.rows)

    async def _rows(self, folder: RunFolder, chunk: CleanChunk) -> AsyncIterator[pa.RecordBatch]:
        """Give the rows of a chunk without those that checks of the whole batch took out."""
        async for rows in kept_rows(self._lake, folder, chunk):
            for batch in arrow(rows).to_batches(max_chunksize=BATCH_ROWS):
                yield batch

    @activity.defn(name="etl.reconcile")
    @with_heartbeats
    async def reconcile(self, task: TargetInput) -> Nothing:
        """Count what lies in the staging of a target; it must be exactly what was loaded.

        Raises:
            FatalError: It is not.
        """
        run = await pinned_run(self._store, task.name)
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        target = run.spec.targets[task.target]
        staged = await self._staged(folder, task, await chunk_count(folder, run))
        tokens = {one.number: one.token for one in staged}
        found = await self._open_target(target).staged(batch_table(run, target), tokens)
        for one in staged:
            chunk = await clean_chunk(folder, run, one.number)
            dropped = await folder.find(f"{DROPPED}/{one.number:05d}", DroppedRows)
            wanted = chunk.rows - (dropped.rows if dropped is not None else 0)
            if not wanted == one.rows == found.get(one.number, 0):
                raise FatalError(
                    f"staging of {target.name}, chunk {one.number}: expected {wanted:,} rows, got "
                    f"{found.get(one.number, 0):,} ({one.rows:,} were written); somebody else "
                    "writes there: run the interval again"
                )
        return Nothing()

    @activity.defn(name="etl.publish")
    @with_heartbeats
    async def publish(self, task: TargetInput) -> TargetResult:
        """Let readers of one target see the rows; twice is once."""
        run = await pinned_run(self._store, task.name)
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        target = run.spec.targets[task.target]
        name = f"published-{task.target}"
        kept = await folder.find(name, TargetResult)
        if kept is None:
            staged = await self._staged(folder, task, await chunk_count(folder, run))
            done = await self._open_target(target).publish(
                batch_table(run, target), {one.number: one.token for one in staged}
            )
            result = TargetResult(
                target=target.name,
                inserted=done.inserted,
                updated=done.updated,
                deleted=done.deleted,
                written=done.written,
            )
            kept = await folder.keep(name, result)
        return kept

    async def _staged(self, folder: RunFolder, task: TargetInput, count: int) -> list[StagedChunk]:
        turns = asyncio.Semaphore(_READS_AT_ONCE)

        async def one(number: int) -> StagedChunk:
            async with turns:
                return await folder.need(f"staged-{task.target}/{number:05d}", StagedChunk)

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    @activity.defn(name="etl.finish")
    @with_heartbeats
    async def finish(self, task: FinishInput) -> Nothing:
        """Record how a run ended, announce its rows, and remove what nobody needs any more."""
        history = PipelineHistory(self._store, task.name.pipeline)
        if await history.find(task.name.run) is None:
            await history.record(await self._record(task))
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        run = await folder.find(RUN, PinnedRun)
        if run is not None:
            for target in run.spec.targets:
                await self._open_target(target).discard(batch_table(run, target))
            await self._tidy(run, published=bool(task.published))
            if task.audit.score >= (run.spec.quality_threshold or 0.0):
                await AlertRecord(self._store).end_all(run.spec.name, task.now_us // 1_000)
        await folder.remove()
        return Nothing()

    async def _record(self, task: FinishInput) -> RunRecord:
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        run = await folder.need(RUN, PinnedRun)
        plan = await folder.need(PLAN, ChunkPlan)
        evidence = await folder.find("evidence", Evidence)
        return RunRecord(
            pipeline=run.spec.name,
            run=run.run,
            slot=run.slot,
            state="published" if task.published else "blocked",
            started_us=task.started_us,
            ended_us=task.now_us,
            columns=run.decision.columns,
            window=plan.window,
            interval=run.interval,
            spec=run.spec,
            result_hash=run.spec.result_hash(),
            source=run.spec.source.model_dump_json(exclude_defaults=True),
            ledger=task.ledger,
            published={
                one.target: (one.inserted, one.updated, one.deleted) for one in task.published
            },
            written={one.target: one.written for one in task.published if one.written},
            quarantine=evidence.quarantine if evidence else [],
            report=evidence.report if evidence else None,
            release_of=run.release.run if run.release is not None else None,
            release=run.let_through or run.release,
            score=task.audit.score,
            outcome=task.audit.outcome,
            metrics=evidence.metrics if evidence else {},
            page=task.report.page,
        )

    async def _tidy(self, run: PinnedRun, *, published: bool) -> None:
        """Remove the clean rows of this run, and what older runs of its interval left."""
        mine = run.prefix
        for zone in ("clean",) if published else ("clean", "raw"):
            await self._lake.delete(await self._lake.keys(f"{mine}/{zone}/"))
        history = PipelineHistory(self._store, run.spec.name)
        label = run.interval.label if run.interval is not None else ""
        for number in await history.before(run.run, label):
            prefix = f"{etl_run_prefix(run.spec.name, number)}/"
            if await history.find(number) is not None:
                if published:  # a blocked run takes nobody's place
                    await self._lake.delete(await self._lake.keys(f"{prefix}raw/"))
                continue
            # It was terminated: nobody goes on with it.
            await self._lake.delete(await self._lake.keys(prefix))
            await RunFolder(self._store, run.spec.name, number).remove()


async def clean_chunk(folder: RunFolder, run: PinnedRun, number: int) -> CleanChunk:
    """Give the rows of a chunk as targets get them."""
    place = GROUPED if is_grouped(run) else CLEAN
    return await folder.need(f"{place}/{number:05d}", CleanChunk)


async def kept_rows(
    lake: ObjectStore, folder: RunFolder, chunk: CleanChunk
) -> AsyncIterator[pl.DataFrame]:
    """Yield the rows of a chunk without those that checks of the whole batch took out."""
    dropped = await folder.find(f"{DROPPED}/{chunk.number:05d}", DroppedRows)
    for part in chunk.parts:
        rows = await read_part(lake, part)
        yield rows if dropped is None else without(rows, pl.Series(dropped.records))


async def chunk_count(folder: RunFolder, run: PinnedRun) -> int:
    """Count the chunks that targets get."""
    if is_grouped(run):
        return 1
    return len((await folder.need(PLAN, ChunkPlan)).chunks)


def is_grouped(run: PinnedRun) -> bool:
    """Tell whether a step puts rows of all chunks together."""
    return any(step.aggregate is not None for step in run.spec.transform)
