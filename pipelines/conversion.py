"""Types of literals, common types and explicit conversions of expressions."""

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal

from common.duration import parse_time_us
from common.errors import PipelineSpecError, UsageError
from contracts.field_type import FieldType
from pipelines.operation import Operation

MAX_DIGITS = 38
INT32 = FieldType("int32")
INT64 = FieldType("int64")
FLOAT64 = FieldType("float64")
BOOL = FieldType("bool")
STRING = FieldType("string")
TIMESTAMP = FieldType("timestamp")
TIMESTAMP_US = FieldType("timestamp", precision=6)
DATE = FieldType("date")

INTEGERS = frozenset({"int32", "int64"})
EXACT = INTEGERS | {"decimal"}
NUMBERS = EXACT | {"float64"}
INSTANTS = frozenset({"timestamp", "timestamp_ms"})
UNORDERED = frozenset({"json", "list"})

_INTEGER = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"([0-9]*)\.([0-9]*)")
_FLOAT = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]+")
_INTEGER_DIGITS = {"int32": 10, "int64": 19}


def decimal(precision: int, scale: int) -> FieldType:
    """Make a decimal type, capped at 38 digits; `PipelineSpecError` for a scale above that."""
    if scale > MAX_DIGITS:
        raise PipelineSpecError(
            f"the result has {scale} digits after the point, expected at most "
            f"{MAX_DIGITS}; cast an operand to fewer"
        )
    return FieldType("decimal", precision=max(min(precision, MAX_DIGITS), scale, 1), scale=scale)


def nullable(kind: FieldType, *, when: bool = True) -> FieldType:
    """Give the same type with the given nullability."""
    return replace(kind, nullable=when)


def family(kind: FieldType) -> str:
    """Name what may be compared with what: `number`, `instant`, or the base type itself."""
    if kind.base in NUMBERS:
        return "number"
    return "instant" if kind.base in INSTANTS else kind.base


def number_literal(text: str) -> Operation:
    """Type a number: int32 or int64, an exact decimal with a point, float64 with an exponent."""
    if _INTEGER.fullmatch(text):
        value = int(text)
        if value < 1 << 31:
            return Operation("literal", INT32, constant=value)
        if value < 1 << 63:
            return Operation("literal", INT64, constant=value)
        if len(text) <= MAX_DIGITS:
            return Operation("literal", decimal(len(text), 0), constant=Decimal(text))
    elif found := _DECIMAL.fullmatch(text):
        whole = found[1].lstrip("0") or "0"
        if len(whole) + len(found[2]) <= MAX_DIGITS:
            kind = decimal(len(whole) + len(found[2]), len(found[2]))
            return Operation("literal", kind, constant=Decimal(f"{whole}.{found[2] or '0'}"))
    elif _FLOAT.fullmatch(text):
        return Operation("literal", FLOAT64, constant=float(text))
    raise PipelineSpecError(f"number `{text}`: expected at most {MAX_DIGITS} digits")


def negated_literal(value: Operation) -> Operation | None:
    """Make the minus sign part of a written number; None when the value is no written number."""
    constant = value.constant
    if value.name != "literal" or isinstance(constant, bool | str):
        return None
    if not isinstance(constant, int | float | Decimal):
        return None
    if constant == 1 << 31:
        return Operation("literal", INT32, constant=-(1 << 31))
    if constant == 1 << 63:
        return Operation("literal", INT64, constant=-(1 << 63))
    return Operation("literal", value.type, constant=-constant)


def as_decimal(value: Operation) -> Operation:
    """Convert an integer exactly to a decimal without places; decimals stay."""
    if value.type.base == "decimal":
        return value
    digits = _INTEGER_DIGITS[value.type.base]
    if value.name == "literal" and isinstance(value.constant, int):
        digits = len(str(abs(value.constant)))
    return convert(value, decimal(digits, 0))


