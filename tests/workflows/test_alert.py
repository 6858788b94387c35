"""Alerts: one for each pause that needs a person, told beside the stream and never before it."""

import json

import pytest
from temporalio.api.enums.v1 import EventType

from activities.alert_io import RaiseInput
from activities.alert_record import AlertRecord, RecordedAlert
from common.errors import FatalError, ServiceUnavailableError, SinkRefusedError
from streaming.status import StreamUntil
from tests.stack_rig import wait_for
from tests.workflows.rig import Handle, StreamRig, event

pytestmark = pytest.mark.timeout(180)

LATEST = StreamUntil(kind="latest")
REFUSED = SinkRefusedError("table `t`: expected column `n`, got none; add it")


async def alerts(rig: StreamRig) -> list[RecordedAlert]:
    return await AlertRecord(rig.store).newest(100)


async def paused(rig: StreamRig, refusals: int = 1) -> Handle:
    """Start a stream whose first sink refuses, and wait for its pause."""
    rig.sinks["clickhouse"].failures = [REFUSED] * refusals
    rig.log.append(0, event(0), event(500), event(1_200))
    rig.log.append(1, event(100), event(1_300))
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: s.state == "paused")
    return handle


async def told(rig: StreamRig, count: int, ended: int = 0) -> list[RecordedAlert]:
    """Wait until so many alerts are recorded, so many of them as ended."""
    with rig.server.auto_time_skipping_disabled():
        return await wait_for(
            lambda: alerts(rig),
            lambda found: (
                (len(found), sum(a.ended_ms is not None for a in found)) == (count, ended)
            ),
        )


async def activities_of(handle: Handle) -> list[str]:
    events = (await handle.fetch_history()).events
    scheduled = [e.activity_task_scheduled_event_attributes for e in events]
    return [one.activity_type.name for one in scheduled if one.activity_type.name]


async def test_a_refused_sink_raises_one_alert_and_resume_ends_it(rig: StreamRig) -> None:
    handle = await paused(rig)
    [alert] = await told(rig, 1)
    assert (alert.pipeline, alert.what, alert.ended_ms) == (rig.spec().name, "clickhouse:t", None)
    assert "expected column `n`" in alert.reason
    with rig.server.auto_time_skipping_disabled():
        await wait_for(lambda: posted(rig), lambda found: len(found) == 1)
    await handle.signal("resume")
    [ended] = await told(rig, 1, ended=1)
    assert ended.ended_ms is not None
    assert ended.ended_ms >= alert.raised_ms
    await handle.signal("stop")
    await rig.ended(handle)
    assert [json.loads(one)["name"] for one in rig.webhook.posted] == [alert.name]
    result = await rig.ended(await rig.start(rig.spec(), until=LATEST))
    assert result.ledger.consumed == 5
    assert rig.view() == {(0, "a"): 3, (1000, "a"): 2}
    assert len(await alerts(rig)) == 1


async def posted(rig: StreamRig) -> list[bytes]:
    return rig.webhook.posted


async def test_what_fails_again_after_a_resume_is_a_new_alert(rig: StreamRig) -> None:
    handle = await paused(rig, refusals=2)
    [first] = await told(rig, 1)
    await handle.signal("resume")
    second, again = await told(rig, 2, ended=1)
    assert again.name == first.name
    assert second.name > first.name
    assert second.ended_ms is None
    await handle.signal("resume")
    await told(rig, 2, ended=2)
    await handle.signal("stop")
    await rig.ended(handle)


async def test_a_pause_by_request_and_passing_trouble_raise_none(rig: StreamRig) -> None:
    rig.sinks["clickhouse"].failures = [ServiceUnavailableError("ClickHouse", "x", "reset")] * 9
    rig.log.append(0, event(0), event(1_200))
    rig.log.append(1, event(0), event(1_200))
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: "reset" in s.reason)
    await handle.signal("pause")
    await rig.until(handle, lambda s: s.state == "paused" and not s.pending_flushes)
    await handle.signal("resume")
    await handle.signal("drain")
    await rig.ended(handle)
    assert not [name for name in await activities_of(handle) if name.startswith("alert")]
    assert await alerts(rig) == []


async def test_one_cause_in_several_places_is_one_alert(rig: StreamRig) -> None:
    """Both sinks are refused for the same reason, and the alert of one covers the other."""
    rig.sinks["timescaledb"].failures = [REFUSED]
    handle = await paused(rig)
    await rig.until(handle, lambda _: not rig.sinks["timescaledb"].failures)
    await told(rig, 1)
    await handle.signal("resume")
    await rig.until(handle, lambda s: not s.pending_flushes)
    await told(rig, 1, ended=1)
    await handle.signal("stop")
    await rig.ended(handle)


