import asyncio

import pytest
from temporalio.testing import ActivityEnvironment

from activities.heartbeat import with_heartbeats
from common.errors import RunResetError
from common.payloads import Model

pytestmark = pytest.mark.unit


class Hanging:
    """An activity that waits for an outside system until it is let go."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()

    @with_heartbeats
    async def wait(self, task: str) -> str:
        await self.answer.wait()
        return task


async def test_activity_gives_signs_of_life_while_it_waits_for_a_system_that_hangs() -> None:
    # A broker that hung for longer than the heartbeat time-out looked like a lost worker, six
    # times, and paused the stream until a person came.
    hanging, beats = Hanging(), 0

    def beat(*_: object) -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            hanging.answer.set()

    environment = ActivityEnvironment()
    environment.on_heartbeat = beat
    assert await environment.run(hanging.wait, "done") == "done"
    assert beats == 3


class Task(Model):
    """Work that says which run it belongs to."""

    run_id: str = ""


class Writing:
    """An activity that writes."""

    def __init__(self) -> None:
        self.written = 0

    @with_heartbeats
    async def write(self, task: Task) -> str:
        self.written += 1
        return task.run_id


async def test_work_of_a_run_that_was_reset_is_refused_and_nothing_is_written() -> None:
    environment, writing = ActivityEnvironment(), Writing()
    mine = environment.info.workflow_run_id or ""
    assert await environment.run(writing.write, Task(run_id=mine)) == mine
    assert await environment.run(writing.write, Task()) == ""
    with pytest.raises(RunResetError, match="expected run before, got"):
        await environment.run(writing.write, Task(run_id="before"))
    assert writing.written == 2
