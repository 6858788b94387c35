"""A stream ends also when an activity ends in the same step as its cancellation.

The SDK hands the activity's result over and forgets the cancellation then; the task that waited for
it went on, and a stopped stream waited for that task for ever.
"""

import asyncio
import shutil
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.ports import FlushChunk, SinkTable
from activities.stream import StreamActivities
from activities.stream_book import StreamBookActivities
from activities.stream_sink import StreamSinkActivities
from common.errors import RetryableError, SinkRefusedError
from common.names import STREAM_COMPUTE_QUEUE, STREAM_QUEUE
from common.payloads_converter import data_converter
from connectors.temporal import register_search_attributes
from tests.stack_rig import wait_for
from tests.workflows.memory import MemorySink
from tests.workflows.rig import Handle, StreamRig, event
from workflows.sandbox import sandboxed_runner
from workflows.stream import StreamWorkflow


class HeldSink(MemorySink):
    """A sink whose first write waits until it is let go, and may fail then."""

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__(failures=failures)
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def write(self, table: SinkTable, chunk: FlushChunk, rows: pa.Table) -> None:
        """Wait, then write."""
        self.reached.set()
        await self.released.wait()
        await super().write(table, chunk, rows)


def decider(rig: StreamRig) -> Worker:
    """Make a worker that only runs the workflow, and from its history at every step."""
    return Worker(
        rig.server.client, task_queue=STREAM_QUEUE, workflows=[StreamWorkflow],
        workflow_runner=sandboxed_runner(), max_cached_workflows=0,
    )  # fmt: skip


def doers(rig: StreamRig) -> tuple[Worker, Worker]:
    stream = StreamActivities(rig.log, rig.store)
    book = StreamBookActivities(rig.log, rig.store, rig.sinks.__getitem__)
    sink = StreamSinkActivities(rig.store, rig.sinks.__getitem__, rig.dead)
    light: list[Callable[..., Any]] = [
        book.open,
        book.save_state,
        book.release,
        sink.write_flush,
        stream.wait_for_data,
    ]
    heavy: list[Callable[..., Any]] = [stream.aggregate_ranges, stream.combine]
    client = rig.server.client
    return (
        Worker(client, task_queue=STREAM_QUEUE, activities=light),
        Worker(client, task_queue=STREAM_COMPUTE_QUEUE, activities=heavy),
    )


async def ended_activities(handle: Handle) -> int:
    ends = (
        EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    )  # fmt: skip
    return sum(e.event_type in ends for e in (await handle.fetch_history()).events)


@pytest.mark.timeout(240)  # each starts a server of its own
@pytest.mark.parametrize(
    "failures", [[], [SinkRefusedError("no column")], [RetryableError("gone")] * 6]
)
async def test_stream_stops_in_the_step_in_which_a_write_ends(failures: list[Exception]) -> None:
    path = shutil.which("temporal")
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=path, data_converter=data_converter(), ui=False
    ) as server:
        await register_search_attributes(server.client)
        await stop_while_a_write_ends(StreamRig(server), failures)


async def stop_while_a_write_ends(rig: StreamRig, failures: list[Exception]) -> None:
    held = HeldSink(failures)
    rig.sinks["timescaledb"] = held
    rig.log.append(0, event(0), event(5_000))
    light, heavy = doers(rig)
    async with light, heavy:
        async with decider(rig):
            handle = await rig.start(rig.spec())
            await held.reached.wait()
            await rig.until(handle, lambda s: s.sinks[0].flush_seq == 1)
        before = await ended_activities(handle)
        await handle.signal("stop")
        held.released.set()
        async with asyncio.timeout(90):
            await wait_for(lambda: ended_activities(handle), lambda count: count > before)
        async with decider(rig), asyncio.timeout(90):
            result = await handle.result()
    assert result.state == "stopped"
    assert result.ledger.consumed == 2
