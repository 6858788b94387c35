"""The index of offsets against the log that it speaks of."""

from hypothesis import given
from hypothesis import strategies as st

from streaming.offset_index import MOST_ENTRIES, Entry, at_most, last_at, last_before, note


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


def test_many_partitions_share_the_room() -> None:
    assert [at_most(count) for count in (1, 8, 64, 10_000)] == [256, 256, 32, 1]
