"""De-duplication in the stream workflow, on a server that skips time."""

import pytest

from activities import seen_store
from common.errors import ServiceUnavailableError
from pipelines.stream import Deduplicate, StreamSpec
from streaming.ledger import Ledger
from streaming.status import RewindTo, StreamFrom, StreamUntil
from tests.workflows.rig import StreamRig, event

LATEST = StreamUntil(kind="latest")


def once(
    rig: StreamRig, within_ms: int = 60_000, disorder_ms: int = 0, **changes: object
) -> StreamSpec:
    options = Deduplicate(by=["customer"], within_ms=within_ms)
    return rig.spec(disorder_ms, 3, deduplicate=options, **changes)


def numbered(*numbers: int, every_ms: int = 100) -> list[bytes]:
    return [event(number * every_ms, customer=number) for number in numbers]


async def test_copies_count_once_over_ranges_runs_and_starts(
    rig: StreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_store, "INLINE_BYTES", 0)
    rig.log.append(0, *numbered(*range(20), *range(5, 15)))
    rig.log.append(1, *numbered(3, 3, 3))
    spec = once(rig)
    result = await rig.ended(await rig.start(spec, until=LATEST, history_events=30))
    assert result.ledger == Ledger(consumed=33, aggregated=21, duplicate=12)
    assert rig.view() == rig.view("timescaledb") == {(0, "a"): 11, (1_000, "a"): 10}
    rig.log.append(0, *numbered(19, 20, 20, 18))
    rig.sinks["clickhouse"].failures = [ServiceUnavailableError("C", "x", "reset")]
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=37, aggregated=22, duplicate=15)
    assert rig.view() == {(0, "a"): 11, (1_000, "a"): 10, (2_000, "a"): 1}
    result = await rig.ended(await rig.start(spec, until=LATEST, fresh=True))
    assert result.ledger == Ledger(consumed=37, aggregated=22, duplicate=15)


async def test_a_worker_that_kept_no_table_reads_what_it_needs_and_old_tables_are_released(
    rig: StreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_store, "INLINE_BYTES", 0)
    monkeypatch.setattr(seen_store, "KEPT_BYTES", 0)
    rig.log.append(0, *numbered(*(number for one in range(300) for number in (one, one))))
    result = await rig.ended(await rig.start(once(rig, within_ms=1_000), until=LATEST))
    assert result.ledger == Ledger(consumed=600, aggregated=300, duplicate=300)
    left = [key for key in rig.store.objects if "-seen-" in key]
    assert 0 < len(left) < 64 + 8, "released in batches of 64"


async def test_a_copy_out_of_reach_counts_again_and_a_filtered_one_is_not_remembered(
    rig: StreamRig,
) -> None:
    early, refused = event(0, customer=1), event(100, amount=-1.0, customer=2)
    rig.log.append(0, early, refused, event(100, customer=2), event(5_000, customer=9), early)
    spec = once(rig, disorder_ms=9_000, within_ms=4_999, where="amount > 0")
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=5, aggregated=4, filtered=1)
    assert rig.view() == {(0, "a"): 3, (5_000, "a"): 1}


async def test_a_raw_stream_delivers_the_first_of_the_same(rig: StreamRig) -> None:
    rig.log.append(0, *numbered(0, 1, 1, 2, 0, 3, 4, 4, 1))
    raw: dict[str, object] = {"window": None, "group_by": [], "aggregate": {}}
    spec = once(rig).model_copy(update=raw)
    handle = await rig.start(spec)
    await rig.until(handle, lambda s: s.ledger.consumed == 9 and s.pending_flushes == 0)
    await handle.signal("stop")
    await rig.ended(handle)
    rig.log.append(0, *numbered(4, 5))
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=11, delivered=6, duplicate=5)
    rows = rig.sinks["clickhouse"].rows.values()
    assert sorted(row["_offset"] for row in rows) == [0, 1, 3, 5, 6, 10]


async def test_a_fresh_start_knows_nothing_of_what_lies_before_it(rig: StreamRig) -> None:
    rig.log.append(0, *numbered(1, 2, 3))
    spec = once(rig)
    handle = await rig.start(spec)
    await rig.until(handle, lambda s: s.ledger.consumed == 3)
    await handle.signal("stop")
    await rig.ended(handle)
    rig.log.append(0, *numbered(3, 4))
    later = await rig.start(spec, fresh=True, begin=StreamFrom(kind="latest"))
    await rig.until(later, lambda s: s.epoch == 2)
    rig.log.append(0, *numbered(4, 4, 5))
    await rig.until(later, lambda s: s.ledger.consumed == 3)
    await later.signal("drain")
    assert (await rig.ended(later)).ledger == Ledger(consumed=3, aggregated=2, duplicate=1)


async def test_a_rewind_drops_the_copies_of_events_before_it(rig: StreamRig) -> None:
    rig.log.append(0, *numbered(*range(30)), *numbered(28, 29, 29, 30, 5))
    rig.log.append(1, *numbered(*range(35)))
    spec = once(rig, within_ms=500)
    first = await rig.ended(await rig.start(spec, until=LATEST))
    assert (first.ledger.consumed, first.ledger.duplicate) == (70, 3)
    view = rig.view()
    for epoch, time_ms in ((2, 2_000), (3, 2_500)):
        to = RewindTo(time_ms=time_ms)
        again = await rig.ended(await rig.start(spec, until=LATEST, rewind=to))
        assert (again.epoch, again.ledger.duplicate) == (epoch, 3)
        assert 30 < again.ledger.consumed < 70
        assert again.ledger.balanced
        assert rig.view() == rig.view("timescaledb") == view


async def test_a_raw_stream_goes_back_to_an_offset_and_writes_no_copy(
    rig: StreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_store, "INLINE_BYTES", 0)
    rig.log.append(0, *numbered(*range(30)), *numbered(28, 29, 29, 30, 5))
    spec = once(rig, within_ms=500, window=None, group_by=[], aggregate={})
    await rig.ended(await rig.start(spec, until=LATEST))
    places = [*range(30), 33, 34]
    again = await rig.ended(await rig.start(spec, until=LATEST, rewind=RewindTo(offsets={0: 31})))
    ledger = again.ledger
    assert (ledger.delivered, ledger.duplicate, ledger.balanced) == (2, 2 + 1, True)
    assert ledger.below_floor == ledger.consumed - 5
    shown = [row["_offset"] for row in rig.sinks["clickhouse"].rows.values() if not row["_deleted"]]
    assert sorted(shown) == places
