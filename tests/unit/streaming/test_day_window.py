"""Windows of local days in the engine, with crashes, odd cuts and any order of completion."""

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stream import Window
from streaming.combine import WINDOW_END, WINDOW_START, combine, earliest_due
from streaming.firing import next_due_ms
from streaming.frame import from_bytes
from streaming.ledger import Ledger
from streaming.partial import FRESH, aggregate_events, merge_partials
from streaming.plan import compile_stream
from streaming.progress import open_windows
from streaming.window import END_OF_TIME_MS, PANE, PANE_END, windowing
from tests.unit.streaming.day_oracle import HOUR_MS
from tests.unit.streaming.engine import SINKS, Engine
from tests.unit.streaming.event_log import Event, Log, brute_force, make_spec, patient, to_frame
from tests.unit.streaming.test_engine_model import (
    STEP_LISTS,
    Steps,
    assert_late_output,
    canonical,
    logs,
    take,
)
from tests.unit.streaming.window_oracle import last_end_of
from tests.unit.streaming.window_strategy import BERLIN, STRETCH, at, day_windows, stretched


@settings(max_examples=30, deadline=None)
@given(
    log=logs(disorder_ms=800),
    drawn=day_windows(),
    allowed_ms=st.sampled_from([0, 3 * HOUR_MS]),
    max_records=st.sampled_from([1, 3, 7, 1000]),
    steps=STEP_LISTS,
    hidden=st.booleans(),
)
def test_days_are_those_of_brute_force_whatever_the_cuts_order_and_crashes(
    log: Log,
    drawn: tuple[Window, int],
    allowed_ms: int,
    max_records: int,
    steps: Steps,
    hidden: bool,
) -> None:
    window, base_ms = drawn
    log = stretched(log, base_ms)
    spec = patient(make_spec(800 * STRETCH, max_records, allowed_ms, window))
    engine = Engine.start(spec, log, hidden=hidden)
    take(engine, steps)
    assert_due(engine)
    engine.finish()
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(log), window)
    assert engine.state.ledger.balanced
    assert engine.state.ledger.late == 0
    assert open_windows(engine.state, windowing(window)) == 0


def assert_due(engine: Engine) -> None:
    """Hold what the workflow knows about its segments against what is in them."""
    windows = windowing(engine.window)
    ends = []
    for segment in engine.state.segments:
        panes = from_bytes(segment.blob.inline or b"").filter(FRESH)
        ends += [last_end_of(start_ms, engine.window) for start_ms in panes[PANE]]
    assert next_due_ms(engine.state, windows) == min(ends, default=None)
    open_count = open_windows(engine.state, windows)
    assert (open_count == 0) == (not ends)
    assert open_count >= len(set(ends)) - 1


@settings(max_examples=25, deadline=None)
@given(
    log=logs(disorder_ms=6_000),
    drawn=day_windows(),
    max_records=st.sampled_from([1, 4]),
    allowed_ms=st.sampled_from([0, 3 * HOUR_MS]),
    steps=STEP_LISTS,
)
def test_every_late_event_of_a_day_leaves_once_and_the_ledger_balances(
    log: Log, drawn: tuple[Window, int], max_records: int, allowed_ms: int, steps: Steps
) -> None:
    window, base_ms = drawn
    spec = make_spec(100 * STRETCH, max_records, allowed_ms, window)
    engine = Engine.start(spec, stretched(log, base_ms), hidden=True)
    take(engine, steps)
    engine.finish()
    ledger = engine.state.ledger
    assert ledger.balanced
    assert engine.rows("fast") == engine.rows("slow")
    assert sum(int(str(values[0])) for values in engine.rows().values()) == ledger.aggregated
    assert_late_output(engine)
    assert ledger.late == len(engine.judged)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_day_fires_at_its_own_end_and_shows_it(day: str, hours: int) -> None:
    plan = compile_stream(make_spec(0, 10, window=BERLIN))
    noon_ms = at(f"{day}T12:00")
    start_ms, end_ms = at(day) - (2 if hours == 25 else 1) * HOUR_MS, 0
    end_ms = start_ms + hours * HOUR_MS
    partial = aggregate_events(plan, to_frame([Event(noon_ms, "a", 100, 1)]), None)
    assert earliest_due(plan, partial.frame) == end_ms
    before = combine(plan, [partial.frame], end_ms - 1, None)
    assert before.emitted.is_empty()
    assert before.due_ms == end_ms
    fired = combine(plan, [before.kept], end_ms, None)
    row = fired.emitted.row(0, named=True)
    assert row[WINDOW_START] == datetime.fromtimestamp(start_ms // 1000, UTC)
    assert row[WINDOW_END] == datetime.fromtimestamp(end_ms // 1000, UTC)
    assert (fired.due_ms, fired.first_fresh_ms) == (None, None)
    assert combine(plan, [fired.kept], end_ms, end_ms).kept.is_empty()


def test_event_of_a_short_day_is_late_from_its_end_and_not_a_day_after_its_start() -> None:
    plan = compile_stream(make_spec(0, 10, window=BERLIN))
    end_ms = at("2026-03-29T22:00")
    frame = to_frame([Event(at("2026-03-29T12:00"), "a", 100, 1)])
    on_time = aggregate_events(plan, frame, end_ms - 1)
    assert on_time.ledger == Ledger(aggregated=1)
    late = aggregate_events(plan, frame, end_ms + 5)
    assert late.ledger == Ledger(late=1)
    assert late.late["late_by_ms"].to_list() == [5]


def test_day_beyond_what_a_table_holds_is_a_dead_letter() -> None:
    plan = compile_stream(make_spec(0, 10, window=BERLIN))
    events = [Event(ms, "a", 100, 1) for ms in (-(2**50), at("1900-01-01"), 2**50, 0)]
    partial = aggregate_events(plan, to_frame(events), None)
    assert [error.row for error in partial.errors] == [0, 1, 2]
    assert partial.ledger == Ledger(aggregated=1, dead_lettered=3)


def test_day_that_another_release_of_the_zones_ends_elsewhere_stays_one_row() -> None:
    plan = compile_stream(make_spec(0, 10, window=BERLIN))
    frame = aggregate_events(plan, to_frame([Event(0, "a", 100, 1)]), None).frame
    moved = frame.with_columns(pl.col(PANE_END) + HOUR_MS)
    merged = merge_partials(plan, [frame, moved])
    assert merged[PANE_END].to_list() == moved[PANE_END].to_list()
    emitted = combine(plan, [frame, moved], END_OF_TIME_MS, None).emitted
    assert emitted["n"].to_list() == [2]


def test_what_was_emitted_last_is_bounded_from_above() -> None:
    windows = windowing(BERLIN)
    for event_ms in (at("2026-03-29T12:00"), at("2026-10-25T12:00")):
        assert windows.last_window_end(event_ms) >= last_end_of(event_ms, BERLIN)
