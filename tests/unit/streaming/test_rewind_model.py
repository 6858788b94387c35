"""Rewinds of the engine against brute force, at any moment, with crashes and any order."""

import copy
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import OffsetLostError, UsageError
from pipelines.stream import Window
from streaming.rewind import plan_rewind
from streaming.status import RewindTo
from tests.unit.streaming.engine import SINKS, Engine, View
from tests.unit.streaming.event_log import Event, Log, brute_force, make_spec, patient
from tests.unit.streaming.test_engine_model import STEP_LISTS, Steps, canonical, logs, take
from tests.unit.streaming.window_strategy import ALIGNED

TIMES = st.builds(RewindTo, time_ms=st.integers(-8_000, 25_000))
OFFSETS = st.builds(
    RewindTo, offsets=st.dictionaries(st.integers(0, 2), st.integers(0, 30), min_size=1)
)
ENDS = st.booleans()
"""Whether a run goes on to its end, so that there is much to go back over."""

REWINDS = st.lists(st.tuples(TIMES | OFFSETS, STEP_LISTS, ENDS), min_size=1, max_size=3)


def go_back(engine: Engine, to: RewindTo) -> int | None:
    """Rewind if it can be; gives the floor."""
    try:
        return engine.rewind(to).floor_ms
    except UsageError:
        return None


def settled(engine: Engine) -> View:
    """Give the view once all is written that was frozen so far."""
    later = copy.deepcopy(engine)
    while later.state.flushes:
        for number in range(len(SINKS)):
            later.write(number)
    return later.views["fast"]


@settings(max_examples=60, deadline=None)
@given(
    log=logs(disorder_ms=800),
    window=ALIGNED,
    max_records=st.sampled_from([1, 3, 7, 1000]),
    allowed_ms=st.sampled_from([0, 700]),
    before=STEP_LISTS,
    ended=ENDS,
    rewinds=REWINDS,
    hidden=st.booleans(),
)
def test_rewinds_at_any_moment_change_nothing_of_what_a_run_without_them_gives(
    log: Log,
    window: Window,
    max_records: int,
    allowed_ms: int,
    before: Steps,
    ended: bool,
    rewinds: list[tuple[RewindTo, Steps, bool]],
    hidden: bool,
) -> None:
    engine = Engine.start(
        patient(make_spec(800, max_records, allowed_ms, window)), log, hidden=hidden
    )
    take(engine, before)
    if ended:
        engine.finish()
    for to, steps, ends in rewinds:
        go_back(engine, to)
        take(engine, steps)
        if ends:
            engine.finish()
    engine.finish()
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(log), window)
    assert engine.state.ledger.balanced
    assert engine.state.ledger.late == 0


@settings(max_examples=60, deadline=None)
@given(
    log=logs(disorder_ms=800),
    window=ALIGNED,
    max_records=st.sampled_from([1, 3, 7]),
    before=STEP_LISTS,
    ended=ENDS,
    rewinds=REWINDS,
)
def test_keys_that_no_longer_occur_disappear_from_the_floor_on(
    log: Log,
    window: Window,
    max_records: int,
    before: Steps,
    ended: bool,
    rewinds: list[tuple[RewindTo, Steps, bool]],
) -> None:
    engine = Engine.start(patient(make_spec(800, max_records, 0, window)), log, hidden=True)
    take(engine, before)
    if ended:
        engine.finish()
    expected = brute_force(canonical(log), window)
    for number, (to, steps, ends) in enumerate(rewinds):
        floor_ms = go_back(engine, to)
        if floor_ms is not None:
            gone: dict[str | None, str | None]
            gone = {"a": None, "b": "c"} if number % 2 else {"a": "b", None: "d"}
            engine.log = {
                n: [replace(e, category=gone.get(e.category, e.category)) for e in events]
                for n, events in engine.log.items()
            }
            kept = {name: row for name, row in expected.items() if name[0] < floor_ms}
            anew = brute_force(canonical(engine.log), window)
            expected = kept | {name: row for name, row in anew.items() if name[0] >= floor_ms}
        take(engine, steps)
        if ends:
            engine.finish()
    engine.finish()
    for sink in SINKS:
        assert engine.rows(sink) == expected


