"""Early rows and windows closed by the clock, with their exact emissions."""

from pipelines.stream import EventTime, Window
from tests.workflows.rig import Handle, StreamRig, event

Emission = tuple[int, str, int, bool | None]


def emissions(rig: StreamRig) -> list[list[Emission]]:
    """List what each flush brought: window start (ms), key, events, whether the clock closed it."""
    return [
        [
            (
                int(row["window_start"].timestamp() * 1000), row["_key"], row["n"],
                row.get("closed_by_clock"),
            )
            for row in rows
        ]
        for rows in rig.sinks["clickhouse"].flushed
    ]  # fmt: skip


async def settled(rig: StreamRig, handle: Handle, flushes: int, consumed: int) -> int:
    """Wait until so many flushes are written; gives workflow time (ms) since the start."""
    status = await rig.until(
        handle,
        lambda s: (
            s.flush_seq >= flushes and not s.pending_flushes and s.ledger.consumed == consumed
        ),
    )
    assert status.flush_seq == flushes
    return status.now_ms - status.started_ms


async def test_open_windows_are_shown_every_interval_and_never_again_without_news(
    rig: StreamRig,
) -> None:
    rig.log.append(0, event(0), event(100, "b"))
    handle = await rig.start(rig.spec(emit_updates_ms=5_000))
    assert await settled(rig, handle, 1, 2) >= 5_000
    await rig.server.sleep(20)
    rig.log.append(0, event(200))
    await settled(rig, handle, 2, 3)
    rig.log.append(0, event(1_000))
    await settled(rig, handle, 3, 4)
    rig.log.append(0, event(3_000))
    await settled(rig, handle, 4, 5)
    await rig.server.sleep(20)
    await settled(rig, handle, 4, 5)
    assert emissions(rig) == [
        [(0, "a", 1, None), (0, "b", 1, None)],
        [(0, "a", 2, None)],
        [(1_000, "a", 1, None)],
        [(3_000, "a", 1, None)],
    ]
    await handle.signal("stop")
    await rig.ended(handle)


async def test_end_of_a_window_shows_only_what_no_early_row_has_shown(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(100, "b"))
    handle = await rig.start(rig.spec(emit_updates_ms=60_000))
    await settled(rig, handle, 1, 2)
    rig.log.append(0, event(500), event(1_000))
    await settled(rig, handle, 2, 4)
    assert emissions(rig)[1:] == [[(0, "a", 2, None)]]
    assert await settled(rig, handle, 3, 4) >= 120_000
    assert emissions(rig)[2:] == [[(1_000, "a", 1, None)]]
    await handle.signal("stop")
    await rig.ended(handle)


async def test_sliding_windows_are_shown_early_in_all_of_their_windows(rig: StreamRig) -> None:
    window = Window(kind="sliding", size_ms=1_000, slide_ms=500)
    rig.log.append(0, event(600))
    handle = await rig.start(rig.spec(emit_updates_ms=5_000, window=window))
    await settled(rig, handle, 1, 1)
    rig.log.append(0, event(1_000))
    await settled(rig, handle, 2, 2)
    rig.log.append(0, event(1_500))
    await settled(rig, handle, 3, 3)
    assert emissions(rig) == [
        [(0, "a", 1, None), (500, "a", 1, None)],
        [(500, "a", 2, None), (1_000, "a", 1, None)],
        [(1_000, "a", 2, None), (1_500, "a", 1, None)],
    ]
    await handle.signal("stop")
    await rig.ended(handle)


async def test_early_rows_survive_a_stop_and_go_on_where_they_were(clock_rig: StreamRig) -> None:
    rig, spec = clock_rig, clock_rig.spec(emit_updates_ms=6_000)
    rig.log.append(0, event(0))
    handle = await rig.start(spec)
    await rig.until(handle, lambda s: s.ledger.consumed == 1)
    await rig.server.sleep(3)
    await handle.signal("stop")
    await rig.ended(handle)
    assert emissions(rig) == []
    handle = await rig.start(spec)
    assert await settled(rig, handle, 1, 1) < 6_000
    assert emissions(rig) == [[(0, "a", 1, None)]]
    await handle.signal("stop")
    await rig.ended(handle)


