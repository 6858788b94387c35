import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.stream import Deduplicate
from streaming.planner import (
    MAX_PLANNED,
    Limits,
    Plan,
    catching_up,
    caught_up,
    held_back,
    plan_ranges,
)
from streaming.progress import take_delivered
from streaming.room import MOST_WAITING, inline_budget, inline_room
from streaming.seen import Seen, SeenTable
from streaming.side_output import SideName
from streaming.state import Flush, StreamState
from tests.unit.streaming.state_maker import (
    batches,
    blob,
    flush,
    partition,
    plan_all,
    segment,
    spec_with,
    state_of,
)


def spans(plan: Plan) -> list[list[str]]:
    return [[str(task.span) for task in batch] for batch in plan.batches]


def test_full_ranges_are_cut_at_once_and_the_rest_waits_while_they_fly() -> None:
    state = state_of(partition(end=25))
    plan = plan_ranges(state, spec_with(interval_ms=1_000), Limits(), now_ms=0)
    assert spans(plan) == [["events-0[0,10)", "events-0[10,20)"]]
    assert plan.wake_ms is None
    assert state.partitions[0].planned == 20


def test_small_rest_waits_for_the_interval_and_says_when_to_look_again() -> None:
    state = state_of(partition(end=5), partition(end=0))
    state.partitions[0].cut_ms = 500
    spec = spec_with(interval_ms=1_000)
    early = plan_ranges(state, spec, Limits(), now_ms=1_499)
    assert (early.batches, early.wake_ms) == ([], 1_500)
    due = plan_ranges(state, spec, Limits(), now_ms=1_500)
    assert spans(due) == [["events-0[0,5)"]]
    assert state.partitions[0].cut_ms == 1_500


def test_small_rest_waits_for_what_flies_although_the_interval_has_passed() -> None:
    state = state_of(partition(end=5))
    plan_all(state, lambda _: [(0, 3)])
    plan = plan_ranges(state, spec_with(), Limits(), now_ms=10**6)
    assert (plan.batches, plan.wake_ms) == ([], None)


def test_range_pins_epoch_watermark_and_clock() -> None:
    state = state_of(partition(end=5))
    state.epoch, state.watermark_ms = 7, -3
    [[task]] = plan_ranges(state, spec_with(), Limits(), now_ms=99).batches
    assert (task.epoch, task.watermark_ms, task.now_ms) == (7, -3, 99)
    assert state.planned == [task]


def test_bounded_run_plans_nothing_beyond_its_end() -> None:
    state = state_of(partition(end=100, until=15))
    plan = plan_ranges(state, spec_with(), Limits(), now_ms=10**6)
    assert spans(plan) == [["events-0[0,10)"]]
    state.planned = []
    assert spans(plan_ranges(state, spec_with(), Limits(), 10**6)) == [["events-0[10,15)"]]
    state.planned = []
    assert plan_ranges(state, spec_with(), Limits(), 10**6).batches == []


def test_nothing_is_planned_while_a_sink_is_too_far_behind() -> None:
    limits = Limits(flushes=2)
    state = state_of(partition(end=100))
    state.flushes = [flush(1), flush(2)]
    assert held_back(state, limits)
    assert plan_ranges(state, spec_with(), limits, 0) == Plan([], None)
    state.flushes = [flush(1)]
    assert plan_ranges(state, spec_with(), limits, 0).batches


@pytest.mark.parametrize("name", ["dead", "late"])
def test_nothing_is_planned_while_a_side_output_piles_up(name: SideName) -> None:
    limits = Limits(flushes=2)
    state = state_of(partition(end=100))
    setattr(state, name, batches(None, None))
    assert plan_ranges(state, spec_with(), limits, 0) == Plan([], None)
    assert not caught_up(state, limits)
    take_delivered(state, name, 1)
    assert plan_ranges(state, spec_with(), limits, 0).batches


