"""Types of aggregates: what each takes and what it gives."""

import re
from fractions import Fraction

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.conversion import FLOAT64, INT64, NUMBERS, UNORDERED, decimal, nullable

MAX_TOP = 1_000
"""Longest list that `top_k` gives."""

POSITIONAL = frozenset({"first", "last", "arg_min", "arg_max"})
MOMENTS = frozenset({"var_samp", "var_pop", "stddev_samp", "stddev_pop"})
MOMENT_DIGITS = 18
"""Decimals of more digits have squares that no exact sum holds."""

_NOT_COUNTED = UNORDERED | {"float64"}
_QUANTILE = re.compile(r"0|1|[01]?\.[0-9]{1,6}")


def check_quantile(text: str, written: str) -> Fraction:
    """Read a quantile of 0 to 1 exactly; raises `PipelineSpecError`."""
    if not _QUANTILE.fullmatch(written) or Fraction(written) > 1:
        raise PipelineSpecError(
            f"`{text}`: expected a quantile of 0 to 1 with at most six places, got `{written}`"
        )
    return Fraction(written)


def result_type(text: str, function: str, kind: FieldType) -> FieldType:
    """Give the type of an aggregate of values of a type.

    Raises:
        PipelineSpecError: The aggregate does not take such values.
    """
    _check_argument(text, function, kind)
    if function in {"count", "count_distinct", "approx_count_distinct"}:
        return INT64
    if function == "top_k":
        return FieldType("list", element=nullable(kind, when=False))
    if function == "sum":
        return nullable(_sum_type(kind))
    if function == "avg":
        return nullable(_average_type(text, kind))
    return nullable(FLOAT64 if function in MOMENTS | {"approx_quantile"} else kind)


def _check_argument(text: str, function: str, kind: FieldType) -> None:
    if function in {"count_distinct", "top_k"}:
        _expect(text, kind, kind.base not in _NOT_COUNTED, "a value that is counted exactly")
    elif function == "approx_count_distinct":
        _expect(text, kind, kind.base not in UNORDERED, "a value that can be compared")
    elif function in {"min", "max"}:
        _expect(text, kind, kind.base not in UNORDERED, "a value with an order")
    elif function in {"bool_and", "bool_or"}:
        _expect(text, kind, kind.base == "bool", "true or false")
    elif function in POSITIONAL:
        nested = kind.element is not None and kind.element.base == "list"
        _expect(text, kind, not nested, "a plain value or a list of them, as sinks store no other")
    elif function != "count":
        _expect(text, kind, kind.base in NUMBERS, "a number")
    if function in MOMENTS:
        _expect(
            text, kind, (kind.precision or 0) <= MOMENT_DIGITS,
            f"a decimal of at most {MOMENT_DIGITS} digits (`cast(… as double)` takes more)",
        )  # fmt: skip


def _expect(text: str, kind: FieldType, holds: bool, what: str) -> None:  # noqa: FBT001 - a condition
    if not holds:
        raise PipelineSpecError(f"`{text}`: expected {what}, got `{kind}`")


def _sum_type(kind: FieldType) -> FieldType:
    if kind.base == "decimal":
        return decimal(38, kind.scale or 0)
    return kind if kind.base == "float64" else INT64


def _average_type(text: str, kind: FieldType) -> FieldType:
    if kind.base != "decimal":
        return FLOAT64
    if (kind.scale or 0) + 4 > 38:
        raise PipelineSpecError(
            f"`{text}`: expected at most 34 digits after the point, got `{kind}`"
        )
    return decimal(38, (kind.scale or 0) + 4)
