"""Rules of a contract's file: options of types, and quality, as rules of rows, keys and tables.

A rule of quality that allows no value at all (`mustBe: 0` and the like) says something of each row,
or is a key; every other one is measured over the whole data.
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from common.errors import UsageError
from common.near_miss import near_miss
from contracts.contract import (
    Comparison,
    FieldRule,
    Metric,
    Operator,
    QualityRule,
    RuleKind,
    Severity,
    UniqueKey,
)
from contracts.document import Document
from contracts.field_type import UNGROUPABLE, FieldType
from contracts.odcs_shape import METRICS, OPERATORS
from contracts.problem import Path
from contracts.row_check import compile_rules

Values = dict[str, Any]

OPTION_RULES: dict[str, RuleKind] = {
    "minimum": "minimum",
    "exclusiveMinimum": "exclusive_minimum",
    "maximum": "maximum",
    "exclusiveMaximum": "exclusive_maximum",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
    "minItems": "min_items",
    "maxItems": "max_items",
    "uniqueItems": "unique_items",
}

_ERROR = "error"
_UNRUN = frozenset({"text", "custom"})
_SEVERITIES: dict[str, Severity | None] = {
    "block": "block",
    "blocker": "block",
    "critical": "block",
    "fatal": "block",
    "error": None,
    "major": None,
    "high": None,
    "quarantine": "quarantine",
    "warn": "warn",
    "warning": "warn",
    "medium": "warn",
    "minor": "warn",
    "low": "warn",
    "info": "warn",
}
"""The standard leaves the words open; those of None depend on what the rule looks at."""

_INTEGER_BOUNDS = {
    "i8": (-128, 127),
    "i16": (-32_768, 32_767),
    "u8": (0, 255),
    "u16": (0, 65_535),
    "u32": (0, 4_294_967_295),
    "u64": (0, 18_446_744_073_709_551_615),
    "u128": (0, None),
}


_MOST_DIGITS = 40
"""Before or behind the point of a bound."""

_ZONELESS = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?")
_UTC = frozenset({"UTC", "Etc/UTC", "Z"})


@dataclass
class Found:
    """Rules of a contract as they are found.

    Attributes:
        types: Type of every field.
        rules: Rules of values, by field.
        unique: Keys that are not the primary one.
        quality: Rules of the whole data.
        names: Names of rules that are taken.
        places: Where rules of the whole data stand, by name.
    """

    types: dict[str, FieldType]
    rules: dict[str, list[FieldRule]] = field(default_factory=dict)
    unique: list[UniqueKey] = field(default_factory=list)
    quality: list[QualityRule] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    places: dict[str, Path] = field(default_factory=dict)

    def name(self, wanted: str) -> str:
        """Give a rule a name that no other has."""
        name, again = wanted, 1
        while name in self.names:
            again += 1
            name = f"{wanted}-{again}"
        self.names.add(name)
        return name


def severity_of(word: str | None, *, whole: bool) -> Severity:
    """Read a severity; an error is the default, and lets nothing through that breaks the rule.

    Args:
        word: As written.
        whole: Whether the rule looks at the whole data, of which nothing can be set aside.

    Raises:
        UsageError: It is none of the words that are known.
    """
    known = (word or _ERROR).lower()
    if known not in _SEVERITIES:
        raise UsageError(
            f"expected one of {', '.join(_SEVERITIES)}, got `{word}`{near_miss(known, _SEVERITIES)}"
        )
    return _SEVERITIES[known] or ("block" if whole else "quarantine")


def add_option_rules(
    document: Document, path: Path, name: str, options: Values, found: Found, word: str | None
) -> None:
    """Add the rules that `logicalTypeOptions` of a field state."""
    severity = severity_of(word, whole=False)
    for option, kind in OPTION_RULES.items():
        given = options.get(option)
        if given is None or given is False:
            continue
        values = [] if given is True else [_bound(str(given), options, found.types[name])]
        rule = FieldRule(
            rule=found.name(f"{name}.{kind}"),
            field=name,
            kind=kind,
            values=values,
            severity=severity,
        )
        add_rule(document, (*path, option), found, rule)
    for kind, bound in _format_bounds(options, found.types[name]):
        rule = FieldRule(
            rule=found.name(f"{name}.format.{kind}"),
            field=name,
            kind=kind,
            values=[str(bound)],
            severity=severity,
        )
        add_rule(document, (*path, "format"), found, rule)


def _bound(text: str, options: Values, kind: FieldType) -> str:
    """Write a bound with the zone that the standard gives it, UTC unless the contract says so."""
    if kind.base not in {"timestamp", "timestamp_ms"} or not _ZONELESS.fullmatch(text):
        return text
    if options.get("defaultTimezone", "UTC") not in _UTC:
        return text  # refused: a bound in another zone must say so itself
    return f"{text}Z" if ":" in text else f"{text}T00:00Z"


def _format_bounds(options: Values, kind: FieldType) -> list[tuple[RuleKind, int]]:
    if kind.base not in {"int32", "int64", "decimal"}:
        return []
    low, high = _INTEGER_BOUNDS.get(options.get("format", ""), (None, None))
    bounds: list[tuple[RuleKind, int | None]] = [("minimum", low), ("maximum", high)]
    return [(name, bound) for name, bound in bounds if bound is not None]


def add_rule(document: Document, path: Path, found: Found, rule: FieldRule) -> None:
    """Add a rule of values, or record why it does not fit the field."""
    try:
        compile_rules([rule], found.types)
    except UsageError as error:
        document.report(path, str(error))
        return
    found.rules.setdefault(rule.field, []).append(rule)


def add_quality(
    document: Document, path: Path, values: Values, found: Found, name: str | None
) -> None:
    """Add a rule of quality of a field, or of the whole dataset when there is no name."""
    sort = values.get("type", "library")
    metric = {"sql": "sql", "text": "text", "custom": "custom"}.get(sort)
    if sort == "library":
        if "metric" not in values:
            document.report(
                (*path, "metric"), "expected a `metric`, or `type: sql`, `text` or `custom`"
            )
            return
        metric = METRICS[values["metric"]]
    if not _placed(document, path, values, name):
        return
    wanted = values.get("id") or values.get("name") or metric
    rule = QualityRule(
        rule=found.name(f"{name}.{wanted}" if name else str(wanted)),
        metric=cast("Metric", metric),
        fields=_fields(values, name),
        comparison=_comparison(document, path, values)
        if metric not in {"text", "custom"}
        else None,
        unit="percent" if values.get("unit", "").lower() in {"percent", "%"} else "rows",
        values=[*_arguments(values, "validValues"), *_arguments(values, "missingValues")],
        pattern=values.get("arguments", {}).get("pattern"),
        query=values.get("query"),
        description=values.get("description", ""),
        dimension=values.get("dimension", ""),
    )
    if _complete(document, path, rule, found):
        _sort_in(document, path, values, found, rule)


def _fields(values: Values, name: str | None) -> list[str]:
    return [name] if name else values.get("arguments", {}).get("properties", [])


def _arguments(values: Values, argument: str) -> list[str | None]:
    given: list[str | None] = values.get("arguments", {}).get(argument, [])
    return given


def _placed(document: Document, path: Path, values: Values, name: str | None) -> bool:
    """Check that a rule stands where its metric has a meaning."""
    metric = values.get("metric")
    if name is None and metric in {"nullValues", "missingValues", "invalidValues"}:
        document.report((*path, "metric"), f"expected `{metric}` in the `quality` of a property")
        return False
    if name is not None and metric == "rowCount":
        document.report((*path, "metric"), "expected `rowCount` in the `quality` of the schema")
        return False
    return True


def _comparison(document: Document, path: Path, values: Values) -> Comparison | None:
    given = [operator for operator in OPERATORS if operator in values]
    if len(given) != 1:
        got = " and ".join(given) or "none"
        document.report(path, f"expected exactly one of {', '.join(OPERATORS)}, got {got}")
        return None
    bounds = values[given[0]]
    bounds = bounds if isinstance(bounds, list) else [bounds]
    bounds = [{"true": "1", "false": "0"}.get(str(bound).lower(), str(bound)) for bound in bounds]
    try:
        numbers = [_number(bound) for bound in bounds]
        if "etween" in given[0] and (len(numbers) != len("ab") or numbers[0] > numbers[1]):
            raise UsageError("expected two numbers, the smaller first")  # noqa: TRY301 (one report)
    except (InvalidOperation, UsageError) as error:
        reason = str(error) if isinstance(error, UsageError) else "expected a number"
        document.report((*path, given[0]), f"{reason}, got `{', '.join(bounds)}`")
        return None
    return Comparison(operator=cast("Operator", OPERATORS[given[0]]), bounds=bounds)


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
        raise UsageError("expected a number")
    return number


def _complete(document: Document, path: Path, rule: QualityRule, found: Found) -> bool:
    """Check that a rule says all that its metric needs; its comparison is checked before."""
    before = len(document.problems)
    if rule.metric == "row_count" and rule.unit == "percent":
        document.report((*path, "unit"), "expected rows with `rowCount`, got percent")
    if rule.metric == "sql" and not rule.query:
        document.report((*path, "query"), "expected the query of a rule of type sql, got none")
    if rule.metric == "invalid_values" and not rule.values and rule.pattern is None:
        document.report(
            (*path, "arguments"), "expected `validValues` or `pattern` of what is valid, got none"
        )
    if rule.metric == "missing_values" and not rule.values:
        document.report((*path, "arguments"), "expected `missingValues`, got none")
    if rule.metric == "duplicate_values" and not rule.fields:
        document.report((*path, "arguments"), "expected `properties`, got none")
    for name in rule.fields:
        if name not in found.types:
            document.report(
                (*path, "arguments", "properties"),
                f"no property `{name}`{near_miss(name, found.types)}",
            )
        elif rule.metric == "duplicate_values" and found.types[name].base in UNGROUPABLE:
            document.report(path, key_refusal(name, found.types[name]))
    compared = rule.metric in _UNRUN or rule.comparison is not None
    return compared and len(document.problems) == before


def key_refusal(name: str, kind: FieldType) -> str:
    """Say why a field can be no key."""
    return f"expected a type that keys can have, got `{name}` of type `{kind}`"


def _sort_in(
    document: Document, path: Path, values: Values, found: Found, rule: QualityRule
) -> None:
    strict = _allows_none(rule) and rule.metric not in {"row_count", "sql"}
    whole = not strict or rule.metric == "duplicate_values"
    try:
        severity = severity_of(values.get("severity"), whole=whole)
    except UsageError as error:
        document.report((*path, "severity"), str(error))
        return
    if severity == "quarantine" and not strict and rule.metric not in _UNRUN:
        document.report(
            (*path, "severity"),
            "expected block or warn, as a rule of the whole dataset does not tell which rows to "
            "set aside, got `quarantine`",
        )
        return
    rule = rule.model_copy(update={"severity": severity})
    if strict and rule.metric == "duplicate_values":
        found.unique.append(UniqueKey(rule=rule.rule, fields=rule.fields, severity=severity))
        return
    rows = _row_rules(rule, found)
    for one in rows:
        if strict:
            add_rule(document, path, found, one)
        else:
            _check_rule(document, path, found, one)
    if not strict:
        found.quality.append(rule.model_copy(update={"counted": rows}))
        found.places[rule.rule] = path


def _check_rule(document: Document, path: Path, found: Found, rule: FieldRule) -> None:
    try:
        compile_rules([rule], found.types)
    except UsageError as error:
        document.report(path, str(error))


def _allows_none(rule: QualityRule) -> bool:
    """Tell whether a rule holds for the number 0 alone, of all counts."""
    if rule.comparison is None:
        return False
    bound = Decimal(rule.comparison.bounds[-1])
    operator = rule.comparison.operator
    if operator == "<":
        return rule.unit == "rows" and 0 < bound <= 1
    if operator == "between":
        return bound == 0 and Decimal(rule.comparison.bounds[0]) <= 0
    return operator in {"=", "<="} and bound == 0


def _row_rules(rule: QualityRule, found: Found) -> list[FieldRule]:
    """Say of each row what a metric of one field counts."""
    if rule.metric not in {"null_values", "missing_values", "invalid_values"}:
        return []
    kinds: list[tuple[RuleKind, list[str]]] = []
    texts = [value for value in rule.values if value is not None]
    if rule.metric == "null_values" or (rule.metric == "missing_values" and None in rule.values):
        kinds.append(("required", []))
    if texts:
        kinds.append(("one_of" if rule.metric == "invalid_values" else "none_of", texts))
    if rule.pattern is not None:
        kinds.append(("pattern", [rule.pattern]))
    return [
        FieldRule(
            rule=rule.rule if place == 0 else found.name(rule.rule),
            field=rule.fields[0],
            kind=kind,
            values=values,
            severity=rule.severity,
        )
        for place, (kind, values) in enumerate(kinds)
    ]
