"""Rewinds of the stream workflow."""

import asyncio

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError

from common.errors import ContractViolationError, ServiceUnavailableError
from pipelines.stream import Late
from streaming import room
from streaming.status import RewindTo, StreamStatus, StreamUntil
from tests.workflows.rig import StreamRig, event

LATEST = StreamUntil(kind="latest")


def fill(rig: StreamRig, seconds: int, *keys: str) -> None:
    """Append one event of each key to each of two partitions in every second."""
    for at in range(seconds):
        for number in (0, 1):
            rig.log.append(number, *(event(at * 1_000 + number, key) for key in keys))


def replace_key(rig: StreamRig, key: str, by: str) -> None:
    """Change what the log holds, so that what is read again differs from what was read."""
    for values in rig.log.partitions.values():
        old, new = f'"{key}"'.encode(), f'"{by}"'.encode()
        values[:] = [value and value.replace(old, new) for value in values]


def last_told(rig: StreamRig) -> set[tuple[int, int]]:
    """Give the epoch and the time that readers of the sinks were told last."""
    told = [sink.told[-1] for sink in rig.sinks.values() if sink.told]
    return {(one.epoch, one.complete_ms) for one in told}


def is_done(status: StreamStatus, consumed: int, epoch: int) -> bool:
    caught_up = status.ledger.consumed >= consumed and not status.pending_flushes
    return status.epoch == epoch and caught_up


async def test_windows_from_the_floor_on_are_computed_again_and_others_stay(
    rig: StreamRig,
) -> None:
    fill(rig, 10, "a", "b")
    handle = await rig.start(rig.spec(max_records=4))
    await rig.until(handle, lambda s: is_done(s, 40, 1) and s.flush_seq > 0)
    replace_key(rig, "b", "c")
    rewound = await rig.rewind(handle, RewindTo(time_ms=4_200))
    assert (rewound.epoch, rewound.floor_ms) == (2, 4_000)
    assert rewound.offsets == {0: 8, 1: 8}
    status = await rig.until(handle, lambda s: is_done(s, 24, 2) and s.watermark_ms == 9_000)
    assert (status.floor_ms, status.ledger.below_floor, status.ledger.balanced) == (4_000, 0, True)
    expected = {(at * 1_000, key): 2 for at in range(4) for key in "ab"}
    expected |= {(at * 1_000, key): 2 for at in range(4, 9) for key in "ac"}
    await rig.until(handle, lambda _: rig.view() == rig.view("timescaledb") == expected)
    await handle.signal("stop")
    result = await rig.ended(handle)
    assert (result.epoch, result.ledger.aggregated) == (2, 24)


async def test_a_paused_stream_stays_paused_until_it_is_resumed(rig: StreamRig) -> None:
    fill(rig, 5, "a")
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: is_done(s, 10, 1))
    await handle.signal("pause")
    await rig.until(handle, lambda s: s.state == "paused")
    await rig.rewind(handle, RewindTo(offsets={0: 2}))
    reads = len(rig.log.reads)
    await rig.server.sleep(86_400)
    status = await rig.status(handle)
    assert (status.state, status.epoch, status.ledger.consumed) == ("paused", 2, 0)
    assert len(rig.log.reads) == reads
    await handle.signal("resume")
    await rig.until(handle, lambda s: is_done(s, 8, 2))
    assert rig.view() == {(at * 1_000, "a"): 2 for at in range(4)}
    await handle.signal("stop")
    await rig.ended(handle)


async def test_queued_flushes_of_the_old_epoch_are_completed_first(rig: StreamRig) -> None:
    fill(rig, 6, "a", "b")
    down = ServiceUnavailableError("ClickHouse", "127.0.0.1:1", "connection refused")
    rig.sinks["clickhouse"].failures = [down] * 8
    handle = await rig.start(rig.spec(max_records=4))
    await rig.until(handle, lambda s: s.ledger.consumed == 24 and s.flush_seq > 0)
    replace_key(rig, "b", "c")
    await rig.rewind(handle, RewindTo(time_ms=3_000))
    await rig.until(handle, lambda s: is_done(s, 12, 2) and s.watermark_ms == 5_000)
    expected = {(at * 1_000, key): 2 for at in range(3) for key in "ab"}
    expected |= {(at * 1_000, key): 2 for at in range(3, 5) for key in "ac"}
    await rig.until(handle, lambda _: rig.view() == rig.view("timescaledb") == expected)
    for sink in rig.sinks.values():
        written = [(chunk.epoch, chunk.flush_seq) for chunk in sink.writes]
        assert written == sorted(written)
        assert len({number for _, number in written}) == len(written)
    await handle.signal("stop")
    await rig.ended(handle)


