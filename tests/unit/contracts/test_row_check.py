import re
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.duration import format_time
from common.errors import UsageError
from contracts.contract import FieldRule, RuleKind, Severity
from contracts.field_dtype import polars_type
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from contracts.row_check import (
    TYPES,
    broken_rules,
    compile_rules,
    default_values,
    first_broken,
)

Plain = Any
"""A value of whatever type the field has."""

_CENTS = st.decimals(min_value=-9, max_value=9, places=2)
_NEAR = st.integers(0, 5).map(lambda less: 10**38 - 1 - less)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int32": st.integers(-9, 9),
    "int64": st.one_of(st.integers(-9, 9), st.integers(2**63 - 3, 2**63 - 1)),
    "decimal(3,2)": _CENTS,
    "decimal(38,0)": (_NEAR | st.integers(1 - 10**38, 10**38 - 1)).map(Decimal),
    "float64": st.one_of(st.floats(allow_infinity=False), st.sampled_from([0.1, 0.2, 0.3])),
    "date": st.integers(0, 9).map(lambda days: date(2026, 5, 1) + timedelta(days=days)),
    "timestamp": st.integers(0, 9).map(lambda step: 1_700_000_000_000 + step),
    "timestamp(6)": st.integers(0, 9).map(lambda step: 1_700_000_000_000_000 + step),
    "string": st.text("ab1é ", max_size=4),
    "bool": st.booleans(),
    "uuid": st.sampled_from([f"{n}0000000-0000-0000-0000-000000000000" for n in "abc"]),
    "list<int64>": st.lists(st.integers(0, 3), max_size=4),
}
COMPARE: dict[str, Callable[..., bool]] = {
    "minimum": lambda value, bound: value >= bound,
    "exclusive_minimum": lambda value, bound: value > bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusive_maximum": lambda value, bound: value < bound,
    "multiple_of": lambda value, factor: Fraction(value) % Fraction(factor) == 0,
    "one_of": lambda value, *allowed: value in allowed,
    "none_of": lambda value, *missing: value not in missing,
    "min_length": lambda value, size: len(value) >= size,
    "max_length": lambda value, size: len(value) <= size,
    "min_items": lambda value, size: len(value) >= size,
    "max_items": lambda value, size: len(value) <= size,
    "unique_items": lambda value: len(set(value)) == len(value),
    "pattern": lambda value, pattern: re.search(pattern, value) is not None,
    "required": lambda _: True,
}
PATTERNS = ["a", "^a+$", "^[ab1]*$", "b1", "é"]


def written(value: Plain, kind: FieldType) -> str:
    if str(kind) == "timestamp(6)":
        return f"{format_time(value // 1_000)[:-1]}{value % 1_000:03}Z"
    if kind.base == "timestamp":
        return format_time(value)
    if kind.base == "bool":
        return str(value).lower()
    return repr(value) if kind.base == "float64" else str(value)


def column(values: list[Any], kind: FieldType) -> pl.Series:
    if kind.base == "timestamp":
        return pl.Series("x", values, pl.Int64).cast(polars_type(kind))
    return pl.Series("x", values, polars_type(kind))


@st.composite
def a_rule(draw: st.DrawFn) -> tuple[FieldType, FieldRule, list[Any]]:
    """A type, a rule that fits it, and the rule's values as Python's."""
    text = draw(st.sampled_from(sorted(VALUES)))
    kind = parse_field_type(text)
    fitting = sorted(name for name, bases in TYPES.items() if kind.base in bases)
    name: RuleKind = draw(st.sampled_from(fitting))
    finite = VALUES[text].filter(lambda value: value == value)  # noqa: PLR0124 (not NaN)
    operands: list[Plain] = []
    if name in {"required", "unique_items"}:
        pass
    elif name == "pattern":
        operands = [draw(st.sampled_from(PATTERNS))]
    elif name.endswith(("_length", "_items")):
        operands = [draw(st.integers(0, 4))]
    elif name in {"one_of", "none_of"}:
        operands = draw(st.lists(finite, min_size=1, max_size=4))
    elif name == "multiple_of":
        operands = [draw(finite.filter(lambda value: value > 0))]
    else:
        operands = [draw(finite)]
    texts = [
        str(value) if name.endswith(("_length", "_items", "pattern")) else written(value, kind)
        for value in operands
    ]
    return kind, FieldRule(rule=f"x.{name}", field="x", kind=name, values=texts), operands


def keeps(rule: FieldRule, operands: list[Any], value: Plain) -> bool:
    if value is None:
        return rule.kind != "required"
    return COMPARE[rule.kind](value, *operands)


