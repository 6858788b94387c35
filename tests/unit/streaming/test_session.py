"""Session windows against brute force, with crashes, odd cuts and any order of completion."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stream import Window
from streaming.combine import DELETED, KEY, WINDOW_END, WINDOW_START, combine
from streaming.group_key import MAX_END_MS, MIN_START_MS
from streaming.partial import aggregate_events, merge_partials
from streaming.plan import compile_stream
from streaming.state import PartitionState
from streaming.window import END_OF_TIME_MS, PANE, PANE_END
from tests.unit.streaming.engine import SINKS, Engine
from tests.unit.streaming.event_log import Event, Log, brute_force, make_spec, patient, to_frame
from tests.unit.streaming.test_aggregate_family import CALLS, FIELDS, LOGS, Row, frame_of, placed
from tests.unit.streaming.test_engine_model import (
    STEP_LISTS,
    Steps,
    assert_late_output,
    canonical,
    logs,
    take,
)
from tests.unit.streaming.window_oracle import sessions_of
from tests.unit.streaming.window_strategy import GAP, sessions

KEYS = st.sampled_from(["a", "b", None])
EVENTS = st.lists(
    st.builds(Event, st.integers(-3_000, 6_000), KEYS, st.integers(-99, 99), st.integers(0, 3)),
    max_size=40,
)


def on_time(engine: Engine) -> Log:
    """Leave out what was judged late when its range was planned, in plain Python."""
    return {
        n: [e for offset, e in enumerate(events) if (n, offset) not in engine.judged]
        for n, events in engine.log.items()
    }


@pytest.mark.timeout(240)
@settings(max_examples=30, deadline=None)
@given(
    log=logs(disorder_ms=800),
    window=sessions(),
    allowed_ms=st.sampled_from([0, 300, 5_000]),
    max_records=st.sampled_from([1, 3, 7, 1000]),
    steps=STEP_LISTS,
    hidden=st.booleans(),
)
def test_sessions_are_those_of_brute_force_whatever_the_cuts_order_and_crashes(
    log: Log, window: Window, allowed_ms: int, max_records: int, steps: Steps, hidden: bool
) -> None:
    spec = patient(make_spec(800, max_records, allowed_ms, window))
    engine = Engine.start(spec, log, hidden=hidden)
    take(engine, steps)
    engine.finish()
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(log), window)
    assert engine.state.ledger.balanced
    assert engine.state.ledger.late == 0


@pytest.mark.timeout(240)
@settings(max_examples=40, deadline=None)
@given(
    log=logs(disorder_ms=3_000),
    window=sessions(),
    allowed_ms=st.sampled_from([0, 300, 700, 2_000]),
    max_records=st.sampled_from([1, 2, 4]),
    steps=STEP_LISTS,
)
def test_beyond_the_bound_of_disorder_sessions_are_those_of_all_events_on_time(
    log: Log, window: Window, allowed_ms: int, max_records: int, steps: Steps
) -> None:
    engine = Engine.start(make_spec(100, max_records, allowed_ms, window), log, hidden=True)
    take(engine, steps)
    engine.finish()
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(on_time(engine)), window)
    assert engine.state.ledger.balanced
    assert engine.state.ledger.late == len(engine.judged)
    assert_late_output(engine)


@pytest.mark.timeout(240)
@settings(max_examples=30, deadline=None)
@given(
    log=logs(disorder_ms=1_500),
    more=logs(disorder_ms=1_500),
    window=sessions(),
    allowed_ms=st.sampled_from([0, 2_000]),
    max_records=st.sampled_from([1, 3, 1000]),
    steps=STEP_LISTS,
)
def test_a_run_that_goes_on_after_the_end_of_a_bounded_one_shows_sessions_anew(
    log: Log, more: Log, window: Window, allowed_ms: int, max_records: int, steps: Steps
) -> None:
    spec = patient(make_spec(1_500, max_records, allowed_ms, window))
    engine = Engine.start(spec, log)
    engine.finish()
    assert engine.rows() == brute_force(canonical(log), window)
    for number, events in more.items():
        engine.log.setdefault(number, []).extend(events)
        start = len(engine.log[number]) - len(events)
        known = engine.state.partitions.setdefault(
            number, PartitionState(cursor=0, planned=0, end=0)
        )
        assert known.cursor == start
    for number, partition in engine.state.partitions.items():
        partition.until = len(engine.log[number])
        engine.shown.setdefault(number, 0)
    take(engine, steps)
    engine.finish()
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(on_time(engine)), window)
    assert engine.state.ledger.late == len(engine.judged)


@pytest.mark.timeout(240)
@settings(max_examples=30, deadline=None)
@given(events=EVENTS, window=sessions(), cuts=st.lists(st.integers(0, 40), max_size=6))
def test_partials_of_any_cut_and_order_merge_to_the_sessions_of_all_events(
    events: list[Event], window: Window, cuts: list[int]
) -> None:
    plan = compile_stream(make_spec(0, 1, window=window))
    bounds = [0, *sorted(min(c, len(events)) for c in cuts), len(events)]
    parts = [
        aggregate_events(plan, to_frame(events[low:high], low), None).frame
        for low, high in pairwise(bounds)
    ]
    merged = merge_partials(plan, parts[::-1])
    whole = aggregate_events(plan, to_frame(events), None).frame
    assert merged.equals(whole.select(merged.columns))
    combined = combine(plan, [merged], END_OF_TIME_MS, None)
    assert combined.due_ms is None
    emitted = combined.emitted.select(pl.col(WINDOW_START, WINDOW_END).dt.epoch("ms"), KEY)
    found = {(start_ms, key): end_ms for start_ms, end_ms, key in emitted.iter_rows()}
    assert found == ends_of(events, window)


def ends_of(events: list[Event], window: Window) -> dict[tuple[int, str], int]:
    """Give the end of every session in plain Python."""
    keyed = defaultdict(list)
    for event in events:
        keyed[r"\N" if event.category is None else event.category].append(event.event_ms)
    ends: dict[tuple[int, str], int] = {}
    for key, times in keyed.items():
        for at_ms, start_ms in sorted(sessions_of(times, window).items()):
            end_ms = at_ms + window.size_ms
            if window.max_length_ms is not None:
                end_ms = min(end_ms, (at_ms // window.max_length_ms + 1) * window.max_length_ms)
                assert end_ms - start_ms <= window.max_length_ms
            ends[start_ms, key] = end_ms
    return ends


@pytest.mark.timeout(240)
@settings(max_examples=15, deadline=None)
@given(log=LOGS, size=st.sampled_from([1, 3, 10]))
def test_every_aggregate_of_sessions_is_the_same_whatever_the_cuts(
    log: list[tuple[int, Row]], size: int
) -> None:
    shape = {"fields": FIELDS, "group_by": ["key"], "aggregate": CALLS}
    plan = compile_stream(make_spec(0, 10, window=GAP).model_copy(update=shape))
    rows = frame_of(placed([(0, row) for _, row in log]))
    whole = aggregate_events(plan, rows, None).frame
    parts = [aggregate_events(plan, part, None).frame for part in rows.iter_slices(size)]
    assert combine(plan, [whole], END_OF_TIME_MS, None).emitted.equals(
        combine(plan, parts or [whole], END_OF_TIME_MS, None).emitted
    )


@pytest.mark.parametrize("far_ms", [10**6, 2**61])
def test_sessions_are_told_apart_also_when_their_keys_are_ages_apart(far_ms: int) -> None:
    """The quick way to a running maximum counts in 64 bits, and is left where they are too few."""
    plan = compile_stream(make_spec(0, 1, window=GAP))
    now, soon = (
        aggregate_events(plan, to_frame([Event(ms, k, 1, 1) for k in "abcdefgh"]), None, 0).frame
        for ms in (0, 400)
    )
    far = now.filter(pl.col("category") == "h").with_columns(pl.col(PANE, PANE_END) + far_ms)
    merged = merge_partials(plan, [now, soon, far])
    assert merged.select(PANE, "category", "a0").rows() == [
        *((0, key, 2) for key in "abcdefgh"), (far_ms, "h", 1),
    ]  # fmt: skip


def at(*times_ms: int) -> pl.DataFrame:
    """Aggregate events of one key into a partial each run."""
    plan = compile_stream(make_spec(0, 1, window=GAP))
    return aggregate_events(plan, to_frame([Event(t, "a", 100, 1) for t in times_ms]), None).frame


def rows_of(emitted: pl.DataFrame) -> list[tuple[int, int, bool]]:
    """Give start, number of events and whether it is a tombstone."""
    frame = emitted.select(pl.col(WINDOW_START).dt.epoch("ms"), "n", DELETED)
    return list(frame.iter_rows())


def test_neighbours_exactly_a_gap_apart_are_one_session_and_a_millisecond_more_makes_two() -> None:
    assert at(0, 500, 1_001).select(PANE, PANE_END).rows() == [(0, 1_000), (1_001, 1_501)]


def test_a_session_fires_once_the_watermark_is_beyond_its_end() -> None:
    plan = compile_stream(make_spec(0, 1, window=GAP))
    waiting = combine(plan, [at(0, 100)], 600, 600)
    assert waiting.emitted.is_empty()
    assert (waiting.due_ms, waiting.unshown) == (601, 1)
    fired = combine(plan, [waiting.kept], 601, 601)
    assert rows_of(fired.emitted) == [(0, 2, False)]
    assert (fired.due_ms, fired.unshown) == (None, 0)


def test_a_bridge_between_two_shown_sessions_leaves_one_row_and_one_tombstone() -> None:
    plan = compile_stream(make_spec(0, 1, 5_000, window=GAP))
    shown = combine(plan, [at(0, 900)], 2_000, 2_000)
    assert rows_of(shown.emitted) == [(0, 1, False), (900, 1, False)]
    bridged = combine(plan, [shown.kept, at(450)], 2_000, 2_000)
    assert rows_of(bridged.emitted) == [(0, 3, False), (900, 3, True)]
    again = combine(plan, [bridged.kept, at(-100)], 2_000, 2_000)
    assert rows_of(again.emitted) == [(-100, 4, False), (0, 4, True)]
    assert combine(plan, [again.kept], 9_000, 2_000).emitted.is_empty()


def test_a_start_that_no_sink_was_shown_leaves_no_tombstone() -> None:
    plan = compile_stream(make_spec(0, 1, 5_000, window=GAP))
    moved = combine(plan, [combine(plan, [at(900)], 1_000, 1_000).kept, at(450)], 2_000, 2_000)
    assert rows_of(moved.emitted) == [(450, 2, False)]


def test_a_session_that_was_shown_and_then_grows_into_open_ones_hides_with_them_in_one_flush() -> (
    None
):
    plan = compile_stream(make_spec(0, 1, 5_000, window=GAP))
    shown = combine(plan, [at(0)], 600, 600)
    grown = combine(plan, [shown.kept, at(400, 800), at(-200)], 1_200, 1_200)
    assert grown.emitted.is_empty()
    closed = combine(plan, [grown.kept], 1_301, 1_301)
    assert rows_of(closed.emitted) == [(-200, 4, False), (0, 4, True)]


def test_a_shown_session_is_kept_while_an_event_on_time_may_touch_it() -> None:
    plan = compile_stream(make_spec(0, 1, window=GAP))
    shown = combine(plan, [at(0)], 999, 999)
    assert shown.kept.height == 1
    on_time = aggregate_events(plan, to_frame([Event(500, "a", 100, 1)]), 999)
    assert on_time.ledger.late == 0
    assert rows_of(combine(plan, [shown.kept, on_time.frame], 1_001, 999).emitted) == [
        (0, 2, False)
    ]
    assert aggregate_events(plan, to_frame([Event(500, "a", 1, 1)]), 1_000).ledger.late == 1
    assert combine(plan, [shown.kept], 1_000, 1_000).kept.is_empty()


def test_a_cut_ends_a_session_on_both_sides_whenever_the_other_events_come() -> None:
    window = GAP.model_copy(update={"max_length_ms": 1_000})
    plan = compile_stream(make_spec(0, 1, window=window))
    events = [Event(t, "a", 100, 1) for t in (700, 999, 1_000, 1_300)]
    frames = [aggregate_events(plan, to_frame([e]), None).frame for e in events[::-1]]
    emitted = combine(plan, frames, END_OF_TIME_MS, None).emitted
    assert rows_of(emitted) == [(700, 2, False), (1_000, 2, False)]
    assert emitted[WINDOW_END].dt.epoch("ms").to_list() == [1_000, 1_800]
    assert combine(plan, frames, 1_000, None).due_ms == 1_001
    at_the_cut = combine(plan, frames, 1_001, None)
    assert rows_of(at_the_cut.emitted) == [(700, 2, False)]
    assert at_the_cut.due_ms == 1_801
    assert plan.windowing.whole_ms(1_001) == 1_000


def test_an_event_whose_session_reaches_beyond_what_tables_hold_is_a_dead_letter() -> None:
    plan = compile_stream(make_spec(0, 1, window=GAP))
    times = (MAX_END_MS - 600, MAX_END_MS - 499, MIN_START_MS - 1, MIN_START_MS)
    partial = aggregate_events(plan, to_frame([Event(t, "a", 100, 1) for t in times]), None)
    assert [error.row for error in partial.errors] == [1, 2]
    assert partial.frame[PANE].to_list() == [MIN_START_MS, MAX_END_MS - 600]
    assert (partial.ledger.aggregated, partial.ledger.dead_lettered) == (2, 2)


def test_very_many_keys_far_apart_in_time_are_told_apart() -> None:
    # Key number times span of time is beyond 64 bits.
    changes = {"group_by": ["customer"], "aggregate": {"n": "count(*)"}}
    spec = make_spec(0, 1, window=GAP).model_copy(update=changes)
    plan = compile_stream(spec)
    count = 500_000
    frame = pl.DataFrame({"customer": range(count)}).select(
        pl.lit(0).cast(pl.Datetime("ms", "UTC")).alias("at"),
        pl.lit("a").alias("category"), pl.lit(1).cast(pl.Decimal(12, 2)).alias("amount"),
        "customer", pl.col("customer").alias("_offset"),
    )  # fmt: skip
    far = frame.head(2).with_columns(pl.lit(10**13).cast(pl.Datetime("ms", "UTC")).alias("at"))
    sessions = aggregate_events(plan, pl.concat([frame, frame.tail(9), far]), None).frame
    assert sessions.height == count + 2
    assert sessions.filter(pl.col(PANE) > 0).height == 2


def test_the_order_of_equal_times_of_two_partitions_moves_nothing() -> None:
    log = {0: [Event(0, "a", 1, 1)], 1: [Event(0, "a", 2, 2), Event(400, "a", 3, 0)]}
    swapped = {n: [replace(e) for e in events] for n, events in sorted(log.items(), reverse=True)}
    found = []
    for one in (log, swapped):
        engine = Engine.start(make_spec(0, 1, window=GAP), one)
        engine.finish()
        found.append(engine.rows())
    assert found[0] == found[1] == brute_force(log, GAP)