async def test_a_rewind_waits_for_sinks_that_have_much_to_take_back(
    rig: StreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_RETIREMENTS", 1)
    fill(rig, 6, "a", "b")
    handle = await rig.start(rig.spec(max_records=4))
    await rig.until(handle, lambda s: is_done(s, 24, 1))
    down = ServiceUnavailableError("ClickHouse", "127.0.0.1:1", "connection refused")
    rig.sinks["clickhouse"].failures = [down] * 30
    await rig.rewind(handle, RewindTo(time_ms=0))
    await rig.until(handle, lambda s: s.ledger.consumed == 24 and s.pending_flushes > 1)
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await rig.rewind(handle, RewindTo(time_ms=0))
    assert "earlier rewinds that wait for `clickhouse" in str(caught.value.cause)
    rig.sinks["clickhouse"].failures = []
    await rig.until(handle, lambda s: is_done(s, 24, 2))
    assert (await rig.rewind(handle, RewindTo(time_ms=0))).epoch == 3
    await handle.signal("stop")
    await rig.ended(handle)


async def test_rewinds_at_the_same_time_are_done_one_after_the_other(rig: StreamRig) -> None:
    fill(rig, 8, "a")
    handle = await rig.start(rig.spec(max_records=3))
    await rig.until(handle, lambda s: is_done(s, 16, 1))
    found = await asyncio.gather(
        *(rig.rewind(handle, RewindTo(time_ms=at)) for at in (5_000, 2_000, 6_000))
    )
    assert sorted(one.epoch for one in found) == [2, 3, 4]
    await rig.until(handle, lambda s: s.watermark_ms == 7_000 and not s.pending_flushes)
    assert rig.view() == {(at * 1_000, "a"): 2 for at in range(7)}
    await handle.signal("stop")
    await rig.ended(handle)


async def test_a_stop_right_after_a_rewind_keeps_it(rig: StreamRig) -> None:
    fill(rig, 6, "a", "b")
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: is_done(s, 24, 1))
    await rig.rewind(handle, RewindTo(time_ms=2_000))
    await handle.signal("stop")
    assert (await rig.ended(handle)).epoch == 2
    replace_key(rig, "b", "c")
    again = await rig.ended(await rig.start(rig.spec(), until=LATEST))
    assert again.epoch == 2
    expected = {(at * 1_000, key): 2 for at in range(2) for key in "ab"}
    expected |= {(at * 1_000, key): 2 for at in range(2, 6) for key in "ac"}
    assert rig.view() == rig.view("timescaledb") == expected


async def test_a_stream_that_does_not_run_is_started_with_a_rewind(rig: StreamRig) -> None:
    fill(rig, 6, "a", "b")
    spec = rig.spec(max_records=5)
    await rig.ended(await rig.start(spec, until=LATEST))
    replace_key(rig, "b", "c")
    result = await rig.ended(await rig.start(spec, until=LATEST, rewind=RewindTo(time_ms=4_999)))
    assert (result.epoch, result.ledger.balanced) == (2, True)
    expected = {(at * 1_000, key): 2 for at in range(4) for key in "ab"}
    expected |= {(at * 1_000, key): 2 for at in range(4, 6) for key in "ac"}
    assert rig.view() == rig.view("timescaledb") == expected


async def test_a_rewind_that_is_refused_at_the_start_costs_nothing(rig: StreamRig) -> None:
    fill(rig, 3, "a")
    with pytest.raises(WorkflowFailureError, match="failed") as caught:
        await rig.ended(await rig.start(rig.spec(), rewind=RewindTo(time_ms=0)))
    assert "expected a saved state to rewind" in str(caught.value.cause)
    await rig.ended(await rig.start(rig.spec(), until=LATEST))
    beyond = RewindTo(offsets={0: 99})
    with pytest.raises(WorkflowFailureError, match="failed") as caught:
        await rig.ended(await rig.start(rig.spec(), rewind=beyond))
    assert "expected an offset up to 3" in str(caught.value.cause)
    again = await rig.ended(await rig.start(rig.spec(), until=LATEST))
    assert (again.epoch, again.ledger.consumed) == (1, 6)


async def test_a_rewind_of_a_running_stream_is_refused_with_its_reason(rig: StreamRig) -> None:
    fill(rig, 3, "a")
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: is_done(s, 6, 1))
    reasons = {
        "name existing ones": RewindTo(offsets={7: 0}),
        "expected an offset up to 3": RewindTo(offsets={0: 4}),
    }
    for reason, to in reasons.items():
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await rig.rewind(handle, to)
        assert reason in str(caught.value.cause)
    status = await rig.status(handle)
    assert (status.epoch, status.floor_ms) == (1, None)
    await handle.signal("stop")
    await rig.ended(handle)


