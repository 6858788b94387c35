"""Sliding windows against brute force, with crashes, odd cuts and any order of completion."""

from collections import Counter
from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.field_type_parse import parse_field_type
from pipelines.stream import Window
from streaming.combine import WINDOW_START, combine
from streaming.field_dtype import polars_type
from streaming.partial import aggregate_events
from streaming.plan import compile_stream
from streaming.state import RangeTask
from streaming.watermark import firing_watermark
from streaming.window import END_OF_TIME_MS, PANE, windowing
from tests.unit.streaming.engine import SINKS, Engine
from tests.unit.streaming.event_log import Event, brute_force, make_spec, patient, to_frame
from tests.unit.streaming.test_engine_model import STEP_LISTS, Steps, canonical, logs, take
from tests.unit.streaming.window_oracle import windows_of
from tests.unit.streaming.window_strategy import sliding


@given(window=sliding(), at_ms=st.integers(-(10**13), 10**13))
def test_pane_knows_the_first_and_the_last_window_of_its_events(window: Window, at_ms: int) -> None:
    windows = windowing(window)
    pane_ms = windows.pane_start(at_ms)
    assert pane_ms <= at_ms < pane_ms + windows.pane_ms
    starts = windows_of(at_ms, window)
    assert windows.first_window_start(pane_ms) == min(starts)
    assert windows.first_window_end(pane_ms) == min(starts) + window.size_ms
    assert windows.last_window_end(pane_ms) == max(starts) + window.size_ms
    assert len(starts) <= windows.most_windows
    assert windows.ended_before(max(starts) + window.size_ms) == max(starts) + window.size_ms
    frame = pl.DataFrame({PANE: [pane_ms]}).select(
        first=windows.first_window_start(pl.col(PANE)), last=windows.last_window_end(pl.col(PANE))
    )
    assert frame.row(0) == (min(starts), max(starts) + window.size_ms)


@settings(max_examples=40, deadline=None)
@given(
    log=logs(disorder_ms=800),
    window=sliding(),
    allowed_ms=st.sampled_from([0, 300, 5_000]),
    max_records=st.sampled_from([1, 3, 7, 1000]),
    steps=STEP_LISTS,
    hidden=st.booleans(),
)
def test_sliding_windows_are_those_of_brute_force_whatever_the_cuts_order_and_crashes(
    log: dict[int, list[Event]],
    window: Window,
    allowed_ms: int,
    max_records: int,
    steps: Steps,
    hidden: bool,
) -> None:
    spec = patient(make_spec(800, max_records, allowed_ms, window))
    engine = Engine.start(spec, log, hidden=hidden)
    take(engine, steps)
    engine.finish()
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(log), window)
    assert engine.state.ledger.balanced
    assert engine.state.ledger.late == 0


@settings(max_examples=25, deadline=None)
@given(
    log=logs(disorder_ms=3_000),
    window=sliding(),
    allowed_ms=st.sampled_from([0, 400, 1_500]),
    max_records=st.sampled_from([1, 2, 5]),
    steps=STEP_LISTS,
)
def test_event_counts_in_every_window_that_had_time_for_it(
    log: dict[int, list[Event]], window: Window, allowed_ms: int, max_records: int, steps: Steps
) -> None:
    """Disorder beyond the bound.

    What counts for certain: windows that could still take the event when its range was planned.
    What may count as well: windows that another event made fire again.
    """
    engine = Witness.start(patient(make_spec(100, max_records, allowed_ms, window)), log)
    assert isinstance(engine, Witness)
    engine.pinned = {}
    take(engine, steps)
    engine.finish()
    certain: Counter[tuple[int, str]] = Counter()
    possible: Counter[tuple[int, str]] = Counter()
    late = 0
    for number, events in canonical(log).items():
        for offset, event in enumerate(events):
            pinned_ms = engine.pinned[number, offset]
            ends = {s + window.size_ms: s for s in windows_of(event.event_ms, window)}
            key = r"\N" if event.category is None else event.category
            taken = [
                start
                for end, start in ends.items()
                if pinned_ms is None or end + allowed_ms > pinned_ms
            ]
            late += not taken
            certain.update((start, key) for start in taken)
            possible.update((start, key) for start in ends.values() if taken)
    assert engine.state.ledger.late == late
    assert engine.state.ledger.balanced
    counts = {name: int(str(values[0])) for name, values in engine.rows().items()}
    for name, count in counts.items():
        assert certain[name] <= count <= possible[name]
    assert certain.keys() <= counts.keys()
    assert engine.rows("fast") == engine.rows("slow")


class Witness(Engine):
    """An engine that remembers the watermark which each record was judged against."""

    pinned: dict[tuple[int, int], int | None]

    def run_range(self, index: int) -> None:
        """Finish a range and note its pinned watermark."""
        if self.flying:
            task: RangeTask = self.flying[index % len(self.flying)]
            for offset in range(task.span.start, task.span.stop):
                self.pinned[task.span.partition, offset] = task.watermark_ms
        super().run_range(index)


