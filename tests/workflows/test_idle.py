"""Idle partitions of a stream that was handed to a new run."""

import asyncio

import pytest

from pipelines.stream import EventTime
from streaming.state import PartitionState, SinkCursor, StreamState
from tests.workflows.rig import StreamRig, event

pytestmark = pytest.mark.timeout(120)

EVENT_MS = 500


async def test_a_partition_is_not_idle_by_what_the_run_before_saw(rig: StreamRig) -> None:
    rig.log.append(0, event(EVENT_MS))
    rig.log.append(1, event(9_000))
    asked, answered, pass_time = asyncio.Event(), asyncio.Event(), rig.log.sleep

    async def hold(seconds: float) -> None:
        asked.set()
        await answered.wait()
        await pass_time(seconds)

    rig.log.sleep = hold
    spec = rig.spec(event_time=EventTime(field="at", idle_timeout_ms=60_000))
    parts = {
        # Seen without news long ago; nobody has looked since.
        0: PartitionState(cursor=1, planned=1, end=1, max_event_ms=EVENT_MS, silent_since_ms=1),
        1: PartitionState(cursor=1, planned=1, end=1, max_event_ms=9_000),
    }
    state = StreamState(
        pipeline=spec.name, spec_hash=spec.result_hash(), epoch=1, topic="events",
        topic_id=rig.log.topic_id, partitions=parts, watermark_ms=EVENT_MS,
        sinks=[SinkCursor(name=sink.name) for sink in spec.sinks],
    )  # fmt: skip
    with rig.server.auto_time_skipping_disabled():
        handle = await rig.start(spec, carried=state.encode())
        await asked.wait()
        status = await rig.status(handle)
        assert [p.idle for p in status.partitions] == [False, False]
        assert status.watermark_ms == EVENT_MS
        answered.set()
        await rig.until(handle, lambda s: s.partitions[0].idle and s.watermark_ms == 9_000)
    await handle.signal("stop")
    await rig.ended(handle)