async def test_a_range_that_failed_for_good_is_thrown_away_by_a_rewind(rig: StreamRig) -> None:
    fill(rig, 4, "a")
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: is_done(s, 8, 1))
    rig.log.failures = [ContractViolationError("cannot be read")]
    rig.log.append(0, event(9_000))
    status = await rig.until(handle, lambda s: s.state == "paused")
    assert "cannot be read" in status.reason
    await rig.rewind(handle, RewindTo(time_ms=1_000))
    await handle.signal("resume")
    status = await rig.until(handle, lambda s: is_done(s, 7, 2))
    assert (status.state, status.reason) == ("running", "")
    await handle.signal("stop")
    await rig.ended(handle)


async def test_side_outputs_of_the_old_epoch_are_delivered_under_it(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(5_000), b"no json")
    rig.dead.failures = [ServiceUnavailableError("Kafka", "x", "reset")] * 2
    spec = rig.spec(max_records=1, late=Late(to="late"))
    handle = await rig.start(spec)
    await rig.until(handle, lambda s: s.ledger.consumed == 3)
    rig.log.append(0, event(100))
    await rig.until(handle, lambda s: s.ledger.late == 1)
    rewound = await rig.rewind(handle, RewindTo(time_ms=4_000))
    assert rewound.floor_ms == 4_000
    await rig.until(handle, lambda s: s.ledger.consumed == 3 and s.epoch == 2)
    rig.log.append(0, event(200))
    status = await rig.until(handle, lambda s: s.ledger.consumed == 4)
    await handle.signal("drain")
    result = await rig.ended(handle)
    assert status.ledger.balanced
    late = result.ledger.late
    assert late in (1, 2), "event 100 may be read again before the watermark is known"
    assert (late + result.ledger.below_floor, result.ledger.dead_lettered) == (2, 1)
    epochs = sorted(rig.dead.sequences)
    assert epochs == [
        "sluice-model-e1-dead-letters", "sluice-model-e1-late-events",
        "sluice-model-e2-dead-letters", "sluice-model-e2-late-events",
    ]  # fmt: skip
    assert len(rig.dead.topics["late"]) == 1 + late
    assert len(rig.dead.topics["events.dlq"]) == 2


async def test_rewinds_of_a_stream_that_continues_as_new_again_and_again(
    clock_rig: StreamRig,
) -> None:
    rig = clock_rig
    fill(rig, 10, "a", "b")
    handle = await rig.start(rig.spec(max_records=2), history_events=40)
    for number, at_ms in enumerate((7_000, 2_500, 4_000), 2):
        await rig.until(handle, lambda s: s.watermark_ms is not None and s.flush_seq > 1)
        rewound = await rig.rewind(handle, RewindTo(time_ms=at_ms))
        assert rewound.epoch >= number
    rig.log.append(0, event(12_000))
    rig.log.append(1, event(12_000))
    await rig.until(handle, lambda s: s.watermark_ms == 12_000 and not s.pending_flushes)
    expected = {(at * 1_000, key): 2 for at in range(10) for key in "ab"}
    await rig.until(handle, lambda _: rig.view() == rig.view("timescaledb") == expected)
    assert (await handle.describe()).run_id != handle.first_execution_run_id
    await handle.signal("stop")
    assert (await rig.ended(handle)).ledger.balanced


async def test_what_sinks_tell_goes_back_to_the_floor_in_the_new_epoch_and_rises_again(
    rig: StreamRig,
) -> None:
    fill(rig, 10, "a", "b")
    handle = await rig.start(rig.spec(max_records=4))
    await rig.until(handle, lambda s: (s.complete_through_ms or 0) >= 9_000)
    await rig.server.sleep(120)
    assert last_told(rig) == {(1, 9_001)}
    replace_key(rig, "b", "c")
    rig.sinks["timescaledb"].spared = len(rig.sinks["timescaledb"].writes)
    down = ServiceUnavailableError("TimescaleDB", "127.0.0.1:1", "connection refused")
    rig.sinks["timescaledb"].failures = [down] * 3
    with rig.server.auto_time_skipping_disabled():
        await rig.rewind(handle, RewindTo(time_ms=4_200))
        status = await rig.status(handle)
    assert (status.epoch, status.watermark_ms) == (2, None)
    assert [one.complete_through_ms for one in status.sinks] == [4_000, 4_000]
    assert status.complete_through_ms == 4_000
    status = await rig.until(handle, lambda s: (s.complete_through_ms or 0) >= 9_000)
    assert (status.epoch, status.pending_flushes) == (2, 0)
    await rig.server.sleep(120)
    assert last_told(rig) == {(2, 9_001)}
    for sink in rig.sinks.values():
        epochs = [one.epoch for one in sink.told]
        assert epochs == sorted(epochs)
        for epoch in (1, 2):
            times = [one.complete_ms for one in sink.told if one.epoch == epoch]
            assert times == sorted(times)
        assert min(one.complete_ms for one in sink.told if one.epoch == 2) >= 4_000
    await handle.signal("stop")
    await rig.ended(handle)