def test_partition_far_ahead_of_one_with_unread_data_waits() -> None:
    state = state_of(partition(end=50, at_ms=1_000), partition(end=50, at_ms=3_001))
    plan = plan_ranges(state, spec_with(drift_ms=2_000), Limits(), 0)
    assert {task.span.partition for batch in plan.batches for task in batch} == {0}
    state = state_of(partition(end=50, at_ms=1_000), partition(end=50, at_ms=3_000))
    plan = plan_ranges(state, spec_with(drift_ms=2_000), Limits(), 0)
    assert {task.span.partition for batch in plan.batches for task in batch} == {0, 1}


def test_partition_far_ahead_of_one_without_unread_data_goes_on() -> None:
    state = state_of(partition(50, at_ms=0), partition(end=50, at_ms=9_000))
    plan = plan_ranges(state, spec_with(drift_ms=2_000), Limits(), 0)
    assert {task.span.partition for batch in plan.batches for task in batch} == {1}


def test_exactly_a_whole_range_is_cut_at_once() -> None:
    state = state_of(partition(end=10))
    state.partitions[0].cut_ms = 500
    plan = plan_ranges(state, spec_with(interval_ms=1_000), Limits(), now_ms=600)
    assert spans(plan) == [["events-0[0,10)"]]


def test_drift_is_measured_from_the_slowest_of_several() -> None:
    times = (0, 8_000, 9_000)
    state = state_of(*(partition(end=50, at_ms=at_ms) for at_ms in times))
    plan = plan_ranges(state, spec_with(drift_ms=2_000), Limits(), 0)
    assert {task.span.partition for batch in plan.batches for task in batch} == {0}


def test_what_a_slow_partition_has_in_flight_holds_the_others_back() -> None:
    state = state_of(partition(end=50, at_ms=0), partition(end=50, at_ms=9_000))
    plan_all(state, lambda number: [(0, 50)] if number == 0 else [])
    assert plan_ranges(state, spec_with(drift_ms=2_000), Limits(), 0).batches == []


def test_ranges_of_a_stream_without_duplicates_follow_each_other() -> None:
    state = state_of(partition(end=100), partition(end=100))
    spec = spec_with().model_copy(update={"deduplicate": Deduplicate(by=["id"], within_ms=1)})
    plan = plan_ranges(state, spec, Limits(ranges=8), 0)
    assert [task.span.partition for batch in plan.batches for task in batch] == [0, 1]
    assert plan_ranges(state, spec, Limits(ranges=8), 0).batches == []


def test_what_is_planned_already_is_no_backlog() -> None:
    state = state_of(partition(end=25))
    assert catching_up(state, 10)
    plan_ranges(state, spec_with(interval_ms=1_000), Limits(), now_ms=0)
    assert not catching_up(state, 10)


def test_slowest_partition_goes_first_and_shares_are_kept() -> None:
    ends = (900, 100, 500)
    state = state_of(*(partition(end=100, at_ms=at_ms) for at_ms in ends))
    plan = plan_ranges(state, spec_with(), Limits(ranges=6), 0)
    order = [task.span.partition for batch in plan.batches for task in batch]
    assert order == [1, 1, 2, 2, 0, 0]


def test_limit_of_ranges_holds_over_all_partitions() -> None:
    state = state_of(*(partition(end=100) for _ in range(5)))
    plan = plan_ranges(state, spec_with(), Limits(ranges=3), 0)
    assert [task.span.partition for batch in plan.batches for task in batch] == [0, 1, 2]
    assert plan_ranges(state, spec_with(), Limits(ranges=3), 0).batches == []


def test_partition_that_has_shown_nothing_goes_before_all_others_also_before_1970() -> None:
    state = state_of(partition(end=100, at_ms=-5_000), partition(end=100))
    plan = plan_ranges(state, spec_with(), Limits(ranges=1), 0)
    assert [task.span.partition for batch in plan.batches for task in batch] == [1]


def test_small_ranges_travel_together_and_big_ones_alone() -> None:
    state = state_of(partition(end=10), partition(end=10))
    together = plan_ranges(state, spec_with(), Limits(small_records=20), 0)
    assert spans(together) == [["events-0[0,10)", "events-1[0,10)"]]
    state = state_of(partition(end=10), partition(end=10))
    alone = plan_ranges(state, spec_with(), Limits(small_records=19), 0)
    assert spans(alone) == [["events-0[0,10)"], ["events-1[0,10)"]]


