"""Streams without a window on the server that skips time."""

import pytest
from temporalio.testing import ActivityEnvironment

from activities.stream_deliver import StreamDeliverActivities
from activities.stream_io import AggregateInput, AggregateResult
from common.errors import ServiceUnavailableError
from common.payloads import Ref
from pipelines.stream import StreamSpec
from pipelines.transform import Step
from streaming import room, row_step
from streaming.frame import from_bytes
from streaming.ledger import Ledger
from streaming.offset_range import OffsetRange
from streaming.segment import Blob
from streaming.state import RangeTask
from streaming.status import RewindTo, StreamUntil
from tests.workflows.memory import MemoryLog, MemoryStore
from tests.workflows.rig import StreamRig, event

LATEST = StreamUntil(kind="latest")


def raw_spec(rig: StreamRig, **changes: object) -> StreamSpec:
    """Give every event with positive amount."""
    update = {
        "window": None, "group_by": [], "aggregate": {}, "where": "amount > 0",
        "derive": {"twice": "amount * 2"}, **changes,
    }  # fmt: skip
    return rig.spec(max_records=7).model_copy(update=update)


def positions(rig: StreamRig, sink: str = "clickhouse") -> list[tuple[int, int]]:
    """List partition and offset of the rows that a reader sees."""
    return sorted((row["_partition"], row["_offset"]) for row in rig.sinks[sink].rows.values())


def in_order(rig: StreamRig, sink: str) -> bool:
    """Tell whether flushes were first written in the order of their numbers.

    On a busy machine a write that is done may be taken for lost and be repeated.
    """
    written = [(chunk.epoch, chunk.flush_seq, chunk.chunk) for chunk in rig.sinks[sink].writes]
    first = list(dict.fromkeys(written))
    return first == sorted(first)


async def test_a_bounded_raw_run_gives_every_event_to_both_sinks_and_balances(
    rig: StreamRig,
) -> None:
    rig.log.append(0, *(event(i * 100, "a", 1.5) for i in range(25)))
    rig.log.append(1, event(0, "b"), event(1, "b", -1.0), b"no json", None, event(2, "b"))
    rig.sinks["timescaledb"].failures = [ServiceUnavailableError("T", "x", "reset")] * 2
    result = await rig.ended(await rig.start(raw_spec(rig), until=LATEST))
    assert result.state == "completed"
    assert result.ledger == Ledger(consumed=30, delivered=27, filtered=1, dead_lettered=2)
    expected = [(0, offset) for offset in range(25)] + [(1, 0), (1, 4)]
    for sink in ("clickhouse", "timescaledb"):
        assert positions(rig, sink) == expected
        assert in_order(rig, sink)
    [row] = [r for r in rig.sinks["clickhouse"].rows.values() if r["_key"] == "events|0|3"]
    assert (str(row["amount"]), str(row["twice"]), row["_topic"]) == ("1.50", "3.00", "events")
    assert result.flushed_rows == 27
    assert [record[1] for record in rig.dead.records] == [b"no json", None]


async def test_by_event_id_the_last_event_of_a_partition_shows(rig: StreamRig) -> None:
    rig.log.append(0, *(event(i * 100, "a", 1.0 + i, customer=i % 4) for i in range(25)))
    spec = raw_spec(rig, identity=["customer"])
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=25, delivered=25)
    assert positions(rig) == positions(rig, "timescaledb") == [(0, o) for o in range(21, 25)]


