"""An overflow raises and never wraps, and only where the value is needed."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.expression import parse_scalar
from streaming.expression import to_polars
from tests.unit.expression_oracle import FIELDS, frame_of

_INT64 = st.integers(-(2**63), 2**63 - 1)
_INT32 = st.integers(-(2**31), 2**31 - 1)
_OPERATIONS = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
}


def _compute(text: str, **columns: object) -> object:
    frame = frame_of({name: [value] for name, value in columns.items()})
    return frame.select(to_polars(parse_scalar(text, FIELDS)).alias("x"))["x"][0]


@given(_INT64, _INT64, st.sampled_from(sorted(_OPERATIONS)))
def test_int64_arithmetic_is_exact_or_raises(left: int, right: int, operator: str) -> None:
    _check(f"n {operator} m", {"n": left, "m": right}, _OPERATIONS[operator](left, right), 63)


@given(_INT32, _INT32, st.sampled_from(sorted(_OPERATIONS)))
def test_int32_arithmetic_is_exact_or_raises(left: int, right: int, operator: str) -> None:
    _check(f"i {operator} j", {"i": left, "j": right}, _OPERATIONS[operator](left, right), 31)


@pytest.mark.parametrize("text", ["-n", "abs(n)", "n // -1"])
def test_least_integer_has_no_opposite(text: str) -> None:
    _check(text, {"n": -(2**63)}, 2**63, 63)


def _check(text: str, columns: dict[str, int], exact: int, bits: int) -> None:
    if -(1 << bits) <= exact < 1 << bits:
        assert _compute(text, **columns) == exact
        return
    with pytest.raises(pl.exceptions.PolarsError):
        _compute(text, **columns)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("cast(n as int)", {"n": 2**31}),
        ("cast(d as decimal(5,0))", {"d": Decimal("999999.50")}),
        ("cast(f as bigint)", {"f": 1e19}),
        ("cast(f as int)", {"f": float("nan")}),
        ("cast(f as decimal(10,2))", {"f": 1e12}),
        ("h * h * h", {"h": Decimal("9" * 24)}),
    ],
)
def test_value_beyond_its_type_raises(text: str, columns: dict[str, object]) -> None:
    with pytest.raises(pl.exceptions.PolarsError):
        _compute(text, **columns)


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("case when n < 1000 then n * n else 0 end", {"n": 2**62}, 0),
        ("case when n > 1000 then 1 when n * n > 5 then 2 else 3 end", {"n": 2**62}, 1),
        ("case n when 5 then 1 else coalesce(m, n * n) end", {"n": 2**62, "m": 7}, 7),
        ("coalesce(m, n * n)", {"n": 2**62, "m": 7}, 7),
        ("n < 1000 and n * n > 5", {"n": 2**62}, False),
        ("n > 1000 or n * n > 5", {"n": 2**62}, True),
        ("case when b then h * d end", {"b": True, "h": Decimal("9" * 24), "d": None}, None),
    ],
)
def test_branch_that_is_not_taken_does_not_raise(
    text: str, columns: dict[str, object], expected: object
) -> None:
    assert _compute(text, **columns) == expected
