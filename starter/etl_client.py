"""Runs of ETL pipelines as Temporal shows them: start, signal, ask, cancel."""

from dataclasses import dataclass
from datetime import datetime

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, CancelledError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from common.errors import FatalError, UsageError
from common.names import ETL_COMPUTE_QUEUE, ETL_QUEUE, etl_workflow_id
from common.settings import Settings
from connectors.temporal import connect
from starter.temporal_call import (
    ACTIVITY_QUEUE,
    CALL_TIMEOUT,
    WORKFLOW_QUEUE,
    check_workers,
    first_cause,
    first_line,
    unavailable,
    web_ui,
)
from workflows.etl_input import ETL_WORKFLOW, EtlInput, EtlResult, EtlStatus

_QUEUES = {ETL_QUEUE: WORKFLOW_QUEUE, ETL_COMPUTE_QUEUE: ACTIVITY_QUEUE}


class EtlFailedError(FatalError):
    """A run failed; its targets are as they were, or say so."""


class EtlCancelledError(FatalError):
    """A run was cancelled; its targets are as they were."""


class EtlNoAnswerError(FatalError):
    """A run goes on, yet nobody answers for it now."""


@dataclass(frozen=True)
class EtlRun:
    """A run of one slot: its handle, and whether it goes on."""

    name: str
    label: str
    handle: WorkflowHandle[object, EtlResult]
    is_open: bool


class EtlClient:
    """Speaks with the workflows of ETL pipelines."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings

    @classmethod
    async def open(cls, settings: Settings) -> "EtlClient":
        """Connect; raises `ServiceUnavailableError`."""
        return cls(await connect(settings.temporal), settings)

    async def start(self, task: EtlInput) -> EtlRun:
        """Start a run; one that goes on already for the same slot is refused.

        Raises:
            UsageError: It runs already.
            FatalError: No worker is there.
        """
        await check_workers(self._client, self._settings, _QUEUES)
        label = label_of(task)
        try:
            handle = await self._client.start_workflow(
                ETL_WORKFLOW,
                task,
                id=etl_workflow_id(task.spec.name, label),
                task_queue=ETL_QUEUE,
                result_type=EtlResult,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                rpc_timeout=CALL_TIMEOUT,
            )
        except WorkflowAlreadyStartedError as error:
            raise UsageError(
                f"etl `{task.spec.name}` {label}: expected no run of this interval, got one that "
                f"goes on; watch it with `sluice etl status {task.spec.name} --wait`"
            ) from error
        except RPCError as error:
            raise unavailable(self._settings, error) from error
        return EtlRun(task.spec.name, label, handle, is_open=True)

    async def find(self, name: str, label: str | None) -> EtlRun | None:
        """Find the run of an interval, or the newest one of a pipeline."""
        if label is None:
            label = await self._newest(name)
            if label is None:
                return None
        handle = self._client.get_workflow_handle(
            etl_workflow_id(name, label), result_type=EtlResult
        )
        try:
            found = await handle.describe(rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise unavailable(self._settings, error) from error
        return EtlRun(name, label, handle, found.status == WorkflowExecutionStatus.RUNNING)

    async def _newest(self, name: str) -> str | None:
        prefix = etl_workflow_id(name, "")
        query = f"WorkflowType = '{ETL_WORKFLOW}' AND WorkflowId STARTS_WITH '{prefix}'"
        newest: tuple[datetime, str] | None = None
        try:
            async for one in self._client.list_workflows(query, rpc_timeout=CALL_TIMEOUT):
                found = (one.start_time, one.id.removeprefix(prefix))
                newest = max(newest, found) if newest is not None else found
        except RPCError as error:
            raise unavailable(self._settings, error) from error
        return None if newest is None else newest[1]

    async def signal(self, run: EtlRun, signal: str) -> None:
        """Send `pause` or `resume`. Raises `FatalError` when the run has ended."""
        try:
            await run.handle.signal(signal, rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            raise self._ended(run, signal, error) from error

    async def cancel(self, run: EtlRun) -> None:
        """Ask a run to undo what it did. Raises `FatalError` when it has ended."""
        if not run.is_open:  # which Temporal takes without a word
            raise self._over(run, "cancel")
        try:
            await run.handle.cancel(rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            raise self._ended(run, "cancel", error) from error

    async def status(self, run: EtlRun) -> EtlStatus:
        """Ask a run where it stands.

        Raises:
            EtlNoAnswerError: No worker answers for it.
            ServiceUnavailableError: Temporal does not answer.
        """
        try:
            status: EtlStatus = await run.handle.query(
                "status", result_type=EtlStatus, rpc_timeout=CALL_TIMEOUT
            )
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError, RPCError) as error:
            if isinstance(error, RPCError) and error.status == RPCStatusCode.UNAVAILABLE:
                raise unavailable(self._settings, error) from error
            raise EtlNoAnswerError(
                f"etl `{run.name}` {run.label}: expected a worker on queue `{ETL_QUEUE}` to "
                f"answer, got none ({first_line(error)}); it goes on when one is there: run "
                "`sluice up`"
            ) from error
        return status

    async def result(self, run: EtlRun) -> EtlResult:
        """Wait until a run has ended; gives how.

        Raises:
            EtlFailedError: It failed.
            EtlCancelledError: It was cancelled.
            ServiceUnavailableError: Temporal does not answer.
        """
        try:
            return await run.handle.result()
        except WorkflowFailureError as error:
            if isinstance(error.cause, CancelledError):
                raise EtlCancelledError(
                    f"etl `{run.name}` {run.label}: cancelled, its targets are as they were"
                ) from error
            cause = first_cause(error.cause)
            said = cause.message if isinstance(cause, ApplicationError) else first_line(cause)
            raise EtlFailedError(
                f"etl `{run.name}` {run.label}: {said}; nothing was published; see "
                f"{self.web_ui(run)}"
            ) from error
        except RPCError as error:
            raise unavailable(self._settings, error) from error

    def web_ui(self, run: EtlRun) -> str:
        """Give the run's page in the Web UI, or the workflow's id where none is known."""
        return web_ui(self._settings, etl_workflow_id(run.name, run.label))

    def _ended(self, run: EtlRun, what: str, error: RPCError) -> Exception:
        if error.status == RPCStatusCode.NOT_FOUND:
            return self._over(run, what)
        return unavailable(self._settings, error)

    def _over(self, run: EtlRun, what: str) -> FatalError:
        return FatalError(
            f"etl `{run.name}` {run.label}: expected a run to {what}, got one that has ended; "
            f"see `sluice etl status {run.name}`"
        )


def label_of(task: EtlInput) -> str:
    """Give the last part of a run's id."""
    return task.interval.label if task.interval is not None else "latest"
