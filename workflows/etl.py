"""The ETL workflow: extract, transform, stage, audit, publish, and what is undone when it fails."""

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities import etl_io as io
from activities.alert_io import RaiseInput
from activities.stream_io import Done
from batch.chunk import Settled
from common.names import ETL_COMPUTE_QUEUE, ETL_QUEUE
from pipelines.etl_source import PostgresSource
from streaming.alert import alert_id
from workflows import clock, policies
from workflows.etl_chunk import ChunkPipeline
from workflows.etl_input import (
    ETL_WORKFLOW,
    EtlInput,
    EtlPhase,
    EtlProgress,
    EtlResult,
    EtlState,
    EtlStatus,
)
from workflows.insistence import Insistence
from workflows.search_attribute import StateAttribute

SETTLE_PAUSE = timedelta(seconds=1)
NO_REPORT = io.ReportWritten()
SETTLE_PAUSE_LONGEST = timedelta(seconds=30)


@workflow.defn(name=ETL_WORKFLOW)
class EtlWorkflow:
    """Load one data interval: readers see its rows once they have passed the gate, or none of them.

    Until the first target is published, a failure or a cancellation undoes everything; after it the
    run goes on until all targets are published.
    """

    @workflow.init
    def __init__(self, task: EtlInput) -> None:
        self._task = task
        self._outcome: EtlState = "running"
        self._paused = False
        self._phase: EtlPhase = "opening"
        self._reason = self._waiting = ""
        self._insist = Insistence(self._wait_for_person, queue=ETL_QUEUE, sees_out=True)
        self._progress = task.carried or EtlProgress(started_us=clock.now_ms() * 1_000)
        self._published: list[io.TargetResult] = []
        self._rolls_forward = False
        label = task.interval.label if task.interval is not None else None
        self._attribute = StateAttribute(task.spec.name, task.spec.kind, label)

    # --- signals and queries -----------------------------------------------------------------

    @workflow.signal
    def pause(self) -> None:
        """Begin nothing more; what is under way is finished."""
        if self._outcome != "running" or self._paused:
            return
        if self._rolls_forward:
            self._reason = "asked to pause after the first publication: it is finished"
        else:
            self._paused, self._reason = True, "paused by request"

    @workflow.signal
    def resume(self) -> None:
        """Go on, and try again what waits for a person."""
        self._paused, self._reason = False, ""
        self._insist.resume()

    @workflow.query
    def status(self) -> EtlStatus:
        """Tell where the run stands and why."""
        opened, progress = self._progress.opened, self._progress
        trouble = [f"{what}: {why}" for what, why in self._insist.trouble.items()]
        reasons = dict.fromkeys([self._reason, self._waiting, *trouble])
        return EtlStatus(
            pipeline=self._task.spec.name,
            state=self._state,
            phase=self._phase,
            reason="; ".join(reason for reason in reasons if reason),
            run=opened.run if opened else 0,
            slot=opened.slot if opened else "",
            chunks_done=progress.done,
            chunk_count=progress.chunk_count,
            rows=progress.extracted_rows,
            row_estimate=progress.row_estimate,
            started_us=progress.started_us,
            now_us=clock.now_ms() * 1_000,
            ledger=progress.ledger,
            published=self._published,
        )

    @property
    def _state(self) -> EtlState:
        return "paused" if self._paused else self._outcome

    def _decide(self, outcome: EtlState, reason: str = "") -> None:
        """Say what becomes of the run; a pause that was asked for has nothing to hold any more."""
        self._outcome, self._paused = outcome, False
        self._reason, self._waiting = reason, ""

    def _wait_for_person(self, reason: str) -> None:
        self._paused, self._reason = True, reason

    # --- the run -----------------------------------------------------------------------------

    @workflow.run
    async def run(self, task: EtlInput) -> EtlResult:
        """Load the interval; `blocked` when it did not pass the gate."""
        work = asyncio.create_task(self._load(task))
        while True:
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                if work.done() and not work.cancelled():
                    return work.result()
                if self._rolls_forward:
                    self._reason = "cancelled after the first publication: it is finished"
                    continue
                self._insist.given_up = True
                work.cancel()
                await workflow.wait([work])
                self._decide("cancelled", "cancelled by request")
                await self._undo(task)
                raise
            except ApplicationError as error:
                if not self._rolls_forward:
                    self._decide("failed", error.message)
                    await self._undo(task)
                raise

    async def _load(self, task: EtlInput) -> EtlResult:
        opened = await self._open(task)
        if self._progress.chunk_count is None:
            await self._cut(task, opened)
        self._phase = "extracting"
        self._attribute.show(self._outcome)
        chunks = ChunkPipeline(task, self._name(opened), opened, self._progress, self._insist)
        self._progress = await chunks.run(self._unpaused, self._unpaused_late, self._moved)
        if opened.keyed:
            await self._unpaused()
            await self._find_repeated(opened)
        if opened.drops or opened.grouped:
            await chunks.stage(self._unpaused)
        self._phase = "auditing"
        await self._unpaused()
        audit = await self._audit(opened)
        if audit.outcome == "blocked":
            self._decide("blocked")
            return await self._end(opened, audit)
        await self._publish(opened)
        self._decide("published")
        return await self._end(opened, audit, await self._report(opened))

    async def _open(self, task: EtlInput) -> io.EtlOpened:
        if self._progress.opened is not None:
            return self._progress.opened
        work = io.EtlOpenInput(
            spec=task.spec,
            owner=workflow.info().first_execution_run_id,
            now_us=clock.now_ms() * 1_000,
            interval=task.interval,
            release=task.release,
            forget_releases=task.forget_releases,
        )
        opened = await self._insist.run(
            "opening", "etl.open", work, io.EtlOpened, policies.PREPARE, fatal_ends=True
        )
        self._progress = self._progress.model_copy(update={"opened": opened})
        return opened

    async def _cut(self, task: EtlInput, opened: io.EtlOpened) -> None:
        """Wait until what is read can no longer grow, then cut it into chunks."""
        self._phase = "settling"
        window, pause = opened.window, SETTLE_PAUSE
        if isinstance(task.spec.source, PostgresSource) and task.spec.source.cursor:
            transactions: list[str] | None = None
            while transactions is None or transactions:
                await self._unpaused()
                work = io.SettleInput(
                    name=self._name(opened), window=window, open_transactions=transactions
                )
                settled = await self._insist.run(
                    "settling", "etl.settle", work, Settled, policies.PREPARE, fatal_ends=True
                )
                window, transactions = settled.window, settled.open_transactions
                if transactions:
                    self._waiting = f"waits for open transactions: {', '.join(transactions)}"
                    await workflow.sleep(pause)
                    pause = min(pause * 2, SETTLE_PAUSE_LONGEST)
            self._waiting = ""
        self._phase = "planning"
        await self._unpaused()
        plan = io.PlanInput(name=self._name(opened), window=window)
        at_once = isinstance(task.spec.source, PostgresSource) and (
            task.spec.source.consistency == "snapshot"
        )
        planned = await self._insist.run(
            "planning",
            "etl.extract_snapshot" if at_once else "etl.plan",
            plan,
            io.EtlPlanned,
            policies.SNAPSHOT if at_once else policies.PREPARE,
            queue=ETL_COMPUTE_QUEUE if at_once else ETL_QUEUE,
            fatal_ends=True,
        )
        self._progress = self._progress.model_copy(
            update={"chunk_count": planned.chunk_count, "row_estimate": planned.row_estimate}
        )

    async def _find_repeated(self, opened: io.EtlOpened) -> None:
        """Find keys that repeat; rows that go because of that go to quarantine."""
        work = io.AuditInput(name=self._name(opened), chunk_count=self._progress.chunk_count or 0)
        found = await self._insist.run(
            "looking for repeated keys", "etl.find_repeated", work, io.AuditResult,
            policies.AUDIT, queue=ETL_COMPUTE_QUEUE, fatal_ends=True,
        )  # fmt: skip
        ledger = self._progress.ledger.dropped(found.dropped, found.dropped_rows)
        self._progress = self._progress.model_copy(update={"ledger": ledger})

    async def _audit(self, opened: io.EtlOpened) -> io.AuditResult:
        work = io.AuditInput(
            name=self._name(opened),
            chunk_count=self._progress.chunk_count or 0,
            ledger=self._progress.ledger,
        )
        return await self._insist.run(
            "auditing", "etl.audit", work, io.AuditResult, policies.AUDIT,
            queue=ETL_COMPUTE_QUEUE, fatal_ends=True,
        )  # fmt: skip

    async def _publish(self, opened: io.EtlOpened) -> None:
        """Publish target by target; from the first one on there is no way back."""
        self._phase = "publishing"
        count = self._progress.chunk_count or 0
        inputs = [
            io.TargetInput(name=self._name(opened), target=place, chunk_count=count)
            for place in range(len(opened.targets))
        ]
        await self._unpaused()
        for name, work in zip(opened.targets, inputs, strict=True):
            await self._insist.run(
                f"reconciling {name}", "etl.reconcile", work, io.Nothing, policies.PREPARE,
                fatal_ends=True,
            )  # fmt: skip
        await self._unpaused_late()
        for place, (name, work) in enumerate(zip(opened.targets, inputs, strict=True)):
            # A target refuses before it changes anything; only what follows must go forward.
            self._rolls_forward = True
            try:
                done = await self._insist.run(
                    f"publishing {name}", "etl.publish", work, io.TargetResult, policies.PUBLISH,
                    fatal_ends=place == 0,
                )  # fmt: skip
            except ApplicationError:
                self._rolls_forward = False
                raise
            self._published.append(done)

    async def _report(self, opened: io.EtlOpened) -> io.ReportWritten:
        """Write the report, while the clean rows are there."""
        self._phase = "reporting"
        if self._task.spec.report is None:
            return io.ReportWritten()
        self._rolls_forward = True
        work = io.ReportInput(name=self._name(opened), now_us=clock.now_ms() * 1_000)
        return await self._insist.run(
            "reporting", "etl.report", work, io.ReportWritten, policies.AUDIT,
            queue=ETL_COMPUTE_QUEUE,
        )  # fmt: skip

    async def _end(
        self,
        opened: io.EtlOpened,
        audit: io.AuditResult,
        report: io.ReportWritten = NO_REPORT,
    ) -> EtlResult:
        self._phase = "recording"
        now_us = clock.now_ms() * 1_000
        work = io.FinishInput(
            name=self._name(opened),
            chunk_count=self._progress.chunk_count or 0,
            published=self._published,
            audit=audit,
            ledger=self._progress.ledger,
            started_us=self._progress.started_us,
            now_us=now_us,
            report=report,
        )
        self._rolls_forward = True
        await self._insist.run("recording", "etl.finish", work, io.Nothing, policies.PREPARE)
        if audit.alert:
            await self._alert(audit.alert)
        self._attribute.show(self._outcome)
        return EtlResult(
            state=self._state,
            run=opened.run,
            slot=opened.slot,
            ledger=self._progress.ledger,
            audit=audit,
            published=self._published,
            changes=opened.changes,
            elapsed_us=now_us - self._progress.started_us,
            written=report,
        )

    async def _alert(self, reason: str) -> None:
        """Tell people; a webhook that takes nothing does not hold the run back for long."""
        now_ms, pipeline = clock.now_ms(), self._task.spec.name
        name = alert_id(pipeline, now_ms, workflow.info().first_execution_run_id, 1)
        work = RaiseInput(
            name=name, pipeline=pipeline, what="quality", reason=reason, raised_ms=now_ms
        )
        raised = await self._insist.run("alerting", "alert.raise", work, Done, policies.PREPARE)
        if raised.count:
            with contextlib.suppress(ActivityError):
                await self._insist.once("alert.post", work, Done, policies.PREPARE)

    # --- what goes beside --------------------------------------------------------------------

    def _name(self, opened: io.EtlOpened) -> io.RunName:
        return io.RunName(pipeline=self._task.spec.name, run=opened.run)

    async def _unpaused(self) -> None:
        await workflow.wait_condition(lambda: not self._paused)

    async def _unpaused_late(self) -> None:
        """Wait where runs of an earlier version went on."""
        if self._paused and workflow.patched("pause-holds-to-the-end"):
            await self._unpaused()

    def _moved(self, progress: EtlProgress) -> None:
        self._progress = progress

    async def _undo(self, task: EtlInput) -> None:
        """Leave every target, and staging, as they were."""
        self._insist.given_up = False
        opened = self._progress.opened
        name = io.RunName(pipeline=task.spec.name, run=opened.run if opened else 0)
        owner = workflow.info().first_execution_run_id
        work = io.DiscardInput(name=name, owner=owner)
        await self._insist.run("undoing", "etl.discard", work, io.Nothing, policies.PREPARE)
        self._attribute.show(self._outcome)
