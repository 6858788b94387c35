from streaming.firing import MOST_COPIES, copies, fire_again, next_due_ms, step_ms
from streaming.progress import CombineResult, next_combine, open_windows, take_combined
from streaming.state import StreamState
from streaming.window import END_OF_TIME_MS, Windowing
from tests.unit.streaming.state_maker import blob, partition, segment, spec_with, state_of

SLIDING = Windowing(size_ms=1_000, slide_ms=400)


def state_with(
    kept_fresh_ms: int | None, *fresh_ms: int, fired_ms: int | None = None, rows: int = 1
) -> StreamState:
    """Make a state of one segment that a combine kept, and others that came since."""
    state = state_of(partition(at_ms=0))
    state.segments = [segment(kept_fresh_ms or 0, kept_fresh_ms, blob(rows=rows))]
    state.segments += [segment(at, at) for at in fresh_ms]
    state.fresh_segments = len(fresh_ms)
    state.fired_ms = fired_ms
    return state


def test_kept_panes_are_due_at_the_next_end_and_new_ones_at_their_first() -> None:
    assert next_due_ms(state_with(None), SLIDING) is None
    assert next_due_ms(state_with(0), SLIDING) == 200
    assert next_due_ms(state_with(0, fired_ms=200), SLIDING) == 600
    assert next_due_ms(state_with(0, fired_ms=599), SLIDING) == 600
    assert next_due_ms(state_with(2_000, fired_ms=599), SLIDING) == 2_200
    assert next_due_ms(state_with(2_000, 0, fired_ms=599), SLIDING) == 200
    rewound = state_with(None, 0)
    rewound.floor_ms = 400
    assert next_due_ms(rewound, SLIDING) == 1_400


def test_stream_of_sliding_windows_combines_once_for_every_slide() -> None:
    state = state_with(0, fired_ms=200)
    state.watermark_ms = 599
    assert next_combine(state, spec_with(), SLIDING) is None
    state.watermark_ms = 600
    task = next_combine(state, spec_with(), SLIDING)
    assert task is not None
    assert (task.fired_ms, task.fire_ms) == (200, 600)
    take_combined(state, task, CombineResult(kept=state.segments[0]))
    assert state.fired_ms == 600
    assert next_combine(state, spec_with(), SLIDING) is None


def test_what_one_combine_emits_is_bounded_and_the_next_goes_on() -> None:
    rows = MOST_COPIES // 2
    state = state_with(0, fired_ms=200, rows=rows)
    state.segments[0] = state.segments[0].model_copy(update={"last_pane_ms": 10_000})
    assert step_ms(state, SLIDING, END_OF_TIME_MS) == 600 + 2 * 400
    state.fired_ms = 9_900
    assert step_ms(state, SLIDING, END_OF_TIME_MS) == END_OF_TIME_MS
    assert step_ms(state_with(0, rows=10**9), Windowing(1_000, 1_000), 5_000) == 5_000
    huge = state_with(0, fired_ms=200, rows=10**9)
    huge.segments[0] = huge.segments[0].model_copy(update={"last_pane_ms": 10_000})
    assert step_ms(huge, SLIDING, END_OF_TIME_MS) == 600


def test_copies_are_bounded_by_the_windows_that_fire() -> None:
    assert copies(state_with(0, fired_ms=200), SLIDING, 599) == 1
    assert copies(state_with(0, fired_ms=200), SLIDING, 1_000) == 2
    assert copies(state_with(0, fired_ms=200), SLIDING, END_OF_TIME_MS) == 3
    assert copies(state_with(0), Windowing(1_000, 1_000), END_OF_TIME_MS) == 1


def test_run_that_goes_on_after_a_bounded_one_fires_open_windows_again() -> None:
    state = state_with(None, fired_ms=END_OF_TIME_MS)
    fire_again(state, 700)
    assert state.fired_ms == 700
    fire_again(state, 900)
    assert state.fired_ms == 700


def test_open_windows_are_counted_from_the_next_to_fire_to_the_last() -> None:
    assert open_windows(state_with(None), SLIDING) == 0
    assert open_windows(state_with(0), SLIDING) == 3
    assert open_windows(state_with(0, fired_ms=200), SLIDING) == 2
