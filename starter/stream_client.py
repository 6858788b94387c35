"""Streams as Temporal shows them: start, signal, ask, and what a closed one left behind."""

import asyncio
from dataclasses import dataclass
from typing import TypeVar

from temporalio.api.failure.v1 import Failure
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from common.errors import (
    FatalError,
    TopicMissingError,
    UnknownNameError,
    UsageError,
)
from common.names import STREAM_COMPUTE_QUEUE, STREAM_QUEUE, stream_workflow_id
from common.payloads import Model
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
from streaming.room import require_partitions
from streaming.status import StreamResult, StreamStatus
from workflows.stream_input import STREAM_WORKFLOW, StreamInput

UPDATE_TIMEOUT_S = 15

Answer = TypeVar("Answer", bound=Model)

_QUEUES = {STREAM_QUEUE: WORKFLOW_QUEUE, STREAM_COMPUTE_QUEUE: ACTIVITY_QUEUE}


class NoAnswerError(FatalError):
    """The stream runs, yet nobody answers for it now."""


class StreamFailedError(FatalError):
    """The workflow of a stream did not end as a stream ends."""


@dataclass(frozen=True)
class StreamRun:
    """The last run of a stream: its handle, and whether it goes on."""

    name: str
    handle: WorkflowHandle[object, StreamResult]
    is_open: bool
    status: WorkflowExecutionStatus | None


