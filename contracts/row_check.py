"""Rules of values as polars expressions: which rows of a batch break which rule."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl
from polars.exceptions import PolarsError

from common.errors import UsageError
from contracts.contract import SEVERITIES, FieldRule, RuleKind, Severity
from contracts.field_type import FieldType
from contracts.field_value import literal, parse_value, values_series

RULE, FIELD, SEVERITY, EXPECTED = "rule", "field", "severity", "expected"

NUMBERS = frozenset({"int32", "int64", "float64", "decimal"})
ORDERED = NUMBERS | {"date", "timestamp", "timestamp_ms"}
SINGLE = ORDERED | {"string", "bool", "uuid"}
LISTS = frozenset({"list"})
TEXTS = frozenset({"string"})

TYPES: dict[RuleKind, frozenset[str]] = {
    "required": SINGLE | LISTS | {"json"},
    "minimum": ORDERED,
    "exclusive_minimum": ORDERED,
    "maximum": ORDERED,
    "exclusive_maximum": ORDERED,
    "multiple_of": NUMBERS - {"float64"},
    "min_length": TEXTS,
    "max_length": TEXTS,
    "pattern": TEXTS,
    "one_of": SINGLE - {"float64"},
    "none_of": SINGLE - {"float64"},
    "min_items": LISTS,
    "max_items": LISTS,
    "unique_items": LISTS,
}
"""Types of fields that a kind of rule can look at."""

_BOUNDS: dict[str, tuple[str, Callable[[pl.Expr, pl.Expr], pl.Expr]]] = {
    "minimum": ("at least", lambda value, bound: value < bound),
    "exclusive_minimum": ("more than", lambda value, bound: value <= bound),
    "maximum": ("at most", lambda value, bound: value > bound),
    "exclusive_maximum": ("less than", lambda value, bound: value >= bound),
}
_SIZES: dict[str, tuple[str, str, Callable[[pl.Expr], pl.Expr]]] = {
    "min_length": ("at least", "characters", lambda value: value.str.len_chars()),
    "max_length": ("at most", "characters", lambda value: value.str.len_chars()),
    "min_items": ("at least", "elements", lambda value: value.list.len()),
    "max_items": ("at most", "elements", lambda value: value.list.len()),
}
_SHOWN_VALUES = 10


@dataclass(frozen=True)
class RowCheck:
    """A rule, ready to be computed.

    Attributes:
        rule: Name of the rule within its contract.
        field: The column that it reads.
        severity: What becomes of a row that breaks it.
        expected: What the value must be, in words that follow "expected".
        broken: Whether a row breaks it; never null.
    """

    rule: str
    field: str
    severity: Severity
    expected: str
    broken: pl.Expr


def compile_rules(rules: Iterable[FieldRule], types: dict[str, FieldType]) -> list[RowCheck]:
    """Compile rules, the most severe first, else in their order.

    Null breaks `required` alone. Numbers, decimals and times are compared exactly; NaN is within no
    bound. A pattern is searched anywhere in the text, `^` and `$` tie it to the ends; its syntax is
    that of Rust's `regex`, without look-around and back-references.

    Args:
        rules: Rules of the values.
        types: Types of the columns.

    Raises:
        UsageError: A rule does not fit the type of its field, or its value cannot be read.
    """
    compiled = [_compile(rule, types[rule.field]) for rule in rules]
    return sorted(compiled, key=lambda check: SEVERITIES.index(check.severity))


def first_broken(checks: list[RowCheck]) -> pl.Expr:
    """Give for each row the place in `checks` of the first rule that it breaks, else null."""
    if not checks:
        return pl.lit(None, dtype=pl.Int32)
    return pl.coalesce(
        pl.when(check.broken).then(pl.lit(place, dtype=pl.Int32))
        for place, check in enumerate(checks)
    )


def broken_rules(rows: pl.DataFrame, checks: list[RowCheck]) -> pl.DataFrame:
    """List every rule that every row breaks.

    Returns:
        Columns `row` (place in `rows`, uint32), `rule`, `field`, `severity`, `expected`; by row,
        then by severity.
    """
    schema = {"row": pl.UInt32, RULE: pl.String, FIELD: pl.String, SEVERITY: pl.String}
    found = [pl.DataFrame(schema=schema | {EXPECTED: pl.String})]
    for check in checks:
        places = rows.select(pl.arg_where(check.broken).cast(pl.UInt32).alias("row"))
        if places.is_empty():
            continue
        told = {RULE: check.rule, FIELD: check.field, SEVERITY: check.severity}
        words = [pl.lit(text).alias(name) for name, text in told.items()]
        found.append(places.with_columns(*words, pl.lit(check.expected).alias(EXPECTED)))
    return pl.concat(found).sort("row", maintain_order=True)


def default_values(defaults: dict[str, str], types: dict[str, FieldType]) -> list[pl.Expr]:
    """Give the columns that have defaults with their nulls replaced; raises as `parse_value`."""
    return [
        pl.col(name).fill_null(literal(parse_value(text, types[name]), types[name]))
        for name, text in defaults.items()
    ]


def _compile(rule: FieldRule, kind: FieldType) -> RowCheck:
    if kind.base not in TYPES[rule.kind]:
        raise UsageError(f"expected no such rule for a field of type `{kind}`")
    expected, broken = _condition(rule, kind, pl.col(rule.field))
    return RowCheck(rule.rule, rule.field, rule.severity, expected, broken)


def _condition(rule: FieldRule, kind: FieldType, value: pl.Expr) -> tuple[str, pl.Expr]:
    """Say what is expected, and when it is not so."""
    if rule.kind == "required":
        return "a value", value.is_null()
    if rule.kind == "unique_items":
        twice = value.list.n_unique() < value.list.len()
        return "each element once", twice.fill_null(value=False)
    expected, broken = _conditions(rule, kind, value)
    return expected, (value.is_not_null() & broken).fill_null(value=False)


def _conditions(rule: FieldRule, kind: FieldType, value: pl.Expr) -> tuple[str, pl.Expr]:
    first = rule.values[0] if rule.values else ""
    if rule.kind in _BOUNDS:
        words, outside = _BOUNDS[rule.kind]
        broken = outside(value, literal(parse_value(first, kind), kind))
        return f"{words} {first}", broken | value.is_nan() if kind.base == "float64" else broken
    if rule.kind in _SIZES:
        words, what, size = _SIZES[rule.kind]
        limit = pl.lit(parse_value(first, FieldType("int64")), dtype=pl.Int64)
        length = size(value).cast(pl.Int64)
        return f"{words} {first} {what}", length < limit if "min" in rule.kind else length > limit
    if rule.kind == "multiple_of":
        return f"a multiple of {first}", _remainder(first, kind, value) != 0
    if rule.kind == "pattern":
        check_pattern(first)
        return f"text that matches `{first}`", ~value.str.contains(first)
    shown = ", ".join(rule.values[:_SHOWN_VALUES]) + (
        ", …" if len(rule.values) > _SHOWN_VALUES else ""
    )
    if kind.base == "uuid":
        value = value.str.to_lowercase()
    listed = value.is_in(values_series(rule.values, kind).implode())
    return (f"one of {shown}", ~listed) if rule.kind == "one_of" else (f"none of {shown}", listed)


def _remainder(text: str, kind: FieldType, value: pl.Expr) -> pl.Expr:
    """Compute in whole units of the last place, which no rounding touches."""
    factor = parse_value(text, kind)
    if not isinstance(factor, int):
        factor = int(f"{factor:f}".replace(".", ""))
    if factor <= 0:
        raise UsageError(f"expected a number above 0, got `{text}`")
    if kind.base == "decimal":
        return value.to_physical() % pl.lit(factor, dtype=pl.Int128)
    return value.cast(pl.Int64) % pl.lit(factor, dtype=pl.Int64)


@functools.lru_cache(maxsize=256)
def check_pattern(pattern: str) -> None:
    """Refuse what is no regular expression; `UsageError` says what is wrong with it."""
    try:
        pl.Series([""]).str.contains(pattern)
    except PolarsError as error:
        lines = [line.removeprefix("error: ") for line in str(error).splitlines()]
        reason = next((line for line in lines[1:] if line and line[0] not in " ^"), lines[0])
        raise UsageError(
            f"expected a pattern in the syntax of Rust's regex, got `{pattern}`: {reason}"
        ) from error