async def test_stopped_in_the_middle_and_resumed_each_event_is_there_once(rig: StreamRig) -> None:
    spec = raw_spec(rig)
    rig.log.append(0, *(event(i) for i in range(60)))
    rig.log.append(1, *(event(i, "b") for i in range(10)))
    down = ServiceUnavailableError("ClickHouse", "x", "refused")
    rig.sinks["clickhouse"].failures = [down] * 200
    handle = await rig.start(spec)
    await rig.until(handle, lambda s: s.pending_flushes >= 3 and "ClickHouse" in s.reason)
    await handle.signal("stop")
    assert (await rig.ended(handle)).state == "stopped"
    assert len(positions(rig)) < 70
    rig.sinks["clickhouse"].failures = []
    rig.log.append(1, *(event(i, "b") for i in range(10, 25)))
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.epoch == 1
    assert result.ledger == Ledger(consumed=85, delivered=85)
    for sink in ("clickhouse", "timescaledb"):
        expected = [(0, o) for o in range(60)] + [(1, o) for o in range(25)]
        assert positions(rig, sink) == expected
        assert in_order(rig, sink)


async def test_it_continues_as_new_with_ranges_in_flight(rig: StreamRig) -> None:
    rig.log.append(0, *(event(i) for i in range(150)))
    rig.log.append(1, *(event(i, "b") for i in range(40)))
    handle = await rig.start(raw_spec(rig), until=LATEST, history_events=60)
    result = await rig.ended(handle)
    assert (await handle.describe()).run_id != handle.first_execution_run_id
    assert result.ledger == Ledger(consumed=190, delivered=190)
    for sink in ("clickhouse", "timescaledb"):
        assert len(positions(rig, sink)) == 190
        assert in_order(rig, sink)


async def test_an_open_raw_stream_shows_events_without_waiting_for_a_watermark(
    rig: StreamRig,
) -> None:
    rig.log.append(0, event(0), event(500))
    rig.log.append(1)
    handle = await rig.start(raw_spec(rig))
    status = await rig.until(handle, lambda s: s.flushed_rows == 2 and not s.pending_flushes)
    assert (status.watermark_ms, status.open_windows) == (None, 0)
    assert all(sink.pending == 0 for sink in status.sinks)
    assert positions(rig) == [(0, 0), (0, 1)]
    rig.log.append(1, event(-(10**6), "b"))
    status = await rig.until(handle, lambda s: s.flushed_rows == 3 and not s.pending_flushes)
    assert status.ledger == Ledger(consumed=3, delivered=3)
    await handle.signal("drain")
    assert (await rig.ended(handle)).state == "drained"


async def test_every_element_of_a_list_is_a_row_of_its_own(rig: StreamRig) -> None:
    rig.log.append(0, *(event(i, "a,b,c" if i % 2 else "d") for i in range(20)), b"no json")
    steps = [Step(expand={"word": "unnest(string_split(category, ','))"})]
    spec = raw_spec(rig, transform=steps)
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=21, expanded=20, delivered=40, dead_lettered=1)
    again = await rig.start(spec, until=LATEST, rewind=RewindTo(offsets={0: 10}))
    assert (await rig.ended(again)).ledger == Ledger(
        consumed=11, expanded=10, delivered=20, dead_lettered=1
    )
    for sink in rig.sinks.values():
        found = [(row["_offset"], row["_element"], row["word"]) for row in sink.rows.values()]
        expected = [(o, e, w) for o in range(20) for e, w in enumerate("abc" if o % 2 else "d")]
        assert sorted(found) == expected


async def deliver(
    log: MemoryLog,
    store: MemoryStore,
    spec: StreamSpec,
    stop: int,
    held_bytes: int,
    *,
    may_cut: bool = False,
) -> AggregateResult:
    """Run the activity on one range, with a table for every `held_bytes` of records."""
    span = OffsetRange(topic="events", partition=0, start=0, stop=stop)
    task = RangeTask(span=span, epoch=1, watermark_ms=None, now_ms=10**9, flush_seq=1)
    work = AggregateInput(spec=spec, topic_id=log.topic_id, tasks=[task], may_cut=may_cut)
    activities = StreamDeliverActivities(log, store, held_bytes)
    found: AggregateResult = await ActivityEnvironment().run(activities.deliver_ranges, work)
    return found


