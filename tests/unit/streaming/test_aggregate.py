"""Aggregates at the edges of what their types hold, against plain Python."""

import math
from decimal import Decimal, localcontext

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.errors import ContractViolationError
from contracts.field_type_parse import parse_field_type
from pipelines.expression_aggregate import parse_aggregate
from streaming.aggregate import Aggregate
from streaming.aggregate_family import aggregate_of as family_of
from streaming.field_dtype import polars_type
from streaming.frame import from_bytes, to_bytes

LARGEST = 10**38 - 1
Groups = list[list[int]]


def aggregate_of(text: str, kind: str) -> Aggregate:
    return family_of("x", parse_aggregate(text, {"v": parse_field_type(kind)}), "a0")


def run(aggregate: Aggregate, kind: str, parts: list[list[object]]) -> object:
    """Aggregate each part on its own, merge the partials and finish."""
    frames = []
    for values in parts:
        column = pl.Series("v", values, dtype=polars_type(parse_field_type(kind)))
        rows = pl.DataFrame({"k": [1] * len(values), "v": column}).vstack(
            pl.DataFrame({"k": [2], "v": column.clear(1)})
        )
        frames.append(from_bytes(to_bytes(rows.group_by("k").agg(*aggregate.start()))))
    merged = pl.concat(frames).group_by("k").agg(*aggregate.merge()).sort("k")
    result, none = aggregate.finish(merged)
    assert none is None
    return result


def scaled(units: int, scale: int) -> Decimal:
    with localcontext(prec=100):
        return Decimal(units).scaleb(-scale)


PARTS = st.lists(
    st.lists(
        st.integers(-LARGEST, LARGEST)
        | st.integers(-(10**20), 10**20)
        | st.sampled_from([LARGEST, -LARGEST, 10**19, -(10**19)]),
        min_size=1,
        max_size=5,
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("scale", [0, 2, 19, 34])
@settings(max_examples=60, deadline=None)
@given(parts=PARTS)
@example(parts=[[LARGEST, LARGEST]])
@example(parts=[[LARGEST, 1]])
@example(parts=[[-LARGEST, -1]])
@example(parts=[[LARGEST] * 4, [-LARGEST] * 3])
@example(parts=[[10**34 - 1], [-(10**34)]])
def test_decimal_sum_is_exact_or_an_error(scale: int, parts: Groups) -> None:
    """A grouped sum of decimals wraps around in polars without a word."""
    kind, total = f"decimal(38,{scale})", sum(map(sum, parts))
    values: list[list[object]] = [[scaled(units, scale) for units in part] for part in parts]
    aggregate = aggregate_of("sum(v)", kind)
    if abs(total) <= LARGEST:
        assert run(aggregate, kind, values) == scaled(total, scale)
    else:
        with pytest.raises(ContractViolationError, match=r"`sum\(v\)`: expected the sum to"):
            run(aggregate, kind, values)


@settings(max_examples=60, deadline=None)
@given(parts=PARTS)
@example(parts=[[10**34 - 1]])
@example(parts=[[10**34]])
@example(parts=[[-(10**34)]])
def test_decimal_mean_is_exact_to_its_places_or_an_error(parts: Groups) -> None:
    total, count = sum(map(sum, parts)), sum(map(len, parts))
    values: list[list[object]] = [[scaled(units, 2) for units in part] for part in parts]
    aggregate = aggregate_of("avg(v)", "decimal(38,2)")
    if abs(total) < 10**34:
        mean = run(aggregate, "decimal(38,2)", values)
        assert isinstance(mean, Decimal)
        with localcontext(prec=100):
            assert abs(mean - scaled(total, 2) / count) <= Decimal("0.000001")
    else:
        with pytest.raises(ContractViolationError, match="at most 34 digits, 2 of them"):
            run(aggregate, "decimal(38,2)", values)


def test_integer_sum_is_exact_or_an_error() -> None:
    aggregate = aggregate_of("sum(v)", "int64")
    largest = 2**63 - 1
    assert run(aggregate, "int64", [[largest, largest], [-largest]]) == largest
    with pytest.raises(ContractViolationError, match="expected a 64-bit sum, got 9223372036854775"):
        run(aggregate, "int64", [[largest], [1]])


@pytest.mark.parametrize("text", ["sum(v)", "avg(v)"])
def test_float_sum_that_overflows_is_infinite(text: str) -> None:
    assert run(aggregate_of(text, "float64"), "float64", [[1e308], [1e308]]) == math.inf


def test_few_digits_are_summed_in_one_piece() -> None:
    """Two halves take twice as long; no count of events overflows a sum of 19 digits."""
    names = [part.meta.output_name() for part in aggregate_of("sum(v)", "decimal(19,2)").start()]
    assert names == ["a0", "a0_n"]
