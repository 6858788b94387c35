"""A Kafka sink's committed version is kept alive through weeks of pause, on a clock that skips."""

from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from pipelines.stream import SinkSpec
from tests.stack_rig import wait_for
from tests.workflows.memory import MemorySink
from tests.workflows.rig import Handle, StreamRig, event

pytestmark = pytest.mark.timeout(180)

DAY = timedelta(days=1)


async def chain_of(rig: StreamRig, handle: Handle) -> list[HistoryEvent]:
    """Read the events of all runs of a stream."""
    found: list[HistoryEvent] = []
    run_id = handle.first_execution_run_id
    while run_id:
        run = rig.server.client.get_workflow_handle(handle.id, run_id=run_id)
        found += (await run.fetch_history()).events
        last = found[-1].workflow_execution_continued_as_new_event_attributes
        run_id = last.new_execution_run_id
    return found


def refreshes(events: list[HistoryEvent]) -> list[int]:
    """Give the places of the refreshes that were asked for."""
    return [
        n
        for n, e in enumerate(events)
        if e.activity_task_scheduled_event_attributes.activity_type.name == "sink.refresh_offset"
    ]


def rests(count: int, events: list[HistoryEvent]) -> bool:
    """Tell whether so many refreshes were made and the timer of the next one runs."""
    asked = refreshes(events)
    if len(asked) < count:
        return False
    after = [e.event_type for e in events[asked[-1] :]]
    done = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
    return done in after and EventType.EVENT_TYPE_TIMER_STARTED in after[after.index(done) :]


async def test_three_weeks_of_pause_keep_the_offset_with_one_activity_a_day(rig: StreamRig) -> None:
    rig.sinks["kafka"] = MemorySink()
    sinks = [SinkSpec(kind="clickhouse", table="t"), SinkSpec(kind="kafka", table="t")]
    rig.log.append(0, event(0), event(1_500))
    handle = await rig.start(rig.spec(sinks=sinks), history_events=120)
    await rig.until(handle, lambda s: s.flush_seq == 1 and not s.pending_flushes)
    await handle.signal("pause")
    await rig.until(handle, lambda s: s.state == "paused")
    await rig.server.sleep(60)  # the poll that was under way has ended
    assert rig.sinks["kafka"].refreshed == []

    async def look() -> list[HistoryEvent]:
        return await chain_of(rig, handle)

    for day in range(1, 22):
        await rig.server.sleep(DAY)
        events = await wait_for(look, partial(rests, day))
        assert len(refreshes(events)) == day
    assert rig.sinks["kafka"].refreshed == [1 << 40 | 1] * 21
    assert rig.sinks["clickhouse"].refreshed == []
    asked = [events[n].event_time.ToDatetime() for n in refreshes(events)]
    assert all(later - earlier >= DAY for earlier, later in pairwise(asked))
    assert (await handle.describe()).run_id != handle.first_execution_run_id

    rig.log.append(0, event(2_900))
    await handle.signal("resume")
    await rig.until(handle, lambda s: s.flush_seq == 2 and not s.pending_flushes)
    assert rig.view("kafka") == rig.view("clickhouse") == {(0, "a"): 1, (1000, "a"): 1}
    await handle.signal("stop")
    await rig.ended(handle)
    assert len(refreshes(await chain_of(rig, handle))) == 21


async def test_a_stream_without_a_kafka_sink_has_neither_timer_nor_refresh(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(1_500))
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: s.flush_seq == 1 and not s.pending_flushes)
    await handle.signal("pause")
    await rig.until(handle, lambda s: s.state == "paused")
    await rig.server.sleep(60)
    before = len(await chain_of(rig, handle))
    await rig.server.sleep(3 * DAY)
    assert len(await chain_of(rig, handle)) == before
    await handle.signal("stop")
    await rig.ended(handle)