async def test_different_causes_are_an_alert_each(rig: StreamRig) -> None:
    rig.sinks["timescaledb"].failures = [FatalError("disk quota")]
    handle = await paused(rig)
    found = await told(rig, 2)
    assert {one.what for one in found} == {"clickhouse:t", "timescaledb:t"}
    await handle.signal("stop")
    await rig.ended(handle)


async def test_a_webhook_that_is_down_blocks_nothing_and_is_asked_again(rig: StreamRig) -> None:
    rig.webhook.down = True
    handle = await paused(rig)
    await told(rig, 1)
    await rig.server.sleep(600)
    assert rig.webhook.attempts > 5
    status = await rig.status(handle)
    assert (status.state, status.reason) == ("paused", f"clickhouse:t: SinkRefusedError: {REFUSED}")
    await handle.signal("resume")
    status = await rig.until(handle, lambda s: s.state == "running" and not s.pending_flushes)
    assert status.reason == ""
    await told(rig, 1, ended=1)
    rig.webhook.down = False
    await rig.server.sleep(600)
    assert len(rig.webhook.posted) == 1
    await handle.signal("drain")
    await rig.ended(handle)
    assert (await activities_of(handle)).count("alert.post") == 1, "retried by the server"


async def test_a_stream_ends_though_its_webhook_is_down(rig: StreamRig) -> None:
    rig.webhook.down = True
    handle = await paused(rig)
    await told(rig, 1)
    await handle.signal("stop")
    assert (await rig.ended(handle)).state == "stopped"


async def test_starting_a_stream_again_ends_what_was_open(rig: StreamRig) -> None:
    handle = await paused(rig)
    [alert] = await told(rig, 1)
    await handle.signal("stop")
    await rig.ended(handle)
    assert (await told(rig, 1))[0].ended_ms is None, "nobody has started it yet"
    await AlertRecord(rig.store).add(_of_another(alert))
    await rig.ended(await rig.start(rig.spec(), until=LATEST))
    found = {one.pipeline: one.ended_ms for one in await told(rig, 2, ended=1)}
    assert found["other"] is None
    assert found[rig.spec().name] is not None


def _of_another(alert: RecordedAlert) -> RaiseInput:
    name = alert.name.replace(f"-{alert.pipeline}-", "-other-")
    return RaiseInput(
        **{**alert.model_dump(exclude={"ended_ms"}), "name": name, "pipeline": "other"}
    )


async def test_a_terminated_stream_that_starts_afresh_ends_its_alert(rig: StreamRig) -> None:
    handle = await paused(rig)
    await told(rig, 1)
    await handle.terminate()
    await rig.ended(await rig.start(rig.spec(), until=LATEST, fresh=True))
    await told(rig, 1, ended=1)


async def test_an_alert_outlives_runs_and_is_not_raised_again_by_them(
    clock_rig: StreamRig,
) -> None:
    """The next run is refused the same flush again; its alert is that of the run before."""
    rig = clock_rig
    rig.webhook.down = True
    rig.log.append(0, *(event(i * 100) for i in range(40)))
    rig.log.append(1, event(4_000))
    rig.sinks["clickhouse"].failures = [REFUSED] * 1_000
    handle = await rig.start(rig.spec(max_records=1), history_events=60)
    await rig.until(handle, lambda s: s.state == "paused")
    [alert] = await told(rig, 1)
    while (await handle.describe()).run_id == handle.first_execution_run_id:
        await handle.signal("pause")  # each is a few events of history
        await rig.server.sleep(0.01)
    again = rig.server.client.get_workflow_handle(handle.id)
    await wait_for(lambda: failures_of(again), bool)
    await rig.status(again)  # answered after it has seen the failure
    assert [one.name for one in await alerts(rig)] == [alert.name]
    rig.webhook.down = False
    rig.sinks["clickhouse"].failures = []
    await again.signal("resume")
    await told(rig, 1, ended=1)
    await wait_for(lambda: posted(rig), bool)
    assert {json.loads(one)["name"] for one in rig.webhook.posted} == {alert.name}
    await rig.until(handle, lambda s: s.ledger.consumed == 41 and not s.pending_flushes)
    await again.signal("drain")
    await again.result()
    assert len(await alerts(rig)) == 1


async def failures_of(handle: Handle) -> int:
    """Count the activities that failed in the latest run."""
    failed = EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
    return sum(e.event_type == failed for e in (await handle.fetch_history()).events)
