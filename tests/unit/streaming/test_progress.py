import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.payloads import INLINE_LIMIT_BYTES
from pipelines.stream import Bounds, SinkSpec
from streaming.planner import Limits, plan_ranges
from streaming.progress import (
    BULK_SEGMENTS,
    INLINE_COMBINE_BYTES,
    MAX_INLINE_BYTES,
    MAX_SEGMENTS,
    CombineResult,
    RangeResult,
    forget_planned,
    is_finished,
    merge_next,
    next_combine,
    open_windows,
    take_combined,
    take_delivered,
    take_flushed,
)
from streaming.room import FLUSHES_BYTES, inline_budget, inline_room, table_bytes
from streaming.segment import Blob
from streaming.side_output import SideName
from streaming.state import Flush, StreamState
from tests.unit.streaming.state_maker import (
    WINDOWS,
    batches,
    blob,
    flush,
    partition,
    plan_all,
    result,
    segment,
    sequences,
    spec_with,
    state_of,
)

SPEC = spec_with()
CUTS = [(0, 3), (3, 5), (5, 9)]


def merge(state: StreamState, results: dict[tuple[int, int], RangeResult]) -> int:
    return merge_next(state, SPEC, results, now_ms=0)


def two_partitions() -> StreamState:
    state = state_of(partition(end=9), partition(end=9))
    plan_all(state, lambda _: CUTS)
    return state


def results_of(state: StreamState) -> list[RangeResult]:
    return [
        result(
            task.span.partition, task.span.start, task.span.stop, at_ms=100 * task.span.stop,
            window=segment(task.span.start, task.span.start), dead=blob(), late=[blob(), blob()],
        )
        for task in state.planned
    ]  # fmt: skip


# --- merge ---------------------------------------------------------------------------------------


@given(order=st.permutations(range(6)))
def test_results_are_merged_in_offset_order_whatever_order_they_come_in(order: list[int]) -> None:
    state = two_partitions()
    arriving = results_of(state)
    waiting: dict[tuple[int, int], RangeResult] = {}
    merged_starts: list[tuple[int, int]] = []
    for index in order:
        one = arriving[index]
        waiting[one.span.partition, one.span.start] = one
        before = {n: p.cursor for n, p in state.partitions.items()}
        merge(state, waiting)
        for number, part in state.partitions.items():
            passed = [(a, b) for a, b in CUTS if before[number] <= a < part.cursor]
            merged_starts += [(number, a) for a, _ in passed]
            assert part.cursor in {0, 3, 5, 9}
        assert all(start != state.partitions[n].cursor for n, start in waiting)
    for number in (0, 1):
        assert [start for n, start in merged_starts if n == number] == [0, 3, 5]
    assert waiting == {}
    assert state.planned == []
    assert state.ledger.consumed == state.ledger.aggregated == 18
    assert state.watermark_ms == 900
    assert state.fresh_segments == len(state.segments) == 6
    assert sequences(state.dead.waiting) == [1, 2, 3, 4, 5, 6]
    assert sequences(state.late.waiting) == list(range(1, 13))


def test_result_before_its_turn_waits_and_moves_nothing() -> None:
    state = two_partitions()
    waiting = {(0, 3): result(0, 3, 5, 700)}
    assert merge(state, waiting) == 0
    assert list(waiting) == [(0, 3)]
    assert (state.partitions[0].cursor, state.watermark_ms, len(state.planned)) == (0, None, 6)


def test_merging_says_how_many_records_it_consumed() -> None:
    state = two_partitions()
    waiting = {(0, 0): result(0, 0, 3, 1), (0, 3): result(0, 3, 5, 1), (1, 3): result(1, 3, 5, 1)}
    assert merge(state, waiting) == 5
    assert list(waiting) == [(1, 3)]


def test_range_without_events_leaves_no_segment_and_starts_a_silence() -> None:
    state = two_partitions()
    merge_next(state, SPEC, {(0, 0): result(0, 0, 3, None)}, now_ms=77)
    assert (state.segments, state.side_batches, state.fresh_segments) == ([], 0, 0)
    assert state.partitions[0].silent_since_ms == 77


def test_forgotten_ranges_are_cut_anew_from_the_cursor() -> None:
    state = two_partitions()
    merge(state, {(0, 0): result(0, 0, 3, 1)})
    taken = forget_planned(state)
    assert [str(t.span) for t in taken] == [
        "events-0[3,5)", "events-0[5,9)", "events-1[0,3)", "events-1[3,5)", "events-1[5,9)",
    ]  # fmt: skip
    assert [p.planned for p in state.partitions.values()] == [3, 0]
    again = plan_ranges(state, SPEC, Limits(), 0).batches
    assert {(t.span.partition, t.span.start, t.span.stop) for b in again for t in b} == {
        (0, 3, 9), (1, 0, 9),
    }  # fmt: skip