@settings(max_examples=300)
@given(a_rule(), st.data())
def test_rule_is_broken_where_plain_python_says_so(
    rule_of: tuple[FieldType, FieldRule, list[Any]], data: st.DataObject
) -> None:
    kind, rule, operands = rule_of
    values = data.draw(st.lists(st.none() | VALUES[str(kind)], max_size=8))

    [check] = compile_rules([rule], {"x": kind})
    broken = pl.DataFrame([column(values, kind)]).select(check.broken.alias("b"))["b"]

    assert broken.to_list() == [not keeps(rule, operands, value) for value in values]


SEVERITY: dict[str, Severity] = {"a": "warn", "b": "block", "c": "quarantine"}


@given(st.lists(st.tuples(*[st.none() | st.integers(0, 3)] * 3), max_size=6))
def test_rows_are_told_with_all_rules_the_most_severe_first(rows: list[tuple[Any, ...]]) -> None:
    frame = pl.DataFrame(rows, schema=dict.fromkeys("abc", pl.Int64), orient="row")
    rules = [
        FieldRule(rule=f"{name}.maximum", field=name, kind="maximum", values=["1"], severity=how)
        for name, how in SEVERITY.items()
    ]
    checks = compile_rules(rules, dict.fromkeys("abc", FieldType("int64", nullable=True)))

    told = broken_rules(frame, checks)
    first = frame.select(first_broken(checks).alias("f"))["f"].to_list()

    ordered = [
        [f"{name}.maximum" for name in "bca" if (row["abc".index(name)] or 0) > 1] for row in rows
    ]
    assert told["rule"].to_list() == [rule for row in ordered for rule in row]
    assert told["row"].to_list() == [place for place, row in enumerate(ordered) for _ in row]
    assert [None if place is None else checks[place].rule for place in first] == [
        row[0] if row else None for row in ordered
    ]


@pytest.mark.parametrize(
    ("kind", "rule", "text", "reason"),
    [
        ("string", "minimum", "1", "no such rule for a field of type `string`"),
        ("float64", "multiple_of", "0.1", "no such rule for a field of type `float64`"),
        ("json", "pattern", "a", "no such rule"),
        ("int32", "minimum", "0.5", "whole number that int32 holds"),
        ("int32", "maximum", "2147483648", "whole number that int32 holds"),
        ("decimal(4,2)", "minimum", "0.001", r"decimal\(4,2\) holds"),
        ("decimal(4,2)", "minimum", "100", r"decimal\(4,2\) holds"),
        ("decimal(4,2)", "minimum", "1e999999999", r"decimal\(4,2\) holds"),
        ("decimal(4,2)", "minimum", "NaN", r"decimal\(4,2\) holds"),
        ("decimal(4,2)", "multiple_of", "0", "above 0"),
        ("float64", "maximum", "inf", "a finite number"),
        ("date", "minimum", "1.5.2026", "a date such as"),
        ("timestamp", "minimum", "2026-05-01T00:00", "a time with its zone"),
        ("timestamp", "minimum", "2026-05-01T00:00:00.0001Z", "a time in milliseconds"),
        ("string", "pattern", "(?=a)", "look-around"),
        ("string", "pattern", "(a", "unclosed group"),
        ("string", "min_length", "x", "a whole number"),
        ("bool", "one_of", "yes", "true or false"),
        ("uuid", "one_of", "1", "a uuid"),
    ],
)
def test_rule_that_does_not_fit_is_refused(
    kind: str, rule: RuleKind, text: str, reason: str
) -> None:
    broken = FieldRule(rule="x", field="x", kind=rule, values=[text])

    with pytest.raises(UsageError, match=reason):
        compile_rules([broken], {"x": parse_field_type(kind)})


@pytest.mark.parametrize("text", sorted(set(VALUES) - {"list<int64>"}))
@given(st.data())
def test_null_takes_the_default_and_values_stay(text: str, data: st.DataObject) -> None:
    kind = parse_field_type(text)
    default = data.draw(VALUES[text].filter(lambda value: value == value))  # noqa: PLR0124 (NaN)
    values = data.draw(st.lists(st.none() | VALUES[text], max_size=6))
    frame = pl.DataFrame([column(values, kind)])

    filled = frame.with_columns(default_values({"x": written(default, kind)}, {"x": kind}))

    wanted = column([default if value is None else value for value in values], kind)
    assert filled["x"].equals(wanted)
    assert filled.schema == frame.schema
