"""One time-skipping server per test run, and a stream rig on it."""

import shutil
from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from common.payloads_converter import data_converter
from tests.workflows.rig import StreamRig


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
async def rig(server: WorkflowEnvironment) -> AsyncIterator[StreamRig]:
    """Run workers over a log, a store and sinks in memory."""
    rig = StreamRig(server)
    async with rig.workers():
        yield rig
