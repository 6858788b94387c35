"""Session windows in the stream workflow, on a server that skips time."""

from pipelines.stream import Late, StreamSpec, Window
from streaming.status import RewindTo, StreamUntil
from tests.workflows.rig import StreamRig, event

LATEST = StreamUntil(kind="latest")
GAP = Window(kind="session", size_ms=500)


def sessions(rig: StreamRig, allowed_ms: int = 0, max_records: int = 100) -> StreamSpec:
    return rig.spec(max_records=max_records, window=GAP, late=Late(allowed_ms=allowed_ms))


def deleted(rig: StreamRig, sink: str) -> list[int]:
    rows = rig.sinks[sink].rows.items()
    return [int(start.timestamp() * 1000) for (start, _), row in rows if row["_deleted"]]


async def test_an_open_stream_fires_sessions_and_an_event_between_two_makes_them_one(
    rig: StreamRig,
) -> None:
    rig.log.append(0, event(0), event(900), event(1_401))
    handle = await rig.start(sessions(rig, allowed_ms=5_000))
    status = await rig.until(handle, lambda s: s.flush_seq == 1 and s.pending_flushes == 0)
    assert rig.view() == {(0, "a"): 1, (900, "a"): 1}
    assert status.open_windows == 1
    rig.log.append(0, event(450))
    await rig.until(handle, lambda s: s.flush_seq == 2 and s.pending_flushes == 0)
    for sink in ("clickhouse", "timescaledb"):
        assert rig.view(sink) == {(0, "a"): 3}
        assert deleted(rig, sink) == [900]
    await handle.signal("drain")
    result = await rig.ended(handle)
    assert result.ledger.late == 0
    assert rig.view() == {(0, "a"): 3}


async def test_a_chain_of_bounded_runs_gives_the_sessions_that_one_run_would(
    rig: StreamRig,
) -> None:
    spec = sessions(rig, max_records=2)
    rig.log.append(0, event(0), event(400), event(1_000))
    rig.log.append(1, event(1_500, "b"))
    await rig.ended(await rig.start(spec, until=LATEST))
    assert rig.view() == {(0, "a"): 2, (1_000, "a"): 1, (1_500, "b"): 1}
    rig.log.append(0, event(900), event(1_450), event(2_100))
    rig.log.append(1, event(1_200, "b"))
    result = await rig.ended(await rig.start(spec, until=LATEST))
    expected = {(0, "a"): 5, (2_100, "a"): 1, (1_200, "b"): 2}
    for sink in ("clickhouse", "timescaledb"):
        assert rig.view(sink) == expected
        assert sorted(deleted(rig, sink)) == [1_000, 1_500]
    assert (result.ledger.late, result.ledger.aggregated) == (0, 8)


async def test_sessions_go_on_through_new_runs_of_the_workflow(rig: StreamRig) -> None:
    rig.log.append(
        0, *(event(at) for start in range(0, 40_000, 1_000) for at in (start, start + 5))
    )
    handle = await rig.start(sessions(rig, max_records=3), until=LATEST, history_events=30)
    result = await rig.ended(handle)
    assert result.ledger.balanced
    assert rig.view() == {(start, "a"): 2 for start in range(0, 40_000, 1_000)}


async def test_an_event_that_no_session_takes_any_more_is_late(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(5_000))
    handle = await rig.start(sessions(rig))
    await rig.until(handle, lambda s: s.flush_seq == 1)
    rig.log.append(0, event(4_500), event(4_501))
    await rig.until(handle, lambda s: s.ledger.consumed == 4)
    await handle.signal("drain")
    result = await rig.ended(handle)
    assert (result.ledger.late, result.ledger.aggregated) == (1, 3)


async def test_sessions_from_the_floor_on_are_computed_again_and_those_before_it_stay(
    rig: StreamRig,
) -> None:
    for start in range(0, 20_000, 2_000):
        rig.log.append(0, *(event(start + at, key) for at in (0, 400) for key in "ab"))
    handle = await rig.start(sessions(rig, max_records=4))
    await rig.until(handle, lambda s: s.ledger.consumed == 40 and not s.pending_flushes)
    for values in rig.log.partitions.values():
        values[:] = [value and value.replace(b'"b"', b'"c"') for value in values]
    rewound = await rig.rewind(handle, RewindTo(time_ms=8_100))
    assert (rewound.epoch, rewound.floor_ms, rewound.offsets) == (2, 8_100, {0: 16})
    status = await rig.until(
        handle, lambda s: s.epoch == 2 and s.ledger.consumed == 24 and not s.pending_flushes
    )
    assert (status.ledger.below_floor, status.ledger.balanced) == (2, True)
    expected = {(start, key): 2 for start in range(0, 10_000, 2_000) for key in "ab"}
    expected |= {(start, key): 2 for start in range(10_000, 18_000, 2_000) for key in "ac"}
    await rig.until(handle, lambda _: rig.view() == rig.view("timescaledb") == expected)
    await handle.signal("stop")
    await rig.ended(handle)
    result = await rig.ended(await rig.start(sessions(rig, max_records=4), until=LATEST))
    assert result.epoch == 2
    expected |= {(18_000, key): 2 for key in "ac"}
    assert rig.view() == rig.view("timescaledb") == expected