# --- combine -------------------------------------------------------------------------------------


def with_segments(*fresh_ms: int | None, watermark_ms: int | None) -> StreamState:
    state = state_of(partition(0, end=0))
    state.watermark_ms = watermark_ms
    state.segments = [segment(at or 0, at) for at in fresh_ms]
    state.fresh_segments = len(fresh_ms)
    return state


def test_nothing_is_combined_without_segments() -> None:
    assert next_combine(with_segments(watermark_ms=10**9), SPEC, WINDOWS) is None


def test_combine_is_due_exactly_when_the_watermark_reaches_the_end_of_a_fresh_pane() -> None:
    state = with_segments(5_000, 3_000, watermark_ms=3_999)
    assert next_combine(state, SPEC, WINDOWS) is None
    state.watermark_ms = 4_000
    task = next_combine(state, SPEC, WINDOWS)
    assert task is not None
    assert (task.fire_ms, task.keep_ms, task.name_seq, task.inline) == (4_000, 4_000, 1, True)
    assert task.segments == state.segments


def test_panes_that_were_emitted_do_not_call_for_a_combine() -> None:
    assert next_combine(with_segments(None, None, watermark_ms=10**9), SPEC, WINDOWS) is None


def test_nothing_fires_before_there_is_a_watermark() -> None:
    assert next_combine(with_segments(0, watermark_ms=None), SPEC, WINDOWS) is None


def test_catching_up_merges_several_segments_at_a_time_unless_it_drains() -> None:
    state = with_segments(*[0] * (BULK_SEGMENTS - 1), watermark_ms=10**9)
    state.partitions[0].end = 10
    assert next_combine(state, SPEC, WINDOWS) is None
    assert next_combine(state, SPEC, WINDOWS, draining=True) is not None
    state.segments.append(segment(0, 0))
    state.fresh_segments += 1
    assert next_combine(state, SPEC, WINDOWS) is not None


def test_many_segments_are_combined_though_nothing_fires() -> None:
    state = with_segments(*[0] * (MAX_SEGMENTS - 1), watermark_ms=None)
    assert next_combine(state, SPEC, WINDOWS) is None
    state.segments.append(segment(0, 0))
    assert next_combine(state, SPEC, WINDOWS) is not None
    state.fresh_segments = 0
    assert next_combine(state, SPEC, WINDOWS) is None


@pytest.mark.parametrize("bounded", [True, False])
def test_many_inline_bytes_are_combined_though_nothing_fires(bounded: bool) -> None:
    state = with_segments(0, 0, watermark_ms=None)
    most = inline_budget(state, SPEC) // 2 if bounded else MAX_INLINE_BYTES
    state.segments[0] = segment(0, 0, blob(size_bytes=most))
    state.segments[1] = segment(0, 0, blob("far", size_bytes=10**9))
    assert next_combine(state, SPEC, WINDOWS, bounded=bounded) is None
    state.segments.append(segment(0, 0, blob(size_bytes=1)))
    assert next_combine(state, SPEC, WINDOWS, bounded=bounded) is not None


@pytest.mark.parametrize(
    ("table", "inline"),
    [
        (blob(size_bytes=INLINE_COMBINE_BYTES), True),
        (blob(size_bytes=INLINE_COMBINE_BYTES + 1), False),
        (blob("far", size_bytes=1), False),
    ],
)
def test_workflow_combines_only_what_is_small_and_inline(table: Blob, inline: bool) -> None:
    state = with_segments(0, watermark_ms=10**9)
    state.segments[0] = segment(0, 0, table)
    task = next_combine(state, SPEC, WINDOWS, bounded=False)
    assert task is not None
    assert task.inline is inline


