"""A worker process that ends at a moment.

`python -m tests.recovery.crash_worker MOMENT NTH NAME MANNER ROWS`

It is the worker that users run, of both queues, with its clients wrapped. `MOMENT` `never` lives.
A state of more than `ROWS` rows is cut into key ranges; 0 is the engine's bound.
"""

import asyncio
import sys
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn, cast

from temporalio.client import Client
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.worker import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    Interceptor,
    StartActivityInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

from activities.ports import FlushSink
from common.log import configure_logging
from common.names import STREAM_COMPUTE_QUEUE, STREAM_QUEUE
from common.settings import Settings, TemporalSettings
from common.settings_load import load_settings
from connectors.temporal import connect
from streaming import key_range
from tests.recovery.crash_moment import Crash, Manner, mortal
from workers import process, queue
from workers.wiring import Clients, open_clients

crash = Crash("never", 0)


class MortalClients(Clients):
    """Clients whose calls pass moments."""

    def sink(self, kind: str) -> FlushSink:
        """Give the sink of a kind."""
        return mortal(super().sink(kind), crash, {"write": f"write:{kind}"})


def open_mortal_clients(settings: Settings) -> MortalClients:
    """Make the clients of a worker, wrapped."""
    clients = open_clients(settings)
    return MortalClients(
        settings,
        mortal(clients.log, crash, {"read": "fetch"}),
        mortal(clients.store, crash, {"put": "put", "create": "create"}),
        mortal(clients.topics, crash, {"write_once": "deliver"}),
        clients.webhook,
        clients.lake,
    )


HEARTBEAT = timedelta(seconds=4)
STICKY = timedelta(seconds=2)
"""How long the server waits for a worker that died; a worker that is slow is asked again."""


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002 - the interceptor's
        if input.heartbeat_timeout is not None:
            input.heartbeat_timeout = min(input.heartbeat_timeout, HEARTBEAT)
        return super().start_activity(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002 - the interceptor's
        crash.passes("before:continue")
        super().continue_as_new(input)


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> object:  # noqa: A002 - the interceptor's
        if input.args[0].carried is not None:
            crash.passes("after:continue")
        return await super().execute_workflow(input)


class MortalWorkflows(ClientInterceptor, Interceptor):
    """Passes the moments of continue-as-new."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 - the interceptor's
    ) -> type[WorkflowInboundInterceptor] | None:
        """Give what stands around every workflow."""
        return _Inbound


async def connect_mortal(settings: TemporalSettings) -> Client:
    """Connect a client whose workers pass the moments of workflows."""
    config = (await connect(settings)).config()
    config["interceptors"] = [MortalWorkflows()]
    return Client(**config)


def main() -> None:
    """Serve both queues until ended."""
    crash.moment, crash.nth = sys.argv[1], int(sys.argv[2])
    crash.manner = cast("Manner", sys.argv[4])
    if rows := int(sys.argv[5]):
        key_range.LIMITS = replace(key_range.LIMITS, rows=rows, part_rows=rows, slice_rows=rows)
    settings = load_settings()
    configure_logging(settings.log)
    vars(queue).update(Worker=partial(Worker, sticky_queue_schedule_to_start_timeout=STICKY))
    vars(process).update(open_clients=open_mortal_clients, connect=connect_mortal)
    queues = [STREAM_QUEUE, STREAM_COMPUTE_QUEUE]
    asyncio.run(process.serve(settings, queues, sys.argv[3]))


if __name__ == "__main__":
    main()
