"""Partitions that are added, fall silent, run ahead or cannot be reached, on a skipped clock."""

import pytest

from common.errors import ServiceUnavailableError
from pipelines.stream import EventTime, StreamSpec
from streaming.ledger import Ledger
from streaming.status import StreamStatus, StreamUntil
from tests.unit.streaming.event_log import Event, Log, brute_force
from tests.workflows.rig import Handle, StreamRig, event

pytestmark = pytest.mark.timeout(180)

LATEST = StreamUntil(kind="latest")
AWAY = ServiceUnavailableError("Kafka", "127.0.0.1:1", "connection refused")
IDLE_MS = 60_000
YEAR_MS = 31_556_952_000


def idle_spec(rig: StreamRig, **times: int) -> StreamSpec:
    return rig.spec(event_time=EventTime(field="at", idle_timeout_ms=IDLE_MS, **times))


def emitted(rig: StreamRig) -> list[dict[tuple[int, str], int]]:
    """Give the rows of every flush, in order: number of events by window start and key."""
    return [
        {(round(row["window_start"].timestamp() * 1000), row["_key"]): row["n"] for row in rows}
        for rows in rig.sinks["clickhouse"].flushed
    ]


async def settled(rig: StreamRig, handle: Handle, consumed: int, flushes: int) -> StreamStatus:
    """Wait until so much is consumed and flushed, and no more than that."""
    status = await rig.until(
        handle,
        lambda s: (
            s.ledger.consumed >= consumed and s.flush_seq >= flushes and not s.pending_flushes
        ),
    )
    assert (status.ledger.consumed, status.flush_seq) == (consumed, flushes)
    return status


async def stop(rig: StreamRig, handle: Handle) -> None:
    await handle.signal("stop")
    assert (await rig.ended(handle)).ledger.balanced


async def test_an_added_partition_is_read_from_its_first_record_and_never_pulls_time_back(
    rig: StreamRig,
) -> None:
    rig.log.append(0, event(0), event(5_000))
    handle = await rig.start(idle_spec(rig))
    await settled(rig, handle, 2, 1)
    rig.log.append(1, event(4_200, "b"))
    status = await settled(rig, handle, 3, 1)
    assert (status.watermark_ms, status.ledger.late) == (5_000, 1)
    assert min(span.start for span in rig.log.reads if span.partition == 1) == 0
    rig.log.append(0, event(9_000))
    status = await settled(rig, handle, 4, 1)
    assert status.watermark_ms == 5_000, "the new one is at 4,200 and not idle"
    rig.log.append(1, event(5_100, "b"), event(7_500, "b"))
    status = await settled(rig, handle, 6, 2)
    assert (status.watermark_ms, status.ledger.late) == (7_500, 1)
    assert emitted(rig) == [{(0, "a"): 1}, {(5_000, "a"): 1, (5_000, "b"): 1}]
    await stop(rig, handle)


async def test_an_added_partition_without_records_holds_time_until_it_is_idle(
    rig: StreamRig,
) -> None:
    rig.log.append(0, event(0), event(5_000))
    handle = await rig.start(idle_spec(rig))
    await settled(rig, handle, 2, 1)
    rig.log.append(1)
    added_ms = (await rig.until(handle, lambda s: len(s.partitions) == 2)).now_ms
    rig.log.append(0, event(6_000))
    status = await settled(rig, handle, 3, 1)
    assert status.watermark_ms == 5_000
    await rig.server.sleep(IDLE_MS / 1000 - 5)
    status = await settled(rig, handle, 3, 2)
    assert status.now_ms - added_ms >= IDLE_MS
    assert (status.watermark_ms, [p.idle for p in status.partitions]) == (6_000, [False, True])
    rig.log.append(1, event(5_999, "b"), event(6_100, "b"))
    status = await settled(rig, handle, 5, 2)
    assert (status.watermark_ms, status.ledger.late) == (6_000, 1)
    assert emitted(rig) == [{(0, "a"): 1}, {(5_000, "a"): 1}]
    await stop(rig, handle)


async def test_a_bounded_run_keeps_to_the_partitions_that_it_had(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(500))
    rig.log.append(1, event(100, "b"), event(200, "b"), event(300, "b"))
    until = StreamUntil(kind="offsets", offsets={0: 4, 1: 1})
    spec = idle_spec(rig)
    handle = await rig.start(spec, until=until)
    await rig.until(handle, lambda s: s.ledger.consumed == 3)
    rig.log.append(2, event(400, "c"))
    waits = rig.log.waits
    await rig.server.sleep(60)
    assert rig.log.waits - waits < 80, "neither an added partition nor one beyond its end is news"
    assert len((await handle.fetch_history()).events) < 120
    rig.log.append(0, event(2_000), event(2_500), event(2_600))
    result = await rig.ended(handle)
    assert result.ledger == Ledger(consumed=5, aggregated=5)
    assert {(s.partition, s.start, s.stop) for s in rig.log.reads} == {
        (0, 0, 2), (0, 2, 4), (1, 0, 1),
    }  # fmt: skip
    assert rig.view() == {(0, "a"): 2, (0, "b"): 1, (2_000, "a"): 2}
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert (result.ledger.consumed, result.ledger.late) == (9, 0)
    assert rig.view() == {(0, "a"): 2, (0, "b"): 3, (0, "c"): 1, (2_000, "a"): 3}


