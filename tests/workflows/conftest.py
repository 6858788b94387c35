"""One time-skipping server per test run, and a stream rig on it."""

import shutil
from collections.abc import AsyncIterator

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from common.names import SEARCH_ATTRIBUTES
from common.payloads_converter import data_converter
from connectors.temporal import register_search_attributes
from tests.workflows.etl_rig import EtlRig
from tests.workflows.rig import StreamRig
from tests.workflows.settled_server import settled


@pytest.fixture
async def server() -> AsyncIterator[WorkflowEnvironment]:
    """Start the time-skipping server of the test-server wheel."""
    env = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=shutil.which("temporal-test-server"),
        data_converter=data_converter(),
    )
    async with env:
        yield env


@pytest.fixture
async def gateway(server: WorkflowEnvironment) -> AsyncIterator[Client]:
    """Give what workers connect to, so that the server never gets a task that it would lose."""
    target = server.client.service_client.config.target_host
    async with settled(target) as address:
        yield await Client.connect(address, data_converter=data_converter())


@pytest.fixture
async def clock_rig() -> AsyncIterator[StreamRig]:
    """Run workers on a dev server, whose clock is the real one."""
    env = await WorkflowEnvironment.start_local(
        dev_server_existing_path=shutil.which("temporal"),
        data_converter=data_converter(),
        ui=False,
    )
    async with env:
        await register_search_attributes(env.client)
        rig = StreamRig(env)
        async with rig.workers():
            yield rig


@pytest.fixture
async def rig(server: WorkflowEnvironment, gateway: Client) -> AsyncIterator[StreamRig]:
    """Run workers over a log, a store and sinks in memory."""
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    await server.client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(search_attributes=dict.fromkeys(SEARCH_ATTRIBUTES, keyword))
    )
    rig = StreamRig(server, gateway)
    async with rig.workers():
        yield rig


@pytest.fixture
async def etl(server: WorkflowEnvironment, gateway: Client) -> AsyncIterator[EtlRig]:
    """Run workers of batches over a source, stores and targets in memory."""
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    await server.client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(search_attributes=dict.fromkeys(SEARCH_ATTRIBUTES, keyword))
    )
    rig = EtlRig(server, gateway)
    async with rig.workers():
        yield rig