def test_workflow_combines_only_what_may_wait_inline_afterwards() -> None:
    state = with_segments(0, watermark_ms=10**9)
    beside = table_bytes(SPEC)
    room = inline_budget(state, SPEC)
    state.flushes = [Flush(flush_seq=1, rows=blob(size_bytes=room // 2), chunk_rows=1, sha256="")]
    most = (room - room // 2 - beside) // 2
    state.segments[0] = segment(0, 0, blob(size_bytes=most))
    task = next_combine(state, SPEC, WINDOWS)
    assert task is not None
    assert (task.inline, task.rows_beside_bytes) == (True, beside)
    assert inline_room(state, SPEC) <= 1
    state.combining_bytes = 0
    state.segments[0] = segment(0, 0, blob(size_bytes=most + 1))
    task = next_combine(state, SPEC, WINDOWS)
    assert task is not None
    assert not task.inline
    assert task.rows_inline_bytes + task.kept_inline_bytes <= state.combining_bytes
    assert inline_room(state, SPEC) <= 1
    take_combined(state, task, CombineResult())
    assert inline_room(state, SPEC) == room - room // 2


def test_a_flush_travels_inline_as_far_as_one_step_can_hand_it_to_all_sinks() -> None:
    state = with_segments(0, watermark_ms=10**9)
    state.segments[0] = segment(0, 0, blob(size_bytes=20_000))
    sinks = [SinkSpec(kind="clickhouse", table=f"t{n}") for n in range(20)]
    task = next_combine(state, SPEC.model_copy(update={"sinks": sinks}), WINDOWS)
    assert task is not None
    assert (task.inline, task.rows_inline_bytes) == (False, FLUSHES_BYTES // 20)


def test_every_combine_has_a_number_of_its_own() -> None:
    state = with_segments(0, watermark_ms=10**9)
    tasks = [next_combine(state, SPEC, WINDOWS) for _ in range(3)]
    assert [t.name_seq for t in tasks if t] == [1, 2, 3]


def test_segments_that_came_during_a_combine_stay_and_merged_objects_become_garbage() -> None:
    state = with_segments(0, 0, watermark_ms=10**9)
    state.segments[1] = segment(0, 0, blob("old"))
    task = next_combine(state, SPEC, WINDOWS)
    assert task is not None
    late = segment(9_000, 9_000)
    state.segments.append(late)
    kept = segment(0, None)
    take_combined(state, task, CombineResult(kept=kept, emitted=blob("rows", rows=7)))
    assert state.segments == [kept, late]
    assert state.fresh_segments == 1
    assert [r.key for r in state.garbage] == ["old"]
    assert (state.flush_seq, state.flushed_rows, state.flushes[0].flush_seq) == (1, 7, 1)


def test_combine_that_emits_nothing_queues_no_flush() -> None:
    state = with_segments(0, watermark_ms=10**9)
    task = next_combine(state, SPEC, WINDOWS)
    assert task is not None
    take_combined(state, task, CombineResult())
    assert (state.segments, state.flushes, state.flush_seq) == ([], [], 0)


def test_open_windows_span_the_panes_with_fresh_data() -> None:
    state = with_segments(None, watermark_ms=0)
    assert open_windows(state, WINDOWS) == 0
    state.segments += [segment(-2_000, -2_000), segment(1_000, 1_000)]
    assert open_windows(state, WINDOWS) == 4


# --- flushes and dead letters --------------------------------------------------------------------


@given(order=st.permutations([("a", 1), ("a", 2), ("b", 1), ("b", 2), ("a", 1)]))
def test_flush_and_its_object_go_when_every_sink_has_it(order: list[tuple[str, int]]) -> None:
    state = state_of(partition(), sinks=("a", "b"))
    state.flushes = [flush(1, "one"), flush(2, "two")]
    done = {"a": 0, "b": 0}
    for sink, number in order:
        take_flushed(state, sink, number)
        done[sink] = max(done[sink], number)
        everywhere = min(done.values())
        assert [f.flush_seq for f in state.flushes] == [n for n in (1, 2) if n > everywhere]
        assert {c.name: c.done for c in state.sinks} == done
    assert sorted(r.key for r in state.garbage) == ["one", "two"]


@pytest.mark.parametrize("name", ["dead", "late"])
def test_side_output_and_its_objects_go_when_they_were_delivered(name: SideName) -> None:
    state = state_of(partition())
    setattr(state, name, batches("one", None, "three"))
    take_delivered(state, name, 2)
    assert [r.key for r in state.garbage] == ["one"]
    assert sequences(state.side_output(name).next_batches()) == [3]
    state.mode = "draining"
    assert not is_finished(state)
    take_delivered(state, name, 3)
    assert state.side_output(name).next_batches() == []
    assert is_finished(state)


def test_flushes_of_an_old_run_beyond_the_default_limit_travel_by_reference() -> None:
    state = state_of(partition(cursor=5))
    state.watermark_ms = 5_000
    state.segments, state.fresh_segments = [segment(0, 0)], 1
    state.flushes = [flush(n) for n in range(1, 9)]
    usual = next_combine(state.model_copy(deep=True), spec_with(), WINDOWS, bounded=False)
    raised = spec_with().model_copy(update={"limits": Bounds(max_pending_flushes=16)})
    crammed = next_combine(state, raised, WINDOWS, bounded=False)
    assert usual is not None
    assert crammed is not None
    assert (usual.inline, usual.rows_inline_bytes) == (True, INLINE_LIMIT_BYTES)
    assert (crammed.inline, crammed.rows_inline_bytes) == (False, 4_096)


def test_a_bounded_run_is_not_finished_while_a_window_is_to_be_shown() -> None:
    state = state_of(partition(5, end=5, at_ms=100))
    state.partitions[0].until = 5
    state.segments = [segment(0, 0)]
    assert not is_finished(state)
    state.segments = [segment(0, None)]
    assert is_finished(state)