def quiet(close_ms: int = 20_000, idle_ms: int | None = None) -> EventTime:
    return EventTime(field="at", idle_timeout_ms=idle_ms, close_after_ms=close_ms)


async def test_quiet_stream_closes_by_the_clock_and_later_data_corrects_it(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(100, "b"))
    rig.log.append(1, event(300))
    handle = await rig.start(rig.spec(event_time=quiet()))
    assert 20_000 <= await settled(rig, handle, 1, 3) < 60_000
    assert emissions(rig) == [[(0, "a", 2, True), (0, "b", 1, True)]]
    await rig.server.sleep(60)
    await settled(rig, handle, 1, 3)
    status = await rig.status(handle)
    assert status.watermark_ms == 100
    rig.log.append(1, event(400), event(1_200))
    rig.log.append(0, event(1_100))
    await settled(rig, handle, 2, 6)
    assert emissions(rig)[1:] == [[(0, "a", 3, False), (0, "b", 1, False)]]
    assert await settled(rig, handle, 3, 6) >= 100_000
    assert emissions(rig)[2:] == [[(1_000, "a", 2, True)]]
    assert (await rig.status(handle)).ledger.late == 0
    await handle.signal("stop")
    await rig.ended(handle)


async def test_without_close_after_a_quiet_stream_leaves_its_last_windows_open(
    rig: StreamRig,
) -> None:
    rig.log.append(0, event(0))
    handle = await rig.start(rig.spec())
    await rig.server.sleep(120)
    await settled(rig, handle, 0, 1)
    await handle.signal("stop")
    await rig.ended(handle)


async def test_partition_with_unread_records_keeps_the_windows_open(rig: StreamRig) -> None:
    rig.log.append(0, event(0))
    rig.log.append(1, event(0), event(10), event(900_000), event(900_100))
    slow = quiet(5_000).model_copy(update={"max_drift_ms": 1_000})
    handle = await rig.start(rig.spec(event_time=slow, max_records=2))
    await settled(rig, handle, 1, 5)
    starts = [row[0] for row in emissions(rig)[0]]
    assert starts == [0, 900_000]
    await handle.signal("stop")
    await rig.ended(handle)


async def test_records_without_an_event_time_do_not_keep_windows_open(rig: StreamRig) -> None:
    rig.log.append(0, event(0))
    handle = await rig.start(rig.spec(event_time=quiet(20_000)))
    await rig.until(handle, lambda s: s.ledger.consumed == 1)
    for _ in range(6):
        await rig.server.sleep(5)
        rig.log.append(0, b"no json")
    assert await settled(rig, handle, 1, 7) < 45_000
    assert emissions(rig) == [[(0, "a", 1, True)]]
    await handle.signal("stop")
    await rig.ended(handle)


async def test_after_a_pause_the_quiet_is_observed_anew(rig: StreamRig) -> None:
    rig.log.append(0, event(0))
    handle = await rig.start(rig.spec(event_time=quiet(20_000)))
    await rig.until(handle, lambda s: s.ledger.consumed == 1)
    await handle.signal("pause")
    await rig.until(handle, lambda s: s.state == "paused")
    await rig.server.sleep(3_600)
    await settled(rig, handle, 0, 1)
    resumed = (await rig.status(handle)).now_ms
    await handle.signal("resume")
    await settled(rig, handle, 1, 1)
    assert (await rig.status(handle)).now_ms - resumed >= 20_000
    await handle.signal("stop")
    await rig.ended(handle)


async def test_after_a_stop_the_quiet_is_observed_anew(clock_rig: StreamRig) -> None:
    rig, spec = clock_rig, clock_rig.spec(event_time=quiet(3_000))
    rig.log.append(0, event(0))
    handle = await rig.start(spec)
    await rig.until(handle, lambda s: s.ledger.consumed == 1)
    await rig.server.sleep(2)
    await handle.signal("stop")
    await rig.ended(handle)
    handle = await rig.start(spec)
    assert await settled(rig, handle, 1, 1) >= 3_000
    assert emissions(rig) == [[(0, "a", 1, True)]]
    await handle.signal("stop")
    await rig.ended(handle)
