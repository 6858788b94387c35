"""Calls to Temporal from the command line: what failed, and who polls a queue."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from common.errors import FatalError, ServiceUnavailableError
from common.settings import Settings

CALL_TIMEOUT = timedelta(seconds=5)
POLLER_AGE = timedelta(seconds=75)
"""A poller whose last long poll began longer ago is gone; a poll lasts up to a minute."""

WORKFLOW_QUEUE = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITY_QUEUE = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY

_TRANSIENT = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.UNKNOWN,
    }
)


def unavailable(settings: Settings, error: RPCError) -> Exception:
    """Make the error of ours that stands for a failed call."""
    if error.status in _TRANSIENT:
        address = settings.temporal.address or "its address"
        return ServiceUnavailableError("Temporal", address, first_line(error))
    return FatalError(f"Temporal: expected to be obeyed, got {error.status.name}: {error}")


async def check_workers(
    client: Client, settings: Settings, kinds: Mapping[str, TaskQueueType.ValueType]
) -> None:
    """Refuse to start what no worker would take.

    Raises:
        FatalError: Nobody polls one of the queues.
        ServiceUnavailableError: Temporal does not answer.
    """
    idle = [name for name, kind in kinds.items() if not await _polled(client, settings, name, kind)]
    if idle:
        raise FatalError(
            f"queue `{'`, `'.join(idle)}`: expected a worker, got none; run `sluice up`, or "
            f"`sluice worker --queues {','.join(kinds)}`, then start again; nothing was started"
        )


async def _polled(
    client: Client, settings: Settings, queue: str, kind: TaskQueueType.ValueType
) -> bool:
    request = DescribeTaskQueueRequest(
        namespace=settings.temporal.namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=kind,
    )
    try:
        answer = await client.workflow_service.describe_task_queue(request, timeout=CALL_TIMEOUT)
    except RPCError as error:
        raise unavailable(settings, error) from error
    oldest = datetime.now(UTC) - POLLER_AGE
    return any(poller.last_access_time.ToDatetime(tzinfo=UTC) > oldest for poller in answer.pollers)


def web_ui(settings: Settings, workflow_id: str) -> str:
    """Give the page of a workflow in the Web UI, or its id where no address is known."""
    if settings.temporal.ui_address is None:
        return f"workflow {workflow_id}"
    base, namespace = settings.temporal.ui_address.rstrip("/"), settings.temporal.namespace
    return f"{base}/namespaces/{namespace}/workflows/{quote(workflow_id, safe='')}"


def first_cause(error: BaseException) -> BaseException:
    """Give the error at the end of a chain of causes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def first_line(error: BaseException) -> str:
    """Give the first line of an error's text, or the name of its class."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
