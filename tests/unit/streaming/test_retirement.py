"""What a rewind takes back of older epochs, and what it leaves of the state, step by step."""

from streaming.plan import compile_stream
from streaming.progress import CombineResult, next_combine, take_combined
from streaming.retirement import retire, settle_below
from streaming.rewind import Rewind, apply_rewind
from streaming.seen import Seen, SeenTable
from streaming.state import Retirement, Retiring, StreamState
from streaming.window import Windowing
from tests.unit.streaming.state_maker import (
    batches,
    blob,
    flush,
    partition,
    segment,
    spec_with,
    state_of,
)

TUMBLING = Windowing(1_000, 1_000)
SLIDING = Windowing(size_ms=1_000, slide_ms=400)


def retiring(watermark_ms: int | None, until_ms: int = 9_000) -> StreamState:
    state = state_of(partition(5, at_ms=watermark_ms))
    state.epoch, state.base_epoch, state.watermark_ms = 4, 2, watermark_ms
    state.floor_ms, state.retiring = 1_000, Retiring(since_epoch=2, until_ms=until_ms)
    return state


def spans(state: StreamState) -> list[tuple[int, int, int]]:
    """Give floor, first and last end of what each flush takes back."""
    what = [one.retire for one in state.flushes]
    return [(r.floor_ms, r.after_ms, r.until_ms) for r in what if isinstance(r, Retirement)]


def test_only_what_all_windows_with_data_have_replaced_is_taken_back() -> None:
    state = retiring(5_000)
    state.segments, state.fresh_segments = [segment(3_000, 3_000)], 1
    assert retire(state, TUMBLING)
    assert spans(state) == [(1_000, 1_000, 3_000)]  # [3_000, 4_000) is still to be shown
    state.segments, state.fresh_segments = [], 0
    assert retire(state, TUMBLING)
    assert spans(state)[1:] == [(1_000, 3_000, 5_000)]
    assert not retire(state, TUMBLING)


def test_nothing_is_taken_back_before_there_is_a_watermark_and_all_at_the_last_end() -> None:
    state = retiring(None, until_ms=3_000)
    assert not retire(state, TUMBLING)
    state.watermark_ms = 3_999
    assert retire(state, TUMBLING)
    assert spans(state) == [(1_000, 1_000, 3_000)]
    assert state.retiring is None


def test_a_higher_floor_settles_every_window_that_begins_before_it() -> None:
    state = retiring(9_000, until_ms=9_000)
    settle_below(state, SLIDING, 4_000)  # [3_600, 4_600) begins before it
    assert spans(state) == [(1_000, 1_000, 4_600)]
    settle_below(state, SLIDING, 4_000)
    settle_below(state, SLIDING, 800)
    assert len(spans(state)) == 1
    settle_below(state, SLIDING, 20_000)
    assert spans(state)[1:] == [(1_000, 4_600, 9_000)]


def test_a_rewind_leaves_of_an_epoch_what_waits_for_sinks_and_nothing_of_its_windows() -> None:
    known = Seen(max_event_ms=9, tables=[SeenTable(blob=blob("seen"), newest_ms=9)])
    state = state_of(partition(5, at_ms=9_000), partition(8, at_ms=7_000))
    state.partitions[0].seen = state.partitions[1].seen = known
    for one in state.partitions.values():
        one.passed = [(2, 1), (5, 3), (8, 9)]
    state.epoch, state.watermark_ms, state.fired_ms, state.emitted_ms = 3, 9_000, 9_000, 9_000
    state.base_epoch, state.floor_ms = 2, 1_000
    state.retiring = Retiring(since_epoch=2, until_ms=9_000)
    state.unshown_since_ms, state.closing, state.early_ms = 1, True, 5
    state.segments, state.flushes = [segment(9_000, 9_000, blob("state"))], [flush(7, "rows")]
    state.dead, state.late = batches("dead"), batches("late")
    apply_rewind(state, TUMBLING, Rewind(2_000, {0: 3, 1: 8}, {0: 3, 1: 8}), 4, now_ms=50)
    assert (state.epoch, state.base_epoch, state.floor_ms) == (4, 2, 2_000)
    assert [one.epoch for one in state.flushes] == [3, 3]
    assert [one.epoch for one in (*state.dead.waiting, *state.late.waiting)] == [3, 3]
    # What the epoch that ends had still to take back goes with it; windows before 2,000 stay.
    assert spans(state) == [(1_000, 1_000, 2_000)]
    assert state.retiring == Retiring(since_epoch=2, until_ms=9_000)
    assert (state.segments, state.planned) == ([], [])
    left = state.model_dump()
    told = ("watermark_ms", "fired_ms", "unshown_since_ms", "closing", "early_ms")
    assert [left[name] for name in told] == [None, None, None, False, None]
    # A partition that stays where it stands keeps what it knows; another one begins anew.
    assert [p.seen for p in state.partitions.values()] == [None, known]
    assert [p.passed for p in state.partitions.values()] == [[(2, 1)], [(2, 1), (5, 3), (8, 9)]]
    assert {ref.key for ref in state.garbage} == {"state", "seen"}


def test_the_latest_end_emitted_is_that_of_a_window_and_never_goes_back() -> None:
    spec = spec_with()
    windows = compile_stream(spec).windowing
    state = state_of(partition(5, end=5, at_ms=2_500))
    state.partitions[0].until = 5
    state.segments, state.fresh_segments = [segment(2_000, 2_000)], 1
    task = next_combine(state, spec, windows)  # the end of a bounded run closes all
    assert task is not None
    take_combined(state, task, CombineResult(emitted=blob("rows")))
    assert state.emitted_ms == 3_000
    take_combined(
        state, task.model_copy(update={"last_end_ms": 1_000}), CombineResult(emitted=blob("more"))
    )
    assert state.emitted_ms == 3_000
