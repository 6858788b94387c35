import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.key_range import (
    LIMITS,
    KeyLimits,
    is_crowded,
    is_worth_merging,
    key_range_count,
    lanes,
    overlaps,
    reference_count,
    slices_of,
)
from streaming.segment import Blob, KeySpan, Segment
from tests.unit.streaming.state_maker import blob, segment

SMALL = KeyLimits(rows=10, size_bytes=1_000_000, most=16, lanes=4)


def cut_segment(count: int, first: int, stop: int, rows: int = 1) -> Segment:
    table = blob(f"{count}-{first}", rows=rows)
    span = KeySpan(count=count, first=first, stop=stop)
    return segment(0, 0, table).model_copy(update={"keys": span})


def always() -> bool:
    return True


@pytest.mark.parametrize(
    ("rows", "current", "expected"),
    [
        (10, 1, 1), (11, 1, 2), (40, 1, 4), (41, 1, 8), (10_000, 1, 16),
        (41, 4, 8), (40, 8, 8), (21, 8, 8), (20, 8, 2), (5, 8, 1), (5, 2, 2),
    ],
)  # fmt: skip
def test_key_ranges_grow_at_once_and_shrink_late(rows: int, current: int, expected: int) -> None:
    segments = [segment(0, 0, blob(rows=rows - rows // 2)), segment(0, 0, blob(rows=rows // 2))]
    assert key_range_count(segments, current, always, SMALL) == expected


def test_wide_rows_are_cut_by_their_bytes() -> None:
    wide = [segment(0, 0, blob("wide", size_bytes=3_000_000, rows=4))]
    assert key_range_count(wide, 1, always, SMALL) == 4


def test_run_that_began_before_does_not_begin_to_cut_but_goes_on_with_a_cut_state() -> None:
    segments = [segment(0, 0, blob(rows=41))]
    assert key_range_count(segments, 1, lambda: False, SMALL) == 1
    assert key_range_count(segments, 2, lambda: False, SMALL) == 8


@given(bits=st.integers(0, 8), references=st.integers(0, 200), inline=st.integers(0, 200_000))
def test_lanes_share_out_every_range_once_and_fit_one_workflow_step(
    bits: int, references: int, inline: int
) -> None:
    segments = [segment(0, 0, blob(str(n))) for n in range(references)]
    segments.append(segment(0, 0, Blob(row_count=1, size_bytes=inline, inline=b"x")))
    found = lanes(segments, 1 << bits)
    assert [n for span in found for n in range(span.first, span.stop)] == list(range(1 << bits))
    assert len(found) <= LIMITS.lanes
    assert len(found) == 1 or len(found) * (inline * 4 // 3 + 600 * len(segments)) <= 600_000


@given(
    bits=st.integers(0, 5),
    other=st.integers(0, 5),
    cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_slices_of_a_span_are_those_that_share_keys_with_it(
    bits: int, other: int, cuts: tuple[float, float]
) -> None:
    count = 1 << bits
    low, high = sorted(int(c * count) for c in cuts)
    piece = cut_segment(count, low, max(high, low + 1) if low < count else low)
    if low == count:
        return
    assert piece.keys is not None
    for number in range(1 << other):
        span = KeySpan(count=1 << other, first=number, stop=number + 1)
        shared = [
            n - low
            for n in range(piece.keys.first, piece.keys.stop)
            if n << other < (number + 1) << bits and number << bits < (n + 1) << other
        ]
        assert list(slices_of(piece, span)) == shared
        assert overlaps(piece, span) == bool(shared)


def test_segment_that_is_not_cut_is_in_every_span() -> None:
    whole = segment(0, 0)
    span = KeySpan(count=8, first=3, stop=4)
    assert overlaps(whole, span)
    assert list(slices_of(whole, span)) == [0]


def test_pieces_of_one_merge_count_as_one_reference() -> None:
    pieces = [cut_segment(8, n, n + 2) for n in (0, 2, 4, 6)]
    assert reference_count(pieces) == 1
    assert reference_count([*pieces, cut_segment(8, 0, 8), segment(0, 0)]) == 3
    assert reference_count([]) == 0


def test_cut_state_is_written_anew_only_for_enough_that_is_new() -> None:
    state = [cut_segment(8, 0, 8, rows=100), segment(0, 0, blob(rows=49))]
    assert not is_worth_merging(state, 1, 8)
    assert is_worth_merging([*state, segment(0, 0)], 2, 8)
    assert is_worth_merging(state, 1, 1)


def test_reading_waits_only_for_a_cut_state_with_too_many_references() -> None:
    many = [segment(0, 0, blob(str(n))) for n in range(LIMITS.waiting + 1)]
    assert is_crowded(many, 2)
    assert not is_crowded(many, 1)
    assert not is_crowded(many[1:], 2)
