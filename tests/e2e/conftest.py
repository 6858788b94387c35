"""The program in the project of the test stack."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    RegisterNamespaceRequest,
)
from temporalio.service import RPCError, RPCStatusCode

from common.names import STREAM_QUEUE
from common.settings import Settings
from connectors.temporal import connect
from tests.e2e.command import Sluice

OTHER = "without-workers"


@pytest.fixture(scope="session")
def sluice(stack: Settings) -> Sluice:
    """Give the program, set to the stack."""
    return Sluice(stack)


@pytest.fixture(scope="session")
def other_namespace(stack: Settings) -> Sluice:
    """Give the program, set to a Temporal namespace that none of the stack's workers polls."""
    asyncio.run(make_namespace(stack, OTHER))
    return Sluice(stack, {"SLUICE_TEMPORAL__NAMESPACE": OTHER})


async def make_namespace(settings: Settings, name: str) -> None:
    """Make a namespace of Temporal, and wait until its queues are known."""
    service = (await connect(settings.temporal)).workflow_service
    asked = RegisterNamespaceRequest(namespace=name)
    asked.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await service.register_namespace(asked)
    queue = DescribeTaskQueueRequest(namespace=name, task_queue=TaskQueue(name=STREAM_QUEUE))
    while True:  # the server takes a moment to know it
        try:
            await service.describe_task_queue(queue)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(0.05)
        else:
            return
