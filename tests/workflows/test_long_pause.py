"""A pause that holds for weeks, on a clock that skips them."""

import pytest

from pipelines.stream import EventTime
from tests.workflows.rig import StreamRig, event

pytestmark = pytest.mark.timeout(180)

WEEK_S = 7 * 86_400


async def test_five_weeks_cost_nothing_close_nothing_and_change_no_result(rig: StreamRig) -> None:
    idle = EventTime(field="at", idle_timeout_ms=60_000)
    rig.log.append(0, event(0), event(500), event(1_200))
    rig.log.append(1, event(100, "b"), event(700, "b"))
    handle = await rig.start(rig.spec(event_time=idle))
    await rig.until(handle, lambda s: s.ledger.consumed == 5)
    await handle.signal("pause")
    before = await rig.until(handle, lambda s: s.state == "paused")
    await rig.server.sleep(60)  # the poll that was under way has ended
    waits, length = rig.log.waits, len((await handle.fetch_history()).events)

    await rig.server.sleep(5 * WEEK_S)
    status = await rig.status(handle)
    assert (status.state, status.reason) == ("paused", "paused by request")
    assert status.watermark_ms == before.watermark_ms
    assert not any(p.idle for p in status.partitions)
    assert rig.view() == {}
    assert rig.log.waits == waits
    assert len((await handle.fetch_history()).events) == length

    # Both partitions went on meanwhile; neither may count as idle because five weeks have passed.
    rig.log.append(0, event(1_900), event(2_600))
    rig.log.append(1, event(900, "b"), event(1_100, "b"), event(2_500, "b"))
    await handle.signal("resume")
    status = await rig.until(
        handle, lambda s: s.ledger.consumed == 10 and s.watermark_ms == 2_500 and s.flush_seq > 0
    )
    await rig.until(handle, lambda s: not s.pending_flushes)
    assert status.ledger.late == 0
    assert rig.view() == {(0, "a"): 2, (0, "b"): 3, (1000, "a"): 2, (1000, "b"): 1}
    await handle.signal("stop")
    await rig.ended(handle)


async def test_after_a_pause_an_idle_partition_is_observed_anew_before_windows_close(
    rig: StreamRig,
) -> None:
    idle = EventTime(field="at", idle_timeout_ms=60_000)
    rig.log.append(0, event(0), event(500))
    rig.log.append(1)
    handle = await rig.start(rig.spec(event_time=idle))
    await rig.until(handle, lambda s: s.watermark_ms == 500 and s.partitions[1].idle)
    await handle.signal("pause")
    await rig.until(handle, lambda s: s.state == "paused")
    await rig.server.sleep(5 * WEEK_S)
    rig.log.append(0, event(1_500))
    rig.log.append(1, event(600, "b"))
    await handle.signal("resume")
    status = await rig.until(handle, lambda s: s.ledger.consumed == 4)
    assert (status.ledger.late, status.watermark_ms) == (0, 600)
    assert rig.view() == {}
    await handle.signal("stop")
    await rig.ended(handle)
