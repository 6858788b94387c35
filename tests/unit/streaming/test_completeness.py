"""Up to where results are whole, against what a reader of the sinks sees."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.completeness import note_completeness, sink_complete_ms, stream_complete_ms
from streaming.progress import CombineResult, next_combine, take_combined, take_flushed
from streaming.window import END_OF_TIME_MS
from tests.unit.streaming.engine_log import SINKS, SIZE_MS, Engine, Log, brute_force, make_spec
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
    take_combined(state, task.model_copy(update={"fire_ms": 2_000}), CombineResult(emitted=blob()))
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