def convert(value: Operation, target: FieldType) -> Operation:
    """Convert to `target`, whose nullability is ignored; a null literal takes any type."""
    kind = nullable(target, when=value.type.nullable)
    if value.name == "literal" and value.constant is None:
        return Operation("literal", nullable(target))
    if kind == value.type:
        return value
    if family(kind) == "instant" and family(value.type) == "instant":
        return _finer(value) if kind.precision and not value.type.precision else value
    if (
        value.name == "literal"
        and value.type.base == "string"
        and family(kind) in {"instant", "date"}
    ):
        return text_literal(str(value.constant), kind)
    return _folded(value, kind) or Operation("cast", kind, (value,))


def _finer(value: Operation) -> Operation:
    """Give an instant of milliseconds in microseconds; polars would compare in the coarser unit."""
    kind = nullable(TIMESTAMP_US, when=value.type.nullable)
    if value.name == "literal" and isinstance(value.constant, int):
        return Operation("literal", kind, constant=value.constant * 1_000)
    return Operation("cast", kind, (value,))


def _folded(value: Operation, kind: FieldType) -> Operation | None:
    """Convert a written number here where possible; None leaves it to the compiler."""
    constant = value.constant
    if (
        value.name != "literal"
        or isinstance(constant, bool | str)
        or not isinstance(constant, int | Decimal)
    ):
        return None
    if kind.base == "float64":
        return Operation("literal", FLOAT64, constant=float(constant))
    if kind.base == "int64" and isinstance(constant, int):
        return Operation("literal", INT64, constant=constant)
    if kind.base == "decimal" and (kind.precision or 0) - (kind.scale or 0) >= len(
        str(abs(int(constant)))
    ):
        places = value.type.scale or 0
        return (
            Operation("literal", kind, constant=Decimal(constant))
            if places <= (kind.scale or 0)
            else None
        )
    return None


def text_literal(text: str, kind: FieldType) -> Operation:
    """Read quoted text as a time with zone or as a date."""
    if family(kind) == "instant":
        try:
            value_us = parse_time_us(text)
        except UsageError as error:
            raise PipelineSpecError(f"'{text}': {error}") from error
        if kind.precision:
            return Operation("literal", TIMESTAMP_US, constant=value_us)
        return Operation("literal", TIMESTAMP, constant=value_us // 1_000)
    try:
        return Operation("literal", DATE, constant=date.fromisoformat(text))
    except ValueError as error:
        raise PipelineSpecError(f"'{text}': expected a date such as 2026-05-01") from error


def common_type(values: list[Operation], what: str) -> FieldType:
    """Find the type that all values convert to; float64 as soon as one is a float64."""
    kinds = [value.type for value in values if not is_null(value)]
    if not kinds:
        raise PipelineSpecError(f"{what}: expected at least one value with a type, got only null")
    texts = [value for value in values if value.name == "literal" and value.type.base == "string"]
    others = [value.type for value in values if not is_null(value) and value not in texts]
    times = [kind for kind in others if family(kind) in {"instant", "date"}]
    if times and texts:
        kinds = others
    families = dict.fromkeys(family(kind) for kind in kinds)
    if len(families) > 1:
        listed = " and ".join(f"`{nullable(kind, when=False)}`" for kind in dict.fromkeys(kinds))
        raise PipelineSpecError(
            f"{what}: expected values of one type, got {listed}; cast one of them"
        )
    return nullable(_widest(kinds), when=any(value.type.nullable for value in values))


def _widest(kinds: list[FieldType]) -> FieldType:
    bases = {kind.base for kind in kinds}
    if "float64" in bases:
        return FLOAT64
    if "decimal" in bases:
        wholes = [_INTEGER_DIGITS.get(k.base) or (k.precision or 0) - (k.scale or 0) for k in kinds]
        scale = max(kind.scale or 0 for kind in kinds)
        return decimal(max(wholes) + scale, scale)
    if "int64" in bases:
        return INT64
    if family(kinds[0]) == "instant":
        return TIMESTAMP_US if any(kind.precision for kind in kinds) else TIMESTAMP
    return kinds[0]


def is_null(value: Operation) -> bool:
    """Tell whether this is the literal `null`."""
    return value.name == "literal" and value.constant is None


def unify(values: list[Operation], what: str) -> list[Operation]:
    """Convert all values to their common type."""
    kind = common_type(values, what)
    return [convert(value, kind) for value in values]
