"""Open, settle, plan, finish and discard the runs of ETL pipelines."""

from temporalio import activity

from activities.etl_folder import RunFolder
from activities.etl_history import PipelineHistory
from activities.etl_io import (
    ChunkPlan,
    DiscardInput,
    EtlOpened,
    EtlOpenInput,
    EtlPlanned,
    Nothing,
    PinnedRun,
    PlanInput,
    RunName,
    SettleInput,
)
from activities.etl_prepare import SourceOpener, TargetOpener, pin, preflight, reading
from activities.etl_reference import pin_references
from activities.etl_table import batch_table
from activities.heartbeat import with_heartbeats
from batch.chunk import Settled
from batch.clean_plan import drops_repeated, looks_for_repeated
from common.errors import FatalError
from common.payloads import ObjectStore

RUN = "run"
PLAN = "plan"


class EtlBookActivities:
    """The record of runs outside Temporal's retention, and what comes before and after the rows."""

    def __init__(
        self,
        store: ObjectStore,
        lake: ObjectStore,
        open_source: SourceOpener,
        open_target: TargetOpener,
    ) -> None:
        self._store = store
        self._lake = lake
        self._open_source = open_source
        self._open_target = open_target

    @activity.defn(name="etl.open")
    @with_heartbeats
    async def open(self, task: EtlOpenInput) -> EtlOpened:
        """Fix what the run does, and make staging in every target; the same owner gets the same."""
        history = PipelineHistory(self._store, task.spec.name)
        label = task.interval.label if task.interval is not None else ""
        source = self._open_source(task.spec, task.interval)
        try:
            last = await history.last_published()
            before = await history.find(task.release.run) if task.release is not None else last
            let_through = task.release
            if let_through is None and not task.forget_releases:
                let_through = await history.let_through(task.interval)
            run = await history.claim(task.owner, label)
            pinned = await pin(
                task.spec, source, before, run=run, owner=task.owner, now_us=task.now_us,
                interval=task.interval, release=task.release,
            )  # fmt: skip
        finally:
            await source.close()
        folder = RunFolder(self._store, task.spec.name, run)
        references = await pin_references(task.spec, run, self._store, self._open_source)
        kept = {"references": references, "let_through": let_through}
        pinned = await folder.keep(RUN, pinned.model_copy(update=kept))
        plans = await preflight(pinned, self._open_target)
        for target in pinned.spec.targets:
            await self._open_target(target).open(batch_table(pinned, target))
        notes = [f"{name}: {note}" for name, plan in plans.items() for note in plan.notes]
        return EtlOpened(
            run=run,
            slot=pinned.slot,
            window=pinned.window,
            targets=[target.name for target in pinned.spec.targets],
            keyed=looks_for_repeated(pinned.spec),
            drops=drops_repeated(pinned.spec),
            grouped=any(step.aggregate is not None for step in pinned.spec.transform),
            changes=pinned.decision.changes,
            notes=[*pinned.source.notes, *notes],
        )

    @activity.defn(name="etl.settle")
    @with_heartbeats
    async def settle(self, task: SettleInput) -> Settled:
        """Fix the end of what is read, and say whose transactions may still add to it."""
        pinned = await pinned_run(self._store, task.name)
        source = self._open_source(pinned.spec, pinned.interval)
        before = None
        if task.open_transactions is not None:
            before = Settled(window=task.window, open_transactions=task.open_transactions)
        try:
            return await source.settle(task.window, before)
        finally:
            await source.close()

    @activity.defn(name="etl.plan")
    @with_heartbeats
    async def plan(self, task: PlanInput) -> EtlPlanned:
        """Cut the input into chunks and keep the plan; another attempt gets the same plan."""
        pinned = await pinned_run(self._store, task.name)
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        plan = await folder.find(PLAN, ChunkPlan)
        if plan is None:
            source = self._open_source(pinned.spec, pinned.interval)
            try:
                limit = pinned.spec.limits.chunk_rows
                chunks = await source.plan(reading(pinned), task.window, limit)
            finally:
                await source.close()
            plan = await folder.keep(PLAN, ChunkPlan(window=task.window, chunks=chunks))
        rows = sum(chunk.row_estimate for chunk in plan.chunks)
        return EtlPlanned(chunk_count=len(plan.chunks), row_estimate=rows)

    @activity.defn(name="etl.discard")
    @with_heartbeats
    async def discard(self, task: DiscardInput) -> Nothing:
        """Remove staging and everything else of a run that published nothing; twice is once."""
        history = PipelineHistory(self._store, task.name.pipeline)
        run = task.name.run or await history.claimed(task.owner)
        if run is None:
            return Nothing()
        folder = RunFolder(self._store, task.name.pipeline, run)
        pinned = await folder.find(RUN, PinnedRun)
        if pinned is not None:
            for target in pinned.spec.targets:
                await self._open_target(target).discard(batch_table(pinned, target))
        await self._lake.delete(await self._lake.keys(f"{folder.prefix}/"))
        await folder.remove()
        return Nothing()


async def pinned_run(store: ObjectStore, name: RunName) -> PinnedRun:
    """Give what a run fixed; raises `FatalError` when it was cleaned up."""
    return await RunFolder(store, name.pipeline, name.run).need(RUN, PinnedRun)


async def chunk_of(store: ObjectStore, name: RunName, number: int) -> ChunkPlan:
    """Give the plan of a run, cut down to one chunk."""
    plan = await RunFolder(store, name.pipeline, name.run).need(PLAN, ChunkPlan)
    if number >= len(plan.chunks):
        raise FatalError(
            f"run {name.run} of `{name.pipeline}`: expected {len(plan.chunks)} chunks, got one "
            f"with number {number}"
        )
    return plan.model_copy(update={"chunks": [plan.chunks[number]]})
