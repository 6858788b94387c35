"""Values as files write them, in the type of a field: exact, or refused."""

import math
import re
from datetime import date
from decimal import Decimal, InvalidOperation
from fractions import Fraction

import polars as pl

from common.duration import parse_time_us
from common.errors import UsageError
from contracts.field_dtype import INSTANT_US, polars_type
from contracts.field_type import FieldType

Value = str | int | float | bool | Decimal | date

_WHOLE = re.compile(r"[+-]?[0-9]+")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BITS = {"int32": 31, "int64": 63}


def parse_value(text: str, kind: FieldType) -> Value:
    """Read a value in the type of a field; times become integers in the unit of the column.

    Raises:
        UsageError: The text is no value of that type, or the type would not hold it exactly.
    """
    if kind.base in _BITS:
        return _whole(text, kind)
    if kind.base == "decimal":
        return _decimal(text, kind)
    if kind.base == "float64":
        return _float(text)
    if kind.base == "bool":
        if text not in {"true", "false"}:
            raise UsageError(f"expected true or false, got `{text}`")
        return text == "true"
    if kind.base in {"timestamp", "timestamp_ms"}:
        return _instant(text, kind)
    if kind.base == "date":
        return _date(text)
    if kind.base == "uuid" and not _UUID.fullmatch(text):
        raise UsageError(f"expected a uuid in small letters, got `{text}`")
    if kind.base == "list":
        raise UsageError("expected a field of single values, got a list")
    return text


def literal(value: Value, kind: FieldType) -> pl.Expr:
    """Write a parsed value as an expression of exactly the column's type."""
    if kind.base in {"timestamp", "timestamp_ms"}:
        return pl.lit(value, dtype=pl.Int64).cast(polars_type(kind))
    return pl.lit(value, dtype=polars_type(kind))


def values_series(texts: list[str], kind: FieldType) -> pl.Series:
    """Give values as a column of exactly the field's type; raises as `parse_value`."""
    values = [parse_value(text, kind) for text in texts]
    if kind.base in {"timestamp", "timestamp_ms"}:
        return pl.Series(values, dtype=pl.Int64).cast(polars_type(kind))
    return pl.Series(values, dtype=polars_type(kind))


def _whole(text: str, kind: FieldType) -> int:
    limit = 2 ** _BITS[kind.base]
    if not _WHOLE.fullmatch(text) or not -limit <= int(text) < limit:
        raise UsageError(f"expected a whole number that {kind.base} holds, got `{text}`")
    return int(text)


def _decimal(text: str, kind: FieldType) -> Decimal:
    refusal = f"expected a number that decimal({kind.precision},{kind.scale}) holds, got `{text}`"
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise UsageError(refusal) from error
    scale, precision = kind.scale or 0, kind.precision or 0
    if not value.is_finite() or (value and not -scale <= value.adjusted() < precision - scale):
        raise UsageError(refusal)
    units = Fraction(value) * 10**scale if value else Fraction(0)
    if units.denominator != 1:
        raise UsageError(refusal)
    digits = tuple(int(digit) for digit in str(abs(units.numerator)))
    return Decimal((int(units < 0), digits, -scale))  # arithmetic would round to 28 digits


def _instant(text: str, kind: FieldType) -> int:
    value_us = parse_time_us(text)
    if polars_type(kind) == INSTANT_US:
        return value_us
    if value_us % 1_000:
        raise UsageError(f"expected a time in milliseconds, as {kind.base} holds, got `{text}`")
    return value_us // 1_000


def _float(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise UsageError(f"expected a number, got `{text}`") from error
    if not math.isfinite(value):
        raise UsageError(f"expected a finite number, got `{text}`")
    return value


def _date(text: str) -> date:
    try:
        if len(text) != len("2026-05-01"):
            raise ValueError("another length")  # noqa: TRY301 (one refusal for both)
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"expected a date such as 2026-05-01, got `{text}`") from error
