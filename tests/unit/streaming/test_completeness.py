"""Up to where results are whole, against what a reader of the sinks sees."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stream import Window
from streaming.completeness import (
    complete_when_fired,
    note_completeness,
    restart_completeness,
    sink_complete_ms,
    stream_complete_ms,
)
from streaming.progress import CombineResult, next_combine, take_combined, take_flushed
from streaming.state import Retiring, StreamState
from streaming.status import RewindTo
from streaming.window import END_OF_TIME_MS
from tests.unit.streaming.engine import SINKS, Engine
from tests.unit.streaming.event_log import SIZE_MS, Log, brute_force, make_spec, patient
from tests.unit.streaming.state_maker import (
    WINDOWS,
    blob,
    flush,
    partition,
    segment,
    spec_with,
    state_of,
)
from tests.unit.streaming.test_engine_model import STEP_LISTS, Steps, canonical, logs, take
from tests.unit.streaming.test_rewind_kinds import change_keys
from tests.unit.streaming.test_rewind_model import REWINDS, go_back
from tests.unit.streaming.window_strategy import ALIGNED


def test_time_without_rows_counts_and_a_window_that_waits_does_not() -> None:
    state = state_of(partition(end=9))
    note_completeness(state, WINDOWS)
    assert stream_complete_ms(state) is None
    state.watermark_ms = 5_400
    note_completeness(state, WINDOWS)
    assert state.complete_ms == 5_400
    state.segments, state.fresh_segments = [segment(6_000, 6_000)], 1
    state.watermark_ms = 9_000
    note_completeness(state, WINDOWS)
    assert state.complete_ms == 6_999


def test_a_revision_of_an_old_window_takes_nothing_back() -> None:
    state = state_of(partition(end=9))
    state.watermark_ms = state.complete_ms = 9_000
    state.segments, state.fresh_segments = [segment(1_000, 1_000)], 1
    note_completeness(state, WINDOWS)
    assert state.complete_ms == 9_000
    task = next_combine(state, spec_with(), WINDOWS)
    assert task is not None
    take_combined(
        state,
        task.model_copy(update={"fire_ms": 2_000, "whole_ms": 2_000}),
        CombineResult(emitted=blob()),
    )
    assert [one.complete_ms for one in state.flushes] == [9_000]


def test_the_end_of_a_bounded_run_is_whole_up_to_the_watermark() -> None:
    state = state_of(partition(cursor=9, until=9))
    state.watermark_ms = 4_000
    state.segments, state.fresh_segments = [segment(3_000, 3_000)], 1
    task = next_combine(state, spec_with(), WINDOWS)
    assert task is not None
    assert task.fire_ms == END_OF_TIME_MS
    take_combined(state, task, CombineResult(emitted=blob()))
    assert state.flushes[0].complete_ms == 4_000


def test_a_sink_is_whole_up_to_its_last_flush_and_the_stream_up_to_its_slowest() -> None:
    state = state_of(partition(), sinks=("fast", "slow"))
    fast, slow = state.sinks
    state.complete_ms = 9_000
    state.flushes = [flush(n).model_copy(update={"complete_ms": n * 1_000}) for n in range(1, 4)]
    assert stream_complete_ms(state) is None
    for number in (1, 2, 3):
        take_flushed(state, "fast", number)
    assert (sink_complete_ms(state, fast), stream_complete_ms(state)) == (9_000, None)
    take_flushed(state, "slow", 1)
    assert (sink_complete_ms(state, fast), sink_complete_ms(state, slow)) == (9_000, 1_000)
    assert (fast.published_ms, slow.published_ms) == (3_000, 1_000)
    assert stream_complete_ms(state) == 1_000


@settings(max_examples=80, deadline=None)
@given(log=logs(disorder_ms=800), max_records=st.sampled_from([1, 7]), steps=STEP_LISTS)
def test_what_is_told_to_be_whole_is_whole_in_the_view_and_never_goes_back(
    log: Log, max_records: int, steps: Steps
) -> None:
    spec = make_spec(800, max_records)
    patient = spec.event_time.model_copy(update={"idle_timeout_ms": None})
    engine = Engine.start(spec.model_copy(update={"event_time": patient}), log, hidden=True)
    expected = brute_force(canonical(log))
    before: dict[str, int] = {}
    for step in steps:
        take(engine, [step])
        note_completeness(engine.state, engine.plan_of_stream.windowing)
        for cursor in engine.state.sinks:
            told = sink_complete_ms(engine.state, cursor)
            if told is None:
                assert cursor.name not in before
                continue
            assert told >= before.get(cursor.name, told)
            before[cursor.name] = told
            whole = {at: row for at, row in expected.items() if at[0] + SIZE_MS <= told}
            shown = engine.rows(cursor.name)
            assert {at: shown.get(at) for at in whole} == whole
    assert set(before) <= set(SINKS)


@pytest.mark.timeout(240)
@settings(max_examples=40, deadline=None)
@given(
    log=logs(disorder_ms=800),
    window=ALIGNED,
    max_records=st.sampled_from([1, 7]),
    before=STEP_LISTS,
    ended=st.booleans(),
    rewinds=REWINDS,
)
def test_after_a_rewind_what_is_told_to_be_whole_goes_back_to_the_floor_and_is_whole_again(
    log: Log,
    window: Window,
    max_records: int,
    before: Steps,
    ended: bool,
    rewinds: list[tuple[RewindTo, Steps, bool]],
) -> None:
    """Keys disappear from the log with each rewind: their old rows may not be told to be whole."""
    engine = Engine.start(patient(make_spec(800, max_records, 0, window)), log, hidden=True)
    expected = brute_force(canonical(engine.log), window)
    told: dict[str, int] = {}
    check_each_step(engine, before, expected, told)
    if ended:
        engine.finish()
    for number, (to, steps, ends) in enumerate(rewinds):
        floor_ms = go_back(engine, to)
        if floor_ms is not None:
            for cursor in engine.state.sinks:
                after_ms = sink_complete_ms(engine.state, cursor)
                assert after_ms is None or after_ms <= floor_ms
                assert cursor.published_ms is None
            change_keys(engine, number)
            kept = {name: row for name, row in expected.items() if name[0] < floor_ms}
            anew = brute_force(canonical(engine.log), window)
            expected = kept | {name: row for name, row in anew.items() if name[0] >= floor_ms}
            told = {}
        check_each_step(engine, steps, expected, told)
        if ends:
            engine.finish()
            check_each_step(engine, [("merge", 0)], expected, told)
    engine.finish()
    note_completeness(engine.state, engine.plan_of_stream.windowing)
    assert stream_complete_ms(engine.state) == engine.state.complete_ms


def check_each_step(
    engine: Engine,
    steps: Steps,
    expected: dict[tuple[int, str], tuple[object, ...]],
    told: dict[str, int],
) -> None:
    """Hold what each sink is told after each step against its view: no row less, none more."""
    for step in steps:
        take(engine, [step])
        note_completeness(engine.state, engine.plan_of_stream.windowing)
        for cursor in engine.state.sinks:
            now_ms = sink_complete_ms(engine.state, cursor)
            if now_ms is None:
                assert cursor.name not in told
                continue
            assert now_ms >= told.get(cursor.name, now_ms)
            told[cursor.name] = now_ms
            size_ms = engine.window.size_ms
            shown = engine.rows(cursor.name)
            assert {at: row for at, row in shown.items() if at[0] + size_ms <= now_ms} == {
                at: row for at, row in expected.items() if at[0] + size_ms <= now_ms
            }


def rewound(done_ms: int | None) -> StreamState:
    """Give a state of epoch 2 that has rows of epoch 1 to take back from 2,000 to 9,000."""
    state = state_of(partition(end=9), sinks=("fast", "slow"))
    state.epoch, state.floor_ms, state.watermark_ms = 2, 2_000, 6_000
    state.retiring = Retiring(since_epoch=1, until_ms=9_000, done_ms=done_ms)
    return state


@pytest.mark.parametrize(("done_ms", "whole_ms"), [(None, 2_000), (5_000, 5_000), (8_000, 6_000)])
def test_rows_of_older_epochs_that_are_still_shown_hold_what_is_whole(
    done_ms: int | None, whole_ms: int
) -> None:
    state = rewound(done_ms)
    assert complete_when_fired(state, 6_000) == whole_ms
    note_completeness(state, WINDOWS)
    assert state.complete_ms == whole_ms
    state.retiring = None
    note_completeness(state, WINDOWS)
    assert state.complete_ms == complete_when_fired(state, 6_000) == 6_000


def test_a_flush_of_an_older_epoch_makes_a_sink_whole_up_to_the_floor_at_most() -> None:
    state = rewound(None)
    state.epoch, state.retiring, state.floor_ms = 1, None, None
    state.flushes = [flush(n).model_copy(update={"complete_ms": n * 1_000}) for n in range(1, 5)]
    for number in (1, 2, 3):
        take_flushed(state, "fast", number)
    for one in state.flushes:
        one.epoch = 1
    state.epoch, state.floor_ms = 2, 2_500
    restart_completeness(state, 2_500)
    fast, slow = state.sinks
    assert (fast.complete_ms, slow.complete_ms, state.complete_ms) == (2_500, None, 2_500)
    take_flushed(state, "slow", 1)
    take_flushed(state, "fast", 4)
    assert (fast.complete_ms, slow.complete_ms) == (2_500, 1_000)
    assert (fast.published_ms, slow.published_ms) == (None, None)
