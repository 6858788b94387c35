"""Distinct values of all groups at once, against a set per group."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from streaming.distinct import distinct_lists

INT64 = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(-3, 3)


@given(st.lists(st.lists(st.none() | SMALL | INT64)))
def test_distinct_lists_are_ascending_sets_whatever_their_values(
    groups: list[list[int | None]],
) -> None:
    series = pl.Series("ids", groups, dtype=pl.List(pl.Int64))
    found = distinct_lists(series)
    assert found.to_list() == [sorted({v for v in group if v is not None}) for group in groups]
    assert (found.name, found.dtype) == (series.name, series.dtype)


@given(st.lists(st.lists(SMALL)))
def test_distinct_lists_keep_a_narrow_type(groups: list[list[int]]) -> None:
    found = distinct_lists(pl.Series("ids", groups, dtype=pl.List(pl.Int32)))
    assert found.dtype == pl.List(pl.Int32)
    assert found.to_list() == [sorted(set(group)) for group in groups]
