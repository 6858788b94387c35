"""A gateway before the time-skipping server, which spares it what it cannot take.

A workflow may cancel an activity that ends before the server hears of it. A real one
puts what ends while a workflow task is out after that task. The time-skipping one refuses the whole
task and never gives it out again, so that the workflow hangs for ever (temporalio/sdk-java, issues
2391 and 3088). Here such a task is failed instead: the server gives it out anew, together with what
has ended, which a worker has to bear at any moment anyway.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
)

Call = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]

_SERVICE = "/temporal.api.workflowservice.v1.WorkflowService/"
_UNBOUNDED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@asynccontextmanager
async def settled(target: str) -> AsyncIterator[str]:
    """Serve a gateway to a server.

    Args:
        target: `host:port` of the time-skipping server.

    Yields:
        `host:port` for workers.
    """
    async with grpc.aio.insecure_channel(target, options=_UNBOUNDED) as upstream:
        server = grpc.aio.server(options=_UNBOUNDED)
        server.add_generic_rpc_handlers((_Gateway(upstream),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)


class _Gateway(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Pass every call on, but for tasks that would cancel what has ended."""

    def __init__(self, upstream: grpc.aio.Channel) -> None:
        self._upstream = upstream
        self._runs: dict[bytes, WorkflowExecution] = {}
        self._order = asyncio.Lock()  # an activity ends before or after a task, never within

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Choose what handles a call."""
        method = handler_call_details.method

        async def pass_on(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return await self._pass(method, request, context)

        async def end_activity(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            async with self._order:
                return await self._pass(method, request, context)

        call: Call = pass_on
        if method == _SERVICE + "PollWorkflowTaskQueue":
            call = self._poll
        elif method == _SERVICE + "RespondWorkflowTaskCompleted":
            call = self._complete
        elif method.startswith(_SERVICE + "RespondActivityTask"):
            call = end_activity
        return grpc.unary_unary_rpc_method_handler(call)

    async def _poll(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        answer = await self._pass("PollWorkflowTaskQueue", request, context)
        self._note(PollWorkflowTaskQueueResponse.FromString(answer))
        return answer

    def _note(self, task: PollWorkflowTaskQueueResponse) -> None:
        if task.task_token:
            self._runs[task.task_token] = task.workflow_execution

    async def _complete(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        task = RespondWorkflowTaskCompletedRequest.FromString(request)
        async with self._order:
            if await self._cancels_what_ended(task):
                failed = RespondWorkflowTaskFailedRequest(
                    task_token=task.task_token, namespace=task.namespace, identity=task.identity,
                    cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND,
                )  # fmt: skip
                await self._pass("RespondWorkflowTaskFailed", failed.SerializeToString(), context)
                # for the worker the task is gone, so that it takes the run up from the history
                await context.abort(grpc.StatusCode.NOT_FOUND, "something ended meanwhile")
            answer = await self._pass("RespondWorkflowTaskCompleted", request, context)
        self._note(RespondWorkflowTaskCompletedResponse.FromString(answer).workflow_task)
        return answer

    async def _cancels_what_ended(self, task: RespondWorkflowTaskCompletedRequest) -> bool:
        cancelled = {
            command.request_cancel_activity_task_command_attributes.scheduled_event_id
            for command in task.commands
            if command.command_type == CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK
        }
        run = self._runs.pop(task.task_token, None)
        if run is None or not cancelled:
            return False
        asked = GetWorkflowExecutionHistoryRequest(namespace=task.namespace, execution=run)
        found = await self._call("GetWorkflowExecutionHistory", asked.SerializeToString())
        names = {
            event.event_id: event.activity_task_scheduled_event_attributes.activity_id
            for event in GetWorkflowExecutionHistoryResponse.FromString(found).history.events
        }
        described = DescribeWorkflowExecutionRequest(namespace=task.namespace, execution=run)
        found = await self._call("DescribeWorkflowExecution", described.SerializeToString())
        pending = DescribeWorkflowExecutionResponse.FromString(found).pending_activities
        return not {names[at] for at in cancelled} <= {item.activity_id for item in pending}

    async def _pass(self, name: str, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Give the server's answer, or its refusal with all that it says."""
        try:
            return await self._call(name, request, context.time_remaining())
        except grpc.aio.AioRpcError as error:
            context.set_trailing_metadata(tuple(error.trailing_metadata()))
            await context.abort(error.code(), error.details() or "")
            raise

    async def _call(self, name: str, request: bytes, timeout: float | None = None) -> bytes:
        method = name if name.startswith("/") else _SERVICE + name
        answer: bytes = await self._upstream.unary_unary(method)(request, timeout=timeout)
        return answer