class StreamClient:
    """Talks to the workflows of streams."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._settings = settings
        self._client = client

    @classmethod
    async def open(cls, settings: Settings) -> "StreamClient":
        """Connect; raises `SettingsError` or `ServiceUnavailableError` when that fails."""
        return cls(settings, await connect(settings.temporal))

    async def start(self, task: StreamInput) -> StreamRun:
        """Start a stream, after checking that it can run at all.

        Raises:
            UnknownNameError: The topic or a partition does not exist; nothing was started.
            FatalError: No worker polls a queue it needs, or it runs already.
        """
        name = task.spec.name
        if (run := await self.find(name)) is not None and run.is_open:
            raise _already_running(name)
        await check_workers(self._client, self._settings, _QUEUES)
        await self._check_topic(task)
        workflow_id = stream_workflow_id(name)
        try:
            await self._client.start_workflow(
                STREAM_WORKFLOW,
                task,
                id=workflow_id,
                task_queue=STREAM_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                static_summary=task.spec.description or f"stream {name}",
            )
        except WorkflowAlreadyStartedError as error:
            raise _already_running(name) from error
        except RPCError as error:
            raise unavailable(self._settings, error) from error
        return StreamRun(name, self._handle(name), is_open=True, status=None)

    async def find(self, name: str) -> StreamRun | None:
        """Find the last run of a stream; None when it was never started, or long ago."""
        handle = self._handle(name)
        try:
            found = await handle.describe(rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise unavailable(self._settings, error) from error
        is_open = found.status == WorkflowExecutionStatus.RUNNING
        return StreamRun(name, handle, is_open, found.status)

    async def signal(self, run: StreamRun, signal: str) -> None:
        """Send `pause`, `resume`, `drain` or `stop`. Raises `FatalError` when the run has ended."""
        try:
            await run.handle.signal(signal, rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise FatalError(
                    f"stream `{run.name}`: expected a running one to {signal}, got one that has "
                    f"ended; see `sluice stream status {run.name}`"
                ) from error
            raise unavailable(self._settings, error) from error

    async def update(
        self, run: StreamRun, name: str, change: Model, result_type: type[Answer]
    ) -> Answer:
        """Ask a running stream for a change and wait for its answer.

        Raises:
            UsageError: The stream refused it, or it does not run.
            NoAnswerError: No worker answers for it.
            ServiceUnavailableError: Temporal does not answer.
        """
        if not run.is_open:
            raise UsageError(
                f"stream `{run.name}`: expected a running one to {name}, got one that has ended; "
                f"start it with `sluice stream start {run.name}`, then try again"
            )
        try:
            async with asyncio.timeout(UPDATE_TIMEOUT_S):
                answer: Answer = await run.handle.execute_update(
                    name, change, result_type=result_type
                )
        except WorkflowUpdateFailedError as error:
            raise UsageError(f"stream `{run.name}`: {first_line(error.cause)}") from error
        except TimeoutError as error:
            raise NoAnswerError(
                f"stream `{run.name}`: expected an answer within {UPDATE_TIMEOUT_S} s, got none; "
                f"see `sluice ps` and `sluice stream status {run.name}`"
            ) from error
        except RPCError as error:
            raise unavailable(self._settings, error) from error
        return answer

    async def status(self, run: StreamRun) -> StreamStatus:
        """Ask a stream where it stands; without a worker an ended one is described by its result.

        Raises:
            NoAnswerError: No worker answers for it.
            ServiceUnavailableError: Temporal does not answer.
        """
        try:
            status: StreamStatus = await run.handle.query(
                "status", result_type=StreamStatus, rpc_timeout=CALL_TIMEOUT
            )
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError, RPCError) as error:
            if isinstance(error, RPCError) and error.status == RPCStatusCode.UNAVAILABLE:
                raise unavailable(self._settings, error) from error
            if not run.is_open:
                return _from_result(run.name, await self.result(run))
            if "Workflow Task in failed state" in str(error):
                raise NoAnswerError(
                    f"stream `{run.name}`: expected its workflow to go on, got a step that fails "
                    f"and is tried again; see `sluice logs worker-stream`, {self.web_ui(run.name)}"
                ) from error
            raise NoAnswerError(
                f"stream `{run.name}`: expected a worker on queue `{STREAM_QUEUE}` to answer, got "
                f"none ({first_line(error)}); it goes on when one is there: run `sluice up`"
            ) from error
        if run.is_open and not status.reason:
            return status.model_copy(update={"reason": await self._retried(run)})
        return status

    async def _retried(self, run: StreamRun) -> str:
        """Say what is retried now; the workflow itself hears of it some attempts later."""
        try:
            found = await run.handle.describe(rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            raise unavailable(self._settings, error) from error
        failed = {
            f"{one.activity_type.name}: {_message(one.last_failure)}"
            for one in found.raw_description.pending_activities
            if one.attempt > 1 and one.HasField("last_failure")
        }
        return f"retrying: {'; '.join(sorted(failed))}" if failed else ""

    async def result(self, run: StreamRun) -> StreamResult:
        """Wait until a stream has ended; gives how.

        Raises:
            StreamFailedError: It failed, or was cancelled or terminated from outside.
            ServiceUnavailableError: Temporal does not answer.
        """
        try:
            return await run.handle.result()
        except WorkflowFailureError as error:
            raise StreamFailedError(
                f"stream `{run.name}`: expected to complete, drain or stop, got "
                f"{type(error.cause).__name__}: {first_line(first_cause(error.cause))}; see "
                f"{self.web_ui(run.name)}"
            ) from error
        except RPCError as error:
            raise unavailable(self._settings, error) from error

    def web_ui(self, name: str) -> str:
        """Give the stream's page in the Web UI, or the workflow's id where none is known."""
        return web_ui(self._settings, stream_workflow_id(name))

    def _handle(self, name: str) -> WorkflowHandle[object, StreamResult]:
        return self._client.get_workflow_handle(stream_workflow_id(name), result_type=StreamResult)

    async def _check_topic(self, task: StreamInput) -> None:
        from connectors.kafka import KafkaLog

        log = KafkaLog(self._settings.kafka, "sluice-start")
        try:
            found = await log.describe(task.spec.topic)
        except TopicMissingError as error:
            raise UnknownNameError(f"{error}; nothing was started") from error
        finally:
            await log.close()
        require_partitions(task.spec, len(found.end))
        named = (task.until.offsets if task.until else None) or {}
        if unknown := sorted(named.keys() - found.end.keys()):
            raise UnknownNameError(
                f"`--until` of topic `{task.spec.topic}`: expected partitions {sorted(found.end)}, "
                f"got {unknown}; name existing ones; nothing was started"
            )


def _already_running(name: str) -> UsageError:
    return UsageError(
        f"stream `{name}`: expected none running, got one that runs already; watch it with "
        f"`sluice stream status {name} --wait`, or end it with `sluice stream drain {name} --wait`"
    )


def _from_result(name: str, result: StreamResult) -> StreamStatus:
    return StreamStatus(
        pipeline=name,
        state=result.state,
        epoch=result.epoch,
        watermark_ms=result.watermark_ms,
        flush_seq=result.flush_seq,
        flushed_rows=result.flushed_rows,
        ledger=result.ledger,
    )


def _message(failure: Failure) -> str:
    """Give the text of a failure; the server keeps one with a long trace as a cause."""
    if failure.HasField("server_failure_info") and failure.HasField("cause"):
        return failure.cause.message
    return failure.message