@settings(max_examples=40, deadline=None)
@given(
    log=logs(disorder_ms=3_000),
    max_records=st.sampled_from([1, 4]),
    allowed_ms=st.sampled_from([0, 700]),
    before=STEP_LISTS,
    ended=ENDS,
    to=TIMES | OFFSETS,
    after=STEP_LISTS,
)
def test_with_late_events_windows_before_the_floor_stay_and_the_others_hold_what_was_aggregated(
    log: Log,
    max_records: int,
    allowed_ms: int,
    before: Steps,
    ended: bool,
    to: RewindTo,
    after: Steps,
) -> None:
    engine = Engine.start(make_spec(100, max_records, allowed_ms), log, hidden=True)
    take(engine, before)
    if ended:
        engine.finish()
    at_rewind = settled(engine)
    floor_ms = go_back(engine, to)
    if floor_ms is None:
        return
    take(engine, after)
    engine.finish()
    old = {name: values for name, (_, values) in at_rewind.items() if name[0] < floor_ms and values}
    rows = engine.rows()
    assert engine.rows("slow") == rows
    assert {name: row for name, row in rows.items() if name[0] < floor_ms} == old
    ledger = engine.state.ledger
    assert ledger.balanced
    counted = sum(int(str(row[0])) for name, row in rows.items() if name[0] >= floor_ms)
    assert counted == ledger.aggregated


def seconds(count: int, categories: str = "ab") -> list[Event]:
    """Make one event of each category in every second."""
    return [Event(at * 1_000 + 10, key, 100, 1) for at in range(count) for key in categories]


def test_a_rewind_reads_again_from_the_last_offset_that_is_far_enough_and_no_more() -> None:
    log = {0: seconds(20)}
    engine = Engine.start(make_spec(0, 4), log)
    engine.finish()
    rewind = engine.rewind(RewindTo(time_ms=10_500))
    assert (rewind.floor_ms, rewind.offsets) == (10_000, {0: 20})
    engine.finish()
    assert engine.rows() == brute_force(log)
    ledger = engine.state.ledger
    assert (ledger.consumed, ledger.aggregated, ledger.below_floor) == (20, 20, 0)
    assert engine.state.retiring is None


def test_what_is_read_again_and_lies_below_the_floor_is_counted_so() -> None:
    log = {0: seconds(20)}
    engine = Engine.start(make_spec(0, 10), log)
    engine.finish()
    engine.rewind(RewindTo(time_ms=12_000))
    engine.finish()
    ledger = engine.state.ledger
    assert (ledger.consumed, ledger.aggregated, ledger.below_floor) == (20, 16, 4)
    assert ledger.balanced
    assert engine.rows() == brute_force(log)


def test_offsets_fix_the_first_boundary_above_what_was_before_them() -> None:
    log = {0: seconds(20), 1: seconds(20)}
    engine = Engine.start(make_spec(0, 8), log)
    engine.finish()
    rewind = engine.rewind(RewindTo(offsets={0: 17}))
    assert rewind.offsets == {0: 16, 1: 16}
    assert rewind.floor_ms == 8_000
    engine.finish()
    assert engine.rows() == brute_force(log)


def test_records_that_the_log_no_longer_has_refuse_a_rewind_that_needs_them() -> None:
    engine = Engine.start(make_spec(0, 8), {0: seconds(20)})
    engine.finish()
    windows = engine.plan_of_stream.windowing
    to = RewindTo(time_ms=9_000)
    assert plan_rewind(engine.state, engine.spec, windows, to, {0: 16}).offsets == {0: 16}
    with pytest.raises(OffsetLostError, match="0 from 16 on in topic `events`, got 0 from 17"):
        plan_rewind(engine.state, engine.spec, windows, to, {0: 17})


def test_a_stream_that_kept_no_index_begins_again_at_the_beginning_of_its_log() -> None:
    log = {0: seconds(20)}
    engine = Engine.start(make_spec(0, 8), log)
    engine.finish()
    engine.state.partitions[0].index = []
    engine.state.emitted_ms = None
    assert engine.rewind(RewindTo(time_ms=9_000)).offsets == {0: 0}
    engine.log = {0: seconds(20, "ac")}
    engine.finish()
    kept = {name: row for name, row in brute_force(log).items() if name[0] < 9_000}
    anew = brute_force(engine.log)
    assert engine.rows() == kept | {name: row for name, row in anew.items() if name[0] >= 9_000}


def test_a_higher_floor_does_not_forget_what_lies_between_the_two() -> None:
    engine = Engine.start(make_spec(0, 4), {0: seconds(20)}, hidden=True)
    engine.finish()
    engine.rewind(RewindTo(time_ms=5_000))
    engine.log = {0: seconds(20, "ac")}
    for _ in range(6):
        engine.plan()
        engine.run_range(0)
        engine.merge()
        if engine.state.watermark_ms is not None and engine.state.watermark_ms > 12_000:
            break
        engine.begin_combine()
        engine.end_combine()
    second = engine.rewind(RewindTo(time_ms=9_000)).floor_ms
    engine.finish()
    assert second is not None
    assert second <= 9_000
    found = {name: values[0] for name, values in engine.rows().items()}
    expected = {(at * 1_000, key): 1 for at in range(5) for key in "ab"}
    expected |= {(at * 1_000, key): 1 for at in range(5, 20) for key in "ac"}
    assert found == expected
