"""Rewinds of sessions and of a zone's days against brute force, at any moment, with crashes."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UsageError
from pipelines.stream import Window
from streaming.day import bounds_around
from streaming.floor import EARLIEST_MS
from streaming.rewind import plan_rewind, times_to_look_up
from streaming.status import RewindTo
from tests.unit.streaming.engine import SINKS, Engine
from tests.unit.streaming.event_log import Event, Log, brute_force, make_spec, patient
from tests.unit.streaming.test_engine_model import STEP_LISTS, Steps, canonical, logs, take
from tests.unit.streaming.test_rewind_model import REWINDS, go_back, settled
from tests.unit.streaming.test_session import on_time
from tests.unit.streaming.window_strategy import BERLIN, GAP, SESSIONS_AND_DAYS, Kind, at

pytestmark = pytest.mark.timeout(240)

DAY_MS = BERLIN.size_ms

Rewinds = list[tuple[RewindTo, Steps, bool]]


def change_keys(engine: Engine, number: int) -> None:
    """Let other keys be in the log from now on."""
    gone: dict[str | None, str | None] = (
        {"a": None, "b": "c"} if number % 2 else {"a": "b", None: "d"}
    )
    engine.log = {
        n: [replace(e, category=gone.get(e.category, e.category)) for e in events]
        for n, events in engine.log.items()
    }


@settings(max_examples=80, deadline=None)
@given(
    log=logs(disorder_ms=800),
    kind=SESSIONS_AND_DAYS,
    max_records=st.sampled_from([1, 3, 7, 1000]),
    allowed=st.sampled_from([0, 300, 5_000]),
    before=STEP_LISTS,
    ended=st.booleans(),
    rewinds=REWINDS,
    changing=st.booleans(),
    hidden=st.booleans(),
)
def test_rewinds_give_what_is_in_the_log_from_the_floor_on_and_leave_what_was_before_it(
    log: Log,
    kind: Kind,
    max_records: int,
    allowed: int,
    before: Steps,
    ended: bool,
    rewinds: Rewinds,
    changing: bool,
    hidden: bool,
) -> None:
    disorder_ms, allowed_ms = 800 * kind.stretch, allowed * kind.stretch
    spec = patient(make_spec(disorder_ms, max_records, allowed_ms, kind.window))
    engine = Engine.start(spec, kind.log(log), hidden=hidden)
    take(engine, before)
    if ended:
        engine.finish()
    expected = brute_force(canonical(engine.log), kind.window)
    for number, (to, steps, ends) in enumerate(rewinds):
        floor_ms = go_back(engine, kind.to(to))
        if floor_ms is not None and changing:
            change_keys(engine, number)
            kept = {name: row for name, row in expected.items() if name[0] < floor_ms}
            anew = brute_force(canonical(engine.log), kind.window)
            expected = kept | {name: row for name, row in anew.items() if name[0] >= floor_ms}
        take(engine, steps)
        if ends:
            engine.finish()
    engine.finish()
    for sink in SINKS:
        assert engine.rows(sink) == expected
    assert engine.state.ledger.balanced
    assert engine.state.ledger.late == 0
    assert engine.state.retiring is None


@settings(max_examples=60, deadline=None)
@given(
    log=logs(disorder_ms=3_000),
    kind=SESSIONS_AND_DAYS,
    max_records=st.sampled_from([1, 4]),
    allowed=st.sampled_from([0, 700, 2_000]),
    before=STEP_LISTS,
    ended=st.booleans(),
    rewinds=REWINDS,
)
def test_with_late_events_rows_are_those_of_the_events_on_time_since_the_last_rewind(
    log: Log,
    kind: Kind,
    max_records: int,
    allowed: int,
    before: Steps,
    ended: bool,
    rewinds: Rewinds,
) -> None:
    allowed_ms = allowed * kind.stretch
    spec = make_spec(100 * kind.stretch, max_records, allowed_ms, kind.window)
    engine = Engine.start(spec, kind.log(log), hidden=True)
    take(engine, before)
    if ended:
        engine.finish()
    floor_ms, kept = EARLIEST_MS - 1, {}
    for to, steps, ends in rewinds:
        at_rewind = settled(engine)
        found_ms = go_back(engine, kind.to(to))
        if found_ms is not None:
            floor_ms = found_ms
            rows = ((name, values) for name, (_, values) in at_rewind.items() if values)
            kept = {name: values for name, values in rows if name[0] < floor_ms}
        take(engine, steps)
        if ends:
            engine.finish()
    engine.finish()
    anew = brute_force(canonical(on_time(engine)), kind.window)
    for sink in SINKS:
        rows_now = engine.rows(sink)
        assert {name: row for name, row in rows_now.items() if name[0] >= floor_ms} == {
            name: row for name, row in anew.items() if name[0] >= floor_ms
        }
        assert {name: row for name, row in rows_now.items() if name[0] < floor_ms} == kept
    ledger = engine.state.ledger
    assert ledger.balanced
    read = {
        (n, offset): event.event_ms
        for n, events in engine.log.items()
        for offset, event in enumerate(events)
    }
    assert ledger.late == len(engine.judged)
    below = sum(ms < floor_ms for place, ms in read.items() if place not in engine.judged)
    assert ledger.aggregated == len(read) - len(engine.judged) - below
    assert ledger.below_floor == ledger.consumed - ledger.late - ledger.aggregated


def ended(window: Window, times_ms: list[int], disorder_ms: int = 0) -> Engine:
    """Give a bounded run of one key that has read everything."""
    events = [Event(time_ms, "a", 100, 1) for time_ms in times_ms]
    engine = Engine.start(patient(make_spec(disorder_ms, 1, 0, window)), {0: events})
    engine.finish()
    return engine


def test_a_session_that_may_have_begun_before_what_is_read_again_is_left_as_it_is() -> None:
    engine = ended(GAP, [0, 400, 800, 2_000, 2_500, 4_000, 9_000])
    rewind = engine.rewind(RewindTo(time_ms=700))
    assert (rewind.floor_ms, rewind.offsets) == (700, {0: 1})
    engine.finish()
    assert {name[0]: row[0] for name, row in engine.rows().items()} == {
        0: 3, 2_000: 2, 4_000: 1, 9_000: 1,
    }  # fmt: skip
    versions = {name[0]: version >> 40 for name, (version, _) in engine.views["fast"].items()}
    assert versions == {0: 1, 2_000: 2, 4_000: 2, 9_000: 2}
    ledger = engine.state.ledger
    assert (ledger.consumed, ledger.below_floor, ledger.aggregated) == (6, 1, 5)
    assert ledger.balanced


def test_an_event_exactly_a_gap_before_the_first_one_shown_is_read() -> None:
    engine = ended(GAP, [0, 500, 1_001, 9_000, 20_000])
    assert engine.rewind(RewindTo(time_ms=500)).offsets == {0: 0}
    engine.finish()
    assert {name[0]: row[0] for name, row in engine.rows().items()} == {
        0: 2, 1_001: 1, 9_000: 1, 20_000: 1,
    }  # fmt: skip


def test_the_floor_of_sessions_is_not_beyond_one_that_may_still_change() -> None:
    engine = ended(GAP, [0, 3_000, 3_400, 3_800, 3_900, 4_000])
    assert engine.rewind(RewindTo(time_ms=10_000)).floor_ms == 3_000


def test_offsets_fix_the_floor_of_sessions_a_gap_after_what_was_before_them() -> None:
    engine = ended(GAP, [0, 2_000, 4_000, 9_000])
    rewind = engine.rewind(RewindTo(offsets={0: 2}))
    assert (rewind.floor_ms, rewind.offsets) == (2_501, {0: 2})
    engine = ended(GAP, [0, 2_000, 4_000, 4_100])
    with pytest.raises(UsageError, match="name earlier offsets"):
        engine.rewind(RewindTo(offsets={0: 4}))


def test_a_session_shown_again_and_then_joined_to_one_before_the_floor_is_hidden() -> None:
    times = [0, 2_000, 2_900, 9_000, 20_000]
    events = [Event(time_ms, "a", 100, 1) for time_ms in times]
    engine = Engine.start(patient(make_spec(0, 1, 5_000, GAP)), {0: events})
    engine.finish()
    engine.rewind(RewindTo(time_ms=2_400))
    engine.log = {
        0: [*events[:3], Event(3_600, "a", 100, 1), Event(2_450, "a", 100, 1), *events[3:]]
    }
    engine.state.partitions[0].until = 7
    engine.finish()
    rows = {name[0]: row[0] for name, row in engine.rows().items()}
    assert rows == {0: 1, 2_000: 1, 3_600: 1, 9_000: 1, 20_000: 1}
    assert engine.views["fast"][2_900, "a"][1] is None


def test_a_session_below_the_floor_that_is_joined_later_leaves_the_older_epochs_row() -> None:
    """What fires below the floor is shown to nobody, so no tombstone may follow from it: it would
    hide what an older epoch wrote under that start, which stays."""
    times = [0, 2_000, 9_000, 20_000]
    events = [Event(time_ms, "a", 100, 1) for time_ms in times]
    engine = Engine.start(patient(make_spec(0, 1, 5_000, GAP)), {0: events})
    engine.finish()
    assert engine.rewind(RewindTo(time_ms=2_400)).offsets == {0: 1}
    engine.log = {
        0: [*events[:2], Event(3_600, "a", 100, 1), Event(1_950, "a", 100, 1), *events[2:]]
    }
    engine.state.partitions[0].until = 6
    engine.finish()
    rows = {name[0]: row[0] for name, row in engine.rows().items()}
    assert rows == {0: 1, 2_000: 1, 3_600: 1, 9_000: 1, 20_000: 1}
    assert engine.views["fast"][2_000, "a"][0] >> 40 == 1


@pytest.mark.parametrize(
    ("asked", "floor"),
    [
        ("2026-03-29T12:00", "2026-03-28T23:00"),
        ("2026-03-29T22:00", "2026-03-29T22:00"),
        ("2026-03-28T22:59", "2026-03-27T23:00"),
        ("2031-01-01T00:00", "2026-04-01T22:00"),
    ],
)
def test_the_floor_of_days_is_where_the_local_day_begins(asked: str, floor: str) -> None:
    hours = [at("2026-03-27T00:00") + hour * 3_600_000 for hour in range(6 * 24)]
    engine = ended(BERLIN, hours)
    rewind = engine.rewind(RewindTo(time_ms=at(asked)))
    assert rewind.floor_ms == at(floor)
    assert rewind.offsets == {0: (at(floor) - hours[0]) // 3_600_000}
    engine.finish()
    assert engine.rows() == brute_force(engine.log, BERLIN)
    assert engine.state.ledger.below_floor == 0


def test_offsets_fix_the_floor_of_days_at_the_first_local_day_above() -> None:
    hours = [at("2026-03-28T00:00") + hour * 3_600_000 for hour in range(4 * 24)]
    engine = ended(BERLIN, hours)
    rewind = engine.rewind(RewindTo(offsets={0: 30}))
    assert (rewind.floor_ms, rewind.offsets) == (at("2026-03-29T22:00"), {0: 30})
    engine.finish()
    assert engine.rows() == brute_force(engine.log, BERLIN)
    assert engine.state.ledger.below_floor == 16


def test_days_are_gone_back_to_also_when_the_stream_went_on_since_they_were_looked_up() -> None:
    hours = [at("2026-03-27T00:00") + hour * 3_600_000 for hour in range(10 * 24)]
    engine = ended(BERLIN, hours[:96])
    windows, to = engine.plan_of_stream.windowing, RewindTo(time_ms=hours[-1])
    times = times_to_look_up(engine.state, engine.spec, windows, to)
    bounds = bounds_around(times, "Europe/Berlin", DAY_MS, 0)
    engine.log = {0: [Event(hour, "a", 100, 1) for hour in hours]}
    engine.state.partitions[0].until = len(hours)
    engine.finish()
    found = plan_rewind(engine.state, engine.spec, windows, to, {}, bounds).floor_ms
    assert found in bounds
    assert at("2026-03-29T22:00") <= found < hours[-1]


def test_days_that_nobody_looked_up_are_asked_for_again() -> None:
    engine = ended(BERLIN, [0])
    windows = engine.plan_of_stream.windowing
    with pytest.raises(UsageError, match="ask again"):
        plan_rewind(engine.state, engine.spec, windows, RewindTo(time_ms=0), {})
