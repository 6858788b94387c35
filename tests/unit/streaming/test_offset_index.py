"""The index of offsets against the log that it speaks of."""

from hypothesis import given
from hypothesis import strategies as st

from streaming.offset_index import MOST_ENTRIES, Entry, at_most, last_at, last_before, note
from streaming.restart import is_beginning, offset_before, restarted_index
from streaming.state import PartitionState


@given(
    maxima=st.lists(st.none() | st.integers(-50, 400), max_size=120),
    most=st.integers(1, 40),
    floor_ms=st.integers(-60, 410),
    offset=st.integers(0, 400),
)
def test_every_entry_is_true_and_the_best_of_those_kept_is_found(
    maxima: list[int | None], most: int, floor_ms: int, offset: int
) -> None:
    index: list[Entry] = []
    seen: list[int | None] = []
    for number, maximum_ms in enumerate(maxima):
        known = [one for one in seen if one is not None]
        index = note(index, number * 3, max(known, default=None), most)
        seen.append(maximum_ms)
        assert len(index) <= most
    for at, maximum_ms in index:
        before = [one for one in seen[: at // 3] if one is not None]
        assert max(before, default=None) == maximum_ms
    assert index == sorted(index, key=lambda entry: entry[0])
    fit = [e for e in index if e[1] is None or e[1] < floor_ms]
    assert last_before(index, floor_ms) == (fit[-1] if fit else (0, None))
    below = [e for e in index if e[0] <= offset]
    assert last_at(index, offset) == (below[-1] if below else (0, None))


def test_after_very_many_ranges_it_holds_the_first_and_many_of_the_newest() -> None:
    index: list[Entry] = []
    for number in range(50_000):
        index = note(index, number * 10, number * 1_000 if number else None, MOST_ENTRIES)
    assert len(index) <= MOST_ENTRIES
    assert index[0] == (0, None)
    assert [at for at, _ in index[-60:]] == [number * 10 for number in range(49_940, 50_000)]


def test_what_was_known_before_a_rewind_holds_for_what_is_read_after_it() -> None:
    index = note([(0, None), (10, 500)], 20, 300, 8)
    assert index == [(0, None), (20, 500)]


def test_where_one_entry_is_kept_later_times_from_before_a_rewind_are_known_till_they_recur() -> (
    None
):
    """They were dropped, and a second rewind by time began behind records that it had to read."""
    index = note([(0, None), (10, 500)], 20, 300, 1)
    assert index == [(0, None), (20, 500)]
    assert note(index, 30, None, 1) == [(0, None), (30, 500)]
    assert note(index, 30, 500, 1) == [(0, None)]


@given(
    log=st.lists(st.none() | st.integers(0, 9), max_size=20),
    most=st.integers(1, 3),
    steps=st.lists(
        st.tuples(st.sampled_from(["read", "time", "offset"]), st.integers(0, 10)), max_size=20
    ),
)
def test_no_record_before_where_a_rewind_begins_has_the_time_or_a_later_one(
    log: list[int | None], most: int, steps: list[tuple[str, int]]
) -> None:
    partition = PartitionState(cursor=0, planned=0, end=len(log))
    for step, number in steps:
        if step == "read":
            read = log[partition.cursor : partition.cursor + number]
            partition.index = note(partition.index, partition.cursor, partition.max_event_ms, most)
            times = [ms for ms in (partition.max_event_ms, *read) if ms is not None]
            partition.cursor += len(read)
            partition.max_event_ms = max(times, default=None)
            continue
        offset = min(number, partition.cursor)
        if step == "time":
            offset = offset_before(partition, number)
            assert all(ms is None or ms < number for ms in log[:offset])
        assert not is_beginning(partition, offset) or not any(ms is not None for ms in log[:offset])
        index = restarted_index(partition, offset)
        partition = PartitionState(cursor=offset, planned=offset, end=len(log), index=index)


def test_many_partitions_share_the_room() -> None:
    assert [at_most(count) for count in (1, 8, 64, 10_000)] == [256, 256, 32, 1]
