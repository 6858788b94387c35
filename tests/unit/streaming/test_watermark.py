from hypothesis import given
from hypothesis import strategies as st

from pipelines.stream import EventTime
from streaming.state import PartitionState, RangeTask, StreamState
from streaming.watermark import (
    add_partitions,
    advance,
    firing_watermark,
    forget_observations,
    idle_check_ms,
    keeping_watermark,
    merge_maximum,
    observe_ends,
    stream_watermark,
    take_up,
)
from streaming.window import END_OF_TIME_MS
from tests.unit.streaming.state_maker import partition, plan_all, state_of

TIMES = EventTime(field="at", out_of_orderness_ms=10, idle_timeout_ms=100)


def observe(state: StreamState, ends: dict[int, int], asked_ms: int, now_ms: int) -> None:
    observe_ends(state, TIMES, ends, asked_ms, now_ms)


def idle(state: StreamState, number: int = 0) -> bool:
    return state.partitions[number].idle


def test_watermark_is_the_minimum_over_partitions_minus_the_disorder() -> None:
    state = state_of(partition(at_ms=500), partition(at_ms=300), partition(at_ms=900))
    advance(state, TIMES)
    assert state.watermark_ms == 290


def test_watermark_waits_for_a_partition_that_has_shown_no_event_time() -> None:
    state = state_of(partition(at_ms=500), partition())
    advance(state, TIMES)
    assert state.watermark_ms is None


def test_watermark_never_goes_back() -> None:
    state = state_of(partition(at_ms=500))
    advance(state, TIMES)
    state.partitions[1] = partition(at_ms=100)
    advance(state, TIMES)
    assert state.watermark_ms == 490


@given(
    moves=st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(-1_000, 1_000), st.booleans(), st.sampled_from(range(9))
        ),
        max_size=30,
    )
)
def test_watermark_never_goes_back_whatever_partitions_do(
    moves: list[tuple[int, int, bool, int]],
) -> None:
    state = state_of(partition(at_ms=-900))
    seen: list[int] = []
    for number, at_ms, quiet, cursor in moves:
        one = state.partitions.setdefault(number, partition())
        merge_maximum(one, at_ms, 0)
        one.idle = quiet
        one.cursor = cursor
        one.until = 5 if number == 3 else None
        advance(state, TIMES)
        if state.watermark_ms is not None:
            seen.append(state.watermark_ms)
    assert seen == sorted(seen)


def test_one_observation_is_not_enough_to_be_idle_however_late_it_comes() -> None:
    state = state_of(partition(5))
    observe(state, {0: 5}, asked_ms=10_000, now_ms=10_000)
    assert not idle(state)


def test_partition_is_idle_when_a_second_look_was_asked_for_after_the_timer() -> None:
    state = state_of(partition(5))
    observe(state, {0: 5}, asked_ms=0, now_ms=50)
    observe(state, {0: 5}, asked_ms=149, now_ms=5_000)
    assert not idle(state)
    observe(state, {0: 5}, asked_ms=150, now_ms=151)
    assert idle(state)


def test_partition_is_never_idle_without_a_timeout() -> None:
    state = state_of(partition(5))
    times = EventTime(field="at", idle_timeout_ms=None)
    for now_ms in (0, 10**6, 10**9):
        observe_ends(state, times, {0: 5}, now_ms, now_ms)
    assert not idle(state)
    assert idle_check_ms(state, times, 0, 77) == 77


def test_a_known_end_makes_no_partition_idle_however_long_ago_it_was_observed() -> None:
    state = state_of(partition(5))
    observe(state, {0: 5}, asked_ms=0, now_ms=50)
    take_up(state, now_ms=10_000)
    assert not idle(state)
    assert idle_check_ms(state, TIMES, 10_000, 77) == 0  # so that the next look is at once
    observe(state, {0: 5}, asked_ms=10_000, now_ms=10_001)
    assert idle(state)
    state.partitions[0].cursor = 4
    take_up(state, now_ms=10_002)
    assert not idle(state)


def test_silence_counts_from_the_beginning_of_the_run_that_first_notes_it() -> None:
    state = state_of(partition(5))
    take_up(state, now_ms=500)
    observe(state, {0: 5}, asked_ms=599, now_ms=600)
    assert not idle(state)
    observe(state, {0: 5}, asked_ms=600, now_ms=601)
    assert idle(state)


def test_returning_partition_counts_before_its_records_are_merged() -> None:
    state = state_of(partition(5, at_ms=100), partition(7, at_ms=900))
    state.partitions[0].idle = True
    observe(state, {0: 6, 1: 7}, asked_ms=0, now_ms=0)
    assert not idle(state)
    advance(state, TIMES)
    assert state.watermark_ms == 90


def test_partition_with_nothing_but_poison_becomes_idle_by_its_silence() -> None:
    state = state_of(partition(0, end=5), partition(3, at_ms=900))
    poison = state.partitions[0]
    merge_maximum(poison, None, now_ms=1_000)
    poison.cursor = 5
    observe(state, {0: 5}, asked_ms=1_099, now_ms=1_099)
    assert not idle(state)
    observe(state, {0: 5}, asked_ms=1_100, now_ms=1_100)
    assert idle(state)
    observe(state, {0: 6}, asked_ms=1_101, now_ms=1_101)
    assert not idle(state)
    merge_maximum(poison, None, now_ms=1_102)
    poison.cursor = 6
    assert poison.silent_since_ms == 1_000
    observe(state, {0: 6}, asked_ms=1_103, now_ms=1_103)
    assert idle(state)