async def test_after_an_outage_a_silent_partition_is_observed_anew_before_windows_close(
    rig: StreamRig,
) -> None:
    rig.log.append(0, event(0), event(500))
    rig.log.append(1, event(100, "b"))
    handle = await rig.start(idle_spec(rig))
    await settled(rig, handle, 3, 0)
    await rig.server.sleep(30)
    rig.log.away = AWAY
    await rig.until(handle, lambda s: "connection refused" in s.reason)
    await rig.server.sleep(600)
    rig.log.append(0, event(5_000))
    rig.log.away = None
    back_ms = (await rig.status(handle)).now_ms
    status = await settled(rig, handle, 4, 0)
    assert (status.watermark_ms, status.reason) == (100, "")
    await rig.server.sleep(20)
    rig.log.append(1, event(900, "b"))
    status = await settled(rig, handle, 5, 0)
    assert (status.watermark_ms, status.ledger.late) == (900, 0)
    await rig.server.sleep(IDLE_MS / 1000 - 5)
    status = await settled(rig, handle, 5, 1)
    assert status.now_ms - back_ms >= IDLE_MS + 20_000
    assert status.watermark_ms == 5_000
    assert emitted(rig) == [{(0, "a"): 2, (0, "b"): 2}]
    await stop(rig, handle)


async def test_after_an_outage_the_quiet_is_observed_anew_before_the_clock_closes(
    rig: StreamRig,
) -> None:
    rig.log.append(0, event(0), event(500))
    handle = await rig.start(idle_spec(rig, close_after_ms=60_000))
    await settled(rig, handle, 2, 0)
    await rig.server.sleep(30)
    rig.log.away = AWAY
    await rig.until(handle, lambda s: "connection refused" in s.reason)
    await rig.server.sleep(600)
    rig.log.away = None
    status = await rig.until(handle, lambda s: not s.reason)
    back_ms = status.now_ms
    await rig.server.sleep(50)
    assert emitted(rig) == []
    status = await settled(rig, handle, 2, 1)
    assert status.now_ms - back_ms >= 55_000
    assert emitted(rig) == [{(0, "a"): 2}]
    await stop(rig, handle)


async def test_a_partition_far_ahead_waits_for_the_slowest_with_unread_data_and_no_other(
    rig: StreamRig,
) -> None:
    rig.log.append(0, *(event(n * 1_000) for n in range(20)))
    rig.log.append(1, *(event(n * 10, "b") for n in range(100)))
    rig.log.append(2, event(0, "c"))
    times = EventTime(field="at", idle_timeout_ms=None, max_drift_ms=2_000)
    handle = await rig.start(rig.spec(max_records=5, event_time=times))
    status = await rig.until(handle, lambda s: s.ledger.consumed == 121)
    assert (status.watermark_ms, status.ledger.late) == (0, 0)
    order = [(span.partition, span.start) for span in rig.log.reads]
    slow_done = order.index((1, 95))
    early = [start for number, start in order[:slow_done] if number == 0]
    assert 0 < len(early) <= 2, "what was planned before its time was known, and no more"
    assert order.index((0, 19 // 5 * 5)) > slow_done
    await stop(rig, handle)


async def test_poison_moves_neither_time_nor_windows_and_leaves_as_dead_letters(
    rig: StreamRig,
) -> None:
    ahead = event(500 * YEAR_MS, "z")
    no_time = b'{"category": "z", "amount": 1, "customer": 1}'
    null_time = b'{"at": null, "category": "z", "amount": 1, "customer": 1}'
    poison = [b"no json", no_time, null_time, ahead, b"[1]", None]
    rig.log.append(0, event(0), *poison, event(400))
    rig.log.append(1, event(300, "b"), *poison)
    handle = await rig.start(idle_spec(rig))
    status = await settled(rig, handle, 15, 0)
    assert status.watermark_ms == 300
    assert status.open_windows == 1
    rig.log.append(1, *poison)
    status = await settled(rig, handle, 21, 0)
    assert status.watermark_ms == 300
    assert status.ledger == Ledger(consumed=21, aggregated=3, dead_lettered=18)
    await rig.until(handle, lambda _: len(rig.dead.records) == 18)
    heads = [dict(head) for _, _, head in rig.dead.topics["events.dlq"]]
    places = sorted((int(head["partition"]), int(head["offset"])) for head in heads)
    assert places == [(0, n) for n in range(1, 7)] + [(1, n) for n in range(1, 13)]
    rig.log.append(0, event(1_000))
    rig.log.append(1, event(1_100, "b"))
    status = await settled(rig, handle, 23, 1)
    assert status.watermark_ms == 1_000
    assert emitted(rig) == [{(0, "a"): 2, (0, "b"): 1}]
    await stop(rig, handle)


async def test_partitions_of_different_length_and_speed_lose_nothing_when_caught_up(
    rig: StreamRig,
) -> None:
    """An open stream from offset 0, whose partitions may become idle, not keyed by the group."""
    log: Log = {
        0: [Event(n * 20, "ab"[n % 2], 100, n) for n in range(600)],
        1: [Event(n * 400, "ab"[n % 2], 100, n) for n in range(30)],
        2: [Event(11_000 + n * 7, "a", 100, n) for n in range(60)],
        3: [Event(n * 6_000, "b", 100, n) for n in range(2)],
    }
    for number, events in log.items():
        rig.log.append(number, *(event(e.event_ms, e.category, 1.0, e.customer) for e in events))
    rig.log.append(4)
    times = EventTime(field="at", idle_timeout_ms=100)
    spec = rig.spec(max_records=7, event_time=times)
    handle = await rig.start(spec)
    status = await rig.until(handle, lambda s: s.ledger.consumed == 692)
    assert status.ledger == Ledger(consumed=692, aggregated=692)
    await handle.signal("drain")
    await rig.ended(handle)
    await rig.ended(await rig.start(spec, until=LATEST))
    assert rig.view() == {name: row[0] for name, row in brute_force(log).items()}