@settings(max_examples=25, deadline=None)
@given(
    log=logs(disorder_ms=500),
    window=sliding(),
    cuts=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    max_records=st.sampled_from([2, 100]),
)
def test_bounded_runs_one_after_another_end_with_the_rows_of_one_run(
    log: dict[int, list[Event]], window: Window, cuts: list[int], max_records: int
) -> None:
    engine = Engine.start(patient(make_spec(10**6, max_records, 0, window)), log)
    for cut in [*sorted(cuts), 10**6]:
        for number, partition in engine.state.partitions.items():
            partition.until = partition.end = min(cut, len(log[number]))
        seen = {n: events[:cut] for n, events in log.items()}
        engine.log = seen
        engine.finish()
        assert engine.rows() == brute_force(canonical(seen), window)
        assert firing_watermark(engine.state) == END_OF_TIME_MS
    assert engine.state.ledger.late == 0


def rows_of(window: Window, events: list[Event], fired: list[int]) -> list[tuple[int, int]]:
    """Feed all events, fire up to each time in turn; give (fire time, window start)."""
    plan = compile_stream(make_spec(0, 10, 0, window))
    kept, fired_ms, shown = aggregate_events(plan, to_frame(events), None).frame, None, []
    for fire_ms in fired:
        combined = combine(plan, [kept], fire_ms, None, fired_ms)
        starts = combined.emitted[WINDOW_START].dt.epoch("ms").to_list()
        shown += [(fire_ms, start) for start in starts]
        kept, fired_ms = combined.kept, fire_ms
    return shown


def test_each_window_fires_once_when_its_end_is_reached() -> None:
    window = Window(kind="sliding", size_ms=1_000, slide_ms=400)
    shown = rows_of(window, [Event(-1, "a", 1, 1)], [0, 199, 200, 200, 599, 600, 9_000])
    assert shown == [(200, -800), (600, -400)]


@pytest.mark.parametrize(("allowed_ms", "revised"), [(0, [400]), (100, [0, 400])])
def test_event_is_shown_only_in_windows_that_had_not_passed_their_time(
    allowed_ms: int, revised: list[int]
) -> None:
    """The event at 500 comes at watermark 1,000: the window from 0 has ended, that from 400 not."""
    window = Window(kind="sliding", size_ms=1_000, slide_ms=400)
    plan = compile_stream(make_spec(0, 10, allowed_ms, window))
    first = combine(
        plan, [aggregate_events(plan, to_frame([Event(450, "a", 1, 1)]), None).frame], 1_000, 1_000
    )
    fresh = aggregate_events(plan, to_frame([Event(500, "a", 1, 2)]), 1_000).frame
    second = combine(plan, [first.kept, fresh], 1_400, 1_400, 1_000)
    assert second.emitted[WINDOW_START].dt.epoch("ms").to_list() == revised
    assert second.emitted["n"].to_list() == [2] * len(revised)


def test_windows_across_a_long_gap_take_no_memory() -> None:
    window = Window(kind="sliding", size_ms=60_000, slide_ms=1_000)
    plan = compile_stream(make_spec(0, 10, 0, window))
    events = [Event(-(10**12), "a", 1, 1), Event(10**12, "b", 1, 1)]
    frame = aggregate_events(plan, to_frame(events), None).frame
    assert combine(plan, [frame], END_OF_TIME_MS, None).emitted.height == 120


VALUES: dict[str, st.SearchStrategy[object]] = {
    "string?": st.none() | st.text(alphabet="ab", max_size=2),
    "int64?": st.none() | st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1]),
    "int32?": st.none() | st.integers(-3, 3),
    "bool?": st.none() | st.booleans(),
    "date?": st.none() | st.dates(date(2020, 1, 1), date(2020, 1, 4)),
    "decimal(12,2)?": st.none() | st.decimals(-1, 1, places=1),
}


@pytest.mark.parametrize("kind", list(VALUES))
@settings(max_examples=15, deadline=None)
@given(window=sliding(), data=st.data())
def test_distinct_values_of_any_type_are_counted_per_window(
    kind: str, window: Window, data: st.DataObject
) -> None:
    spec = make_spec(0, 10, 0, window).model_copy(
        update={
            "fields": {"at": "timestamp_ms", "v": kind},
            "group_by": [],
            "aggregate": {"seen": "count(distinct v)"},
        }
    )
    plan = compile_stream(spec)
    events = data.draw(st.lists(st.tuples(st.integers(-4_000, 4_000), VALUES[kind]), min_size=1))
    times, values = zip(*events, strict=True)
    frame = pl.DataFrame(
        {
            "at": pl.Series(times).cast(pl.Datetime("ms", "UTC")),
            "v": pl.Series(values, dtype=polars_type(parse_field_type(kind))),
        }
    )
    emitted = combine(plan, [aggregate_events(plan, frame, None).frame], END_OF_TIME_MS, None)
    expected: dict[int, set[object]] = {}
    for at_ms, value in events:
        for start_ms in windows_of(at_ms, window):
            expected.setdefault(start_ms, set()).update([] if value is None else [value])
    rows = emitted.emitted.select(pl.col(WINDOW_START).dt.epoch("ms"), "seen").rows()
    assert dict(rows) == {start_ms: len(found) for start_ms, found in expected.items()}
