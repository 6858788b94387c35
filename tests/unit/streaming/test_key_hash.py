from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from streaming.field_dtype import polars_type
from streaming.key_hash import cut, key_hashes, ranges_of
from streaming.segment import KeySpan

TYPES = ("string?", "int64?", "decimal(12,2)", "float64", "bool", "date", "timestamp_ms")

EXPECTED = ["8a8b0c8c0e6d72de", "669f6a1b7ffca96e"]


def keys_of(*types: str) -> tuple[tuple[str, FieldType], ...]:
    return tuple((f"k{place}", parse_field_type(text)) for place, text in enumerate(types))


def frame_of(keys: tuple[tuple[str, FieldType], ...], *columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            name: pl.Series(name, values, dtype=polars_type(kind))
            for (name, kind), values in zip(keys, columns, strict=True)
        }
    )


def test_hashes_of_keys_are_those_of_all_versions() -> None:
    """They name objects that were written earlier; another hash would read the wrong ones."""
    keys = keys_of(*TYPES)
    frame = frame_of(
        keys,
        ["a", None], [1, None], [Decimal("1.50"), Decimal(-2)], [0.5, float("nan")],
        [True, False], [date(2026, 1, 2), date(1950, 1, 1)],
        [1_767_225_600_000, -1],
    )  # fmt: skip
    assert [f"{h:016x}" for h in key_hashes(frame, keys)] == EXPECTED


def test_keys_that_a_group_by_takes_for_one_have_one_hash() -> None:
    keys = keys_of("float64")
    other = np.array([0x7FF8000000000001], np.uint64).view(np.float64)[0]
    frame = frame_of(keys, [0.0, -0.0, float("nan"), other])
    first, second, third, fourth = key_hashes(frame, keys)
    assert frame.unique().height == 2
    assert first == second
    assert third == fourth


def test_null_and_empty_and_zero_are_different_keys() -> None:
    keys = keys_of("string?", "int64?")
    frame = frame_of(keys, ["", None, "", None], [0, 0, None, None])
    assert len(set(key_hashes(frame, keys))) == 4


@given(
    values=st.lists(st.tuples(st.text(max_size=12) | st.none(), st.integers(-5, 5)), max_size=60),
    bits=st.integers(0, 6),
    finer=st.integers(0, 3),
)
def test_cut_gives_every_row_once_and_ranges_nest(
    values: list[tuple[str | None, int]], bits: int, finer: int
) -> None:
    keys = keys_of("string?", "int64")
    frame = frame_of(keys, [v[0] for v in values], [v[1] for v in values]).with_row_index("row")
    count, fine = 1 << bits, 1 << (bits + finer)
    coarse = cut(frame, keys, KeySpan(count=count, first=0, stop=count))
    assert sorted(row for part in coarse for row in part["row"]) == list(range(frame.height))
    hashes = key_hashes(frame, keys)
    assert [h * count >> 64 for h in map(int, hashes)] == list(ranges_of(hashes, count))
    step = fine // count
    for number, part in enumerate(coarse):
        assert part["row"].is_sorted()
        again = cut(part, keys, KeySpan(count=fine, first=0, stop=fine))
        inside = again[number * step : (number + 1) * step]
        assert sum(one.height for one in inside) == part.height


def test_cut_of_a_span_leaves_out_the_rows_of_others() -> None:
    keys = keys_of("int64")
    frame = frame_of(keys, list(range(1_000)))
    all_parts = cut(frame, keys, KeySpan(count=8, first=0, stop=8))
    some = cut(frame, keys, KeySpan(count=8, first=2, stop=5))
    assert [part["k0"].to_list() for part in some] == [p["k0"].to_list() for p in all_parts[2:5]]


def test_ranges_are_about_equal() -> None:
    keys = keys_of("string", "int64")
    count = 20_000
    frame = frame_of(keys, [f"user-{i % 7}" for i in range(count)], list(range(count)))
    sizes = [part.height for part in cut(frame, keys, KeySpan(count=16, first=0, stop=16))]
    assert min(sizes) > count / 16 * 0.85
    assert max(sizes) < count / 16 * 1.15