def offsets(store: MemoryStore, tables: list[Blob]) -> list[list[int]]:
    """Read the offsets that each table holds."""
    contents = [table.inline or store.objects[_key(table.ref)] for table in tables]
    return [from_bytes(content)["_offset"].to_list() for content in contents]


def _key(ref: Ref | None) -> str:
    assert ref is not None
    return ref.key


async def test_a_range_of_many_bytes_is_frozen_as_several_tables(rig: StreamRig) -> None:
    rig.log.append(0, *(event(i, customer=i % 5) for i in range(11)))
    store, spec = MemoryStore(), raw_spec(rig)
    first = await deliver(rig.log, store, spec, 11, held_bytes=1)
    [result] = first.results
    assert offsets(store, result.rows) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]
    assert all(table.inline is None for table in result.rows)
    assert result.ledger == Ledger(consumed=11, delivered=11)
    assert result.superseded == []
    again = await deliver(rig.log, store, spec, 11, held_bytes=1)
    assert again.results[0].rows == result.rows
    [small] = (await deliver(rig.log, store, spec, 2, held_bytes=10**9)).results
    assert [table.row_count for table in small.rows] == [2]
    assert small.rows[0].inline is not None


async def test_tables_of_one_range_hold_each_event_id_once_the_last(rig: StreamRig) -> None:
    rig.log.append(0, *(event(i, customer=c) for i, c in enumerate([1, 2, 3, 4, 2, 2, 1, 9, 2])))
    store = MemoryStore()
    spec = raw_spec(rig, identity=["customer"])
    [result] = (await deliver(rig.log, store, spec, 9, held_bytes=1)).results
    assert offsets(store, result.rows) == [[2], [3], [6, 7, 8]]
    assert len(result.superseded) == 2
    assert {ref.key for ref in result.superseded} <= store.objects.keys()
    kept = {_key(table.ref) for table in result.rows}
    assert kept.isdisjoint(ref.key for ref in result.superseded)
    assert result.ledger == Ledger(consumed=9, delivered=9)


async def test_a_range_ends_early_where_long_lists_come_to_more_tables_than_are_counted(
    rig: StreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each million of elements was a table of its own, however many that were."""
    monkeypatch.setattr(row_step, "CUT_ELEMENTS", 4)
    monkeypatch.setattr(room, "PIECE_RECORDS", 10)
    rig.log.append(0, *(event(i, "a,b,c") for i in range(7)), b"no json", event(8, "a,b,c"))
    rig.log.append(0, *(event(i, "a,b,c") for i in range(9, 22)))
    steps = [Step(expand={"word": "unnest(string_split(category, ','))"})]
    spec = raw_spec(rig, transform=steps)
    whole = await deliver(rig.log, MemoryStore(), spec, 22, held_bytes=10**9)
    store = MemoryStore()
    cut = await deliver(rig.log, store, spec, 22, held_bytes=10**9, may_cut=True)
    [result] = cut.results
    assert len(whole.results[0].rows) > len(result.rows) == 3
    read = result.span.stop
    assert 0 < read < 22
    dead = int(read > 7)
    delivered = 3 * (read - dead)
    assert result.ledger == Ledger(
        consumed=read, expanded=2 * (read - dead), delivered=delivered, dead_lettered=dead
    )
    assert sorted({o for table in offsets(store, result.rows) for o in table}) == [
        offset for offset in range(read) if offset != 7
    ]


async def test_a_stream_of_ranges_that_end_early_shows_every_element_once(
    rig: StreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_step, "CUT_ELEMENTS", 4)
    rig.log.append(0, *(event(i, "a,b,c") for i in range(12)))
    steps = [Step(expand={"word": "unnest(string_split(category, ','))"})]
    spec = raw_spec(rig, transform=steps)
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=12, expanded=24, delivered=36)
    assert result.flush_seq > 3
    for sink in rig.sinks.values():
        found = sorted((row["_offset"], row["_element"]) for row in sink.rows.values())
        assert found == [(o, e) for o in range(12) for e in range(3)]
