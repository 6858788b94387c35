import itertools

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from streaming.dead_letter import dead_letter_frame
from streaming.decode import OFFSET, DeadRow, Decoded
from streaming.late_event import late_event_frame
from streaming.partial import LATE_SCHEMA, RowError
from streaming.side_record import pieces, side_records
from tests.unit.streaming.record_maker import block_of

TEXT = st.none() | st.binary(max_size=12)


@given(
    records=st.lists(st.tuples(TEXT, TEXT), max_size=12),
    most_rows=st.integers(1, 5),
    most_bytes=st.integers(1, 30),
)
def test_pieces_are_all_records_in_order_and_each_within_its_bounds(
    records: list[tuple[bytes | None, bytes | None]], most_rows: int, most_bytes: int
) -> None:
    whole = side_records(block_of(records), range(len(records)))
    cut = pieces(whole, most_rows, most_bytes)
    sizes = [
        [len(key or b"") + len(value or b"") for key, value in piece.select("key", "value").rows()]
        for piece in cut
    ]
    assert [row for piece in cut for row in piece.rows()] == whole.rows()
    assert all(0 < len(size) <= most_rows for size in sizes)
    assert all(len(size) == 1 or sum(size) <= most_bytes for size in sizes)
    for size, following in itertools.pairwise(sizes):
        assert len(size) == most_rows or sum(size) + following[0] > most_bytes


def test_late_event_keeps_key_value_and_place_and_says_when_and_how_late() -> None:
    block = block_of([(b"k", b"{}"), (None, b"x"), (b"", b"[]"), (b"l", b"{ }")], [3, 4, 7, 9])
    decoded = Decoded(pl.DataFrame({OFFSET: [3, 7, 9]}), [DeadRow(1, 4, "bad", "")])
    late = pl.DataFrame(
        {"row": [2, 1], "event_ms": [-1, 1_767_225_600_123], "late_by_ms": [0, 5]},
        schema=LATE_SCHEMA,
    )
    assert late_event_frame(block, decoded, late).rows() == [
        (0, 7, 70, b"", b"[]", "2026-01-01T00:00:00.123Z", 5),
        (0, 9, 90, b"l", b"{ }", "1969-12-31T23:59:59.999Z", 0),
    ]


def test_dead_letters_are_those_that_did_not_decode_and_those_that_failed_later() -> None:
    block = block_of([(b"k", b"{}"), (None, b"x"), (b"m", None), (b"l", b"{ }")], [3, 4, 7, 9])
    decoded = Decoded(
        pl.DataFrame({OFFSET: [3, 9]}), [DeadRow(1, 4, "bad", ""), DeadRow(2, 7, "null", "at")]
    )
    assert dead_letter_frame(block, decoded, [RowError(1, "overflow")]).rows() == [
        (0, 4, 40, None, b"x", "bad", ""),
        (0, 7, 70, b"m", None, "null", "at"),
        (0, 9, 90, b"l", b"{ }", "overflow", ""),
    ]