def test_a_topic_of_many_quiet_partitions_is_read_in_one_step() -> None:
    state = state_of(*(partition(end=3) for _ in range(100)))
    plan = plan_ranges(state, spec_with(max_records=50), Limits(), 0)
    assert [len(batch) for batch in plan.batches] == [64, 36]


@pytest.mark.parametrize(("bounded", "count"), [(True, MOST_WAITING // 2), (False, MAX_PLANNED)])
def test_small_ranges_are_packed_up_to_the_bound_and_bounded_in_number(
    bounded: bool, count: int
) -> None:
    state = state_of(*(partition(end=3) for _ in range(300)))
    limits = Limits(small_records=30, bounded=bounded)
    plan = plan_ranges(state, spec_with(max_records=1_000), limits, 0)
    assert {len(batch) for batch in plan.batches[:-1]} == {10}
    assert sum(len(batch) for batch in plan.batches) == count


def test_ranges_that_remember_much_travel_in_several_activities() -> None:
    state = state_of(*(partition(end=3) for _ in range(9)))
    for one in state.partitions.values():
        one.seen = Seen(tables=[SeenTable(blob=blob("seen"), newest_ms=1)] * 16)
    plan = plan_ranges(state, spec_with(max_records=50), Limits(), 0)
    assert [len(batch) for batch in plan.batches] == [4, 4, 1]


def test_results_in_flight_share_the_room_for_what_travels_inline() -> None:
    spec, state = spec_with(), state_of(*(partition(end=1_000) for _ in range(8)))
    state.flushes = [Flush(flush_seq=1, rows=blob(size_bytes=10_000), chunk_rows=1, sha256="")]
    plan_ranges(state, spec, Limits(small_records=0), 0)
    shares = [task.inline_bytes or 0 for task in state.planned]
    assert shares[0] == (inline_budget(state, spec) - 10_000) // 4
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) + inline_room(state, spec) == inline_budget(state, spec) - 10_000


def test_a_range_of_a_run_from_before_there_was_a_room_has_no_share() -> None:
    state = state_of(partition(end=5))
    plan_ranges(state, spec_with(), Limits(bounded=False), 0)
    assert [task.inline_bytes for task in state.planned] == [None]


def test_nothing_is_planned_while_too_many_objects_wait() -> None:
    state = state_of(partition(end=5))
    state.segments = [segment(0, None, blob("far"))] * MOST_WAITING
    assert held_back(state, Limits())
    assert plan_ranges(state, spec_with(), Limits(), 0) == Plan([], None)
    assert not held_back(state, Limits(bounded=False))
    state.segments.pop()
    assert plan_ranges(state, spec_with(), Limits(), 0).batches


def test_catching_up_means_that_a_whole_range_is_unread() -> None:
    state = state_of(partition(5, end=14), partition(0, end=9))
    assert not catching_up(state, 10)
    assert catching_up(state, 9)


@given(
    ends=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    max_records=st.integers(1, 12),
    ranges=st.integers(1, 9),
    rounds=st.lists(st.integers(0, 3), max_size=20),
)
def test_ranges_tile_every_partition_without_gap_or_overlap(
    ends: list[int], max_records: int, ranges: int, rounds: list[int]
) -> None:
    state = state_of(*(partition(end=end) for end in ends))
    spec = spec_with(max_records=max_records)
    covered: dict[int, int] = dict.fromkeys(range(len(ends)), 0)
    for merged in [*rounds, *[9] * 300]:
        plan = plan_ranges(state, spec, Limits(ranges=ranges), 0)
        for task in (task for batch in plan.batches for task in batch):
            assert task.span.start == covered[task.span.partition]
            assert 0 < task.span.stop - task.span.start <= max_records
            covered[task.span.partition] = task.span.stop
        flying = sum(task.span.stop - task.span.start for task in state.planned)
        assert flying < (ranges + 1) * max_records
        finish_some(state, merged)
    assert covered == dict(enumerate(ends))


def finish_some(state: StreamState, count: int) -> None:
    for task in state.planned[:count]:
        state.partitions[task.span.partition].cursor = task.span.stop
    del state.planned[:count]