def test_a_valid_event_time_ends_the_silence() -> None:
    one = partition(5)
    one.silent_since_ms, one.idle = 10, True
    merge_maximum(one, 70, now_ms=20)
    expected = partition(5, at_ms=70)
    assert one == expected
    merge_maximum(one, 60, now_ms=20)
    assert one.max_event_ms == 70


def test_all_idle_gives_the_maximum_of_what_the_log_has_shown() -> None:
    parts = [partition(at_ms=500), partition(at_ms=300), partition()]
    for one in parts:
        one.idle = True
    assert stream_watermark(parts, TIMES) == 490


def test_all_idle_and_nothing_seen_gives_none() -> None:
    one = partition()
    one.idle = True
    assert stream_watermark([one], TIMES) is None


def test_idle_partition_does_not_hold_back_the_others() -> None:
    slow = partition(at_ms=100)
    slow.idle = True
    assert stream_watermark([slow, partition(at_ms=700), partition(at_ms=600)], TIMES) == 590


def test_finished_partition_does_not_hold_back_the_others() -> None:
    parts = [partition(5, until=5, at_ms=100), partition(3, until=9, at_ms=700)]
    assert stream_watermark(parts, TIMES) == 690


def test_all_finished_leaves_the_watermark_and_fires_everything() -> None:
    state = state_of(partition(5, until=5, at_ms=100), partition(9, until=9, at_ms=700))
    state.watermark_ms = 42
    advance(state, TIMES)
    assert state.watermark_ms == 42
    assert firing_watermark(state) == END_OF_TIME_MS


def test_bounded_run_fires_by_its_watermark_until_all_is_merged() -> None:
    state = state_of(partition(5, until=5), partition(8, until=9))
    state.watermark_ms = 42
    assert firing_watermark(state) == 42


def test_open_run_never_fires_by_the_end_of_time() -> None:
    state = state_of(partition(5, at_ms=1))
    state.watermark_ms = 42
    assert firing_watermark(state) == 42


def test_new_partition_is_read_from_its_first_record_and_does_not_pull_the_watermark_back() -> None:
    state = state_of(partition(5, at_ms=500))
    advance(state, TIMES)
    add_partitions(state, {0: 5, 1: 3})
    assert (state.partitions[1].cursor, state.partitions[1].end) == (0, 3)
    merge_maximum(state.partitions[1], 100, 0)
    advance(state, TIMES)
    assert state.watermark_ms == 490


def test_bounded_run_keeps_to_the_partitions_that_it_had() -> None:
    state = state_of(partition(5, until=9))
    add_partitions(state, {0: 5, 1: 3})
    observe(state, {1: 3}, 0, 0)
    assert list(state.partitions) == [0]


def test_forgetting_makes_two_new_looks_necessary() -> None:
    state = state_of(partition(5))
    observe(state, {0: 5}, 0, 0)
    observe(state, {0: 5}, 200, 200)
    assert idle(state)
    forget_observations(state)
    observe(state, {0: 5}, 400, 400)
    assert not idle(state)
    observe(state, {0: 5}, 500, 500)
    assert idle(state)


def test_end_never_goes_back() -> None:
    state = state_of(partition(5, end=9))
    observe(state, {0: 7}, 0, 0)
    assert state.partitions[0].end == 9


def test_long_poll_ends_when_the_next_partition_can_be_confirmed_idle() -> None:
    waiting, known, done = partition(5), partition(5), partition(5, until=5)
    waiting.silent_since_ms = known.silent_since_ms = done.silent_since_ms = 1_000
    known.idle = True
    state = state_of(waiting, known, done)
    assert idle_check_ms(state, TIMES, now_ms=1_030, most_ms=20_000) == 70
    assert idle_check_ms(state, TIMES, now_ms=1_030, most_ms=20) == 20
    assert idle_check_ms(state, TIMES, now_ms=5_000, most_ms=20_000) == 0
    waiting.idle = True
    assert idle_check_ms(state, TIMES, now_ms=1_030, most_ms=20_000) == 20_000


def test_kept_state_goes_by_the_least_watermark_of_ranges_in_flight() -> None:
    state = state_of(partition(0, end=9))
    state.watermark_ms = 100
    plan_all(state, lambda _: [(0, 5)])
    state.watermark_ms = 300
    plan_all(state, lambda _: [(5, 9)])
    assert keeping_watermark(state) == 100
    state.planned.pop(0)
    assert keeping_watermark(state) == 300
    state.planned.append(no_watermark(state.planned[0]))
    assert keeping_watermark(state) is None


def test_nothing_is_dropped_before_there_is_a_watermark() -> None:
    assert keeping_watermark(state_of(PartitionState(cursor=0, planned=0, end=0))) is None


def no_watermark(task: RangeTask) -> RangeTask:
    return task.model_copy(update={"watermark_ms": None})
