"""Arithmetic, conversions and functions that expressions may use, with their result types."""

from collections.abc import Callable

from sqlglot import exp

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.conversion import (
    DATE,
    EXACT,
    FLOAT64,
    INT32,
    INT64,
    INTEGERS,
    NUMBERS,
    STRING,
    TIMESTAMP,
    TIMESTAMP_US,
    as_decimal,
    convert,
    decimal,
    family,
    is_null,
    negated_literal,
    nullable,
)
from pipelines.expression_search import SEARCH_WORDS, SEARCHES
from pipelines.operation import Operation, OperationName

Read = Callable[[exp.Expr], Operation]

FUNCTION_WORDS = (
    "abs", "round", "floor", "ceil", "coalesce", "concat", "lower", "upper", "length",
    "substring", "trim", "extract", "date_trunc", "cast", "nullif", *SEARCH_WORDS,
)  # fmt: skip
EXTRACT_UNITS = (
    "year", "quarter", "month", "week", "day", "doy", "dow", "isodow", "hour", "minute", "second",
)  # fmt: skip
TRUNCATE_UNITS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")

_CAST_NAMES: dict[exp.DType, FieldType] = {
    exp.DType.INT: INT32,
    exp.DType.BIGINT: INT64,
    exp.DType.DOUBLE: FLOAT64,
    exp.DType.BOOLEAN: FieldType("bool"),
    exp.DType.TEXT: STRING,
    exp.DType.VARCHAR: STRING,
    exp.DType.TIMESTAMPTZ: TIMESTAMP,
    exp.DType.DATE: DATE,
}
_CASTS: dict[str, frozenset[str]] = {
    "int32": frozenset(NUMBERS | {"string"}),
    "int64": frozenset(NUMBERS | {"string"}),
    "decimal": frozenset(EXACT | {"float64", "string"}),
    "float64": frozenset({"float64", "int32", "int64", "decimal"}),
    "bool": frozenset({"string", "int32", "int64", "bool"}),
    "date": frozenset({"timestamp", "string", "date"}),
    "timestamp": frozenset({"date", "timestamp"}),
    "timestamp_ms": frozenset({"date", "timestamp"}),
    "string": frozenset({"string"}),
    "uuid": frozenset({"string"}),
}


def arithmetic(name: OperationName, left: Operation, right: Operation, text: str) -> Operation:
    """Type `+ - * / // %`: whole numbers stay whole, decimals exact; `/` is always a float64."""
    left, right = _untyped_null(left, right), _untyped_null(right, left)
    for side in (left, right):
        if side.type.base not in NUMBERS:
            raise PipelineSpecError(f"`{text}`: expected numbers, got `{side.type}`")
    missing = left.type.nullable or right.type.nullable
    bases = {left.type.base, right.type.base}
    if name == "div" or (name in {"add", "sub", "mul"} and "float64" in bases):
        sides = (convert(left, FLOAT64), convert(right, FLOAT64))
        return Operation(name, nullable(FLOAT64, when=missing), sides)
    if name in {"intdiv", "mod"}:
        _check_divisor(left, right, text)
    if bases <= INTEGERS:
        kind = INT64 if "int64" in bases else INT32
        sides = (convert(left, kind), convert(right, kind))
        return Operation(name, nullable(kind, when=missing), sides)
    sides = (as_decimal(left), as_decimal(right))
    kind = _decimal_result(name, sides[0].type, sides[1].type)
    return Operation(name, nullable(kind, when=missing), sides)


def _untyped_null(value: Operation, other: Operation) -> Operation:
    return convert(value, other.type) if is_null(value) and not is_null(other) else value


def _check_divisor(left: Operation, right: Operation, text: str) -> None:
    plain = right.name == "literal" and isinstance(right.constant, int) and right.constant != 0
    if not plain or left.type.base not in INTEGERS:
        raise PipelineSpecError(
            f"`{text}`: expected a whole number divided by a written number other than 0 "
            "(a division by zero would stop the stream); use `/`, or floor of it"
        )


def _decimal_result(name: OperationName, left: FieldType, right: FieldType) -> FieldType:
    left_digits, left_scale = left.precision or 0, left.scale or 0
    right_digits, right_scale = right.precision or 0, right.scale or 0
    if name == "mul":
        return decimal(left_digits + right_digits, left_scale + right_scale)
    scale = max(left_scale, right_scale)
    return decimal(max(left_digits - left_scale, right_digits - right_scale) + scale + 1, scale)


def negate(value: Operation, text: str) -> Operation:
    """Type the minus sign; the minus of a written number is part of it."""
    if value.type.base not in NUMBERS or is_null(value):
        raise PipelineSpecError(f"`{text}`: expected a number, got `{value.type}`")
    if (literal := negated_literal(value)) is not None:
        return literal
    return Operation("neg", value.type, (value,))


def cast_operation(value: Operation, target: exp.DataType, text: str) -> Operation:
    """Type an explicit cast; what polars converts otherwise than DuckDB is refused."""
    kind = _cast_target(target, text)
    if is_null(value):
        return convert(value, kind)
    if kind.base not in _CASTS.get(value.type.base, frozenset()):
        allowed = sorted(_CASTS.get(value.type.base, frozenset()))
        raise PipelineSpecError(
            f"`{text}`: a cast from `{value.type}` to `{kind}` is not computed as in DuckDB, "
            f"expected one to {', '.join(allowed) or 'nothing'}"
        )
    return convert(value, kind)


def _cast_target(target: exp.DataType, text: str) -> FieldType:
    if target.this == exp.DType.DECIMAL:
        digits = [int(part.name) for part in target.expressions] or [18, 3]
        precision, scale = digits[0], digits[1] if len(digits) > 1 else 0
        if not 1 <= precision <= 38 or scale > precision:
            raise PipelineSpecError(
                f"`{text}`: expected decimal(p,s) with p of 1 to 38 and s of 0 to p"
            )
        return decimal(precision, scale)
    kind = _CAST_NAMES.get(target.this)
    if kind is None or target.expressions:
        raise PipelineSpecError(
            f"`{text}`: expected a cast to int, bigint, double, decimal(p,s), varchar, "
            f"boolean, timestamptz or date, got `{target.sql('duckdb').lower()}`"
        )
    return kind


def _number(node: exp.Expr, read: Read, allowed: frozenset[str]) -> Operation:
    value = read(node.this)
    if value.type.base not in allowed or is_null(value):
        words = "a decimal or float64" if "int32" not in allowed else "a number"
        raise PipelineSpecError(f"`{node.sql('duckdb')}`: expected {words}, got `{value.type}`")
    return value


def _abs(node: exp.Expr, read: Read) -> Operation:
    value = _number(node, read, frozenset(NUMBERS))
    return Operation("abs", value.type, (value,))


def _whole(node: exp.Expr, read: Read) -> Operation:
    name: OperationName = "floor" if isinstance(node, exp.Floor) else "ceil"
    value = _number(node, read, frozenset({"decimal", "float64"}))
    return Operation(name, _rounded_type(value.type, 0), (value,))


def _rounded_type(kind: FieldType, places: int) -> FieldType:
    if kind.base == "float64":
        return kind
    digits, scale = kind.precision or 0, kind.scale or 0
    if places >= scale:
        return kind
    return nullable(decimal(digits - scale + places + 1, places), when=kind.nullable)


def _round(node: exp.Expr, read: Read) -> Operation:
    value = _number(node, read, frozenset({"decimal", "float64"}))
    places = _whole_literal(node, "decimals", 0) or 0
    if value.type.base == "float64" and places:
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: rounding a float64 to decimal places is not exact; "
            f"declare the field as decimal(p,{places}) or more places in `source.fields`"
        )
    return Operation("round", _rounded_type(value.type, places), (value,), places)


def _whole_literal(node: exp.Expr, part: str, minimum: int) -> int | None:
    given = node.args.get(part)
    if given is None:
        return None
    if (
        not isinstance(given, exp.Literal)
        or given.is_string
        or not given.name.isdigit()
        or int(given.name) < minimum
    ):
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: expected a written whole number of "
            f"at least {minimum}, got `{given.sql('duckdb')}`"
        )
    return int(given.name)


def _text(node: exp.Expr, operand: exp.Expr, read: Read) -> Operation:
    value = read(operand)
    if value.type.base != "string":
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: expected a string, got `{value.type}`; cast it to varchar"
        )
    return value


def _text_function(name: OperationName, result: FieldType) -> Callable[[exp.Expr, Read], Operation]:
    def build(node: exp.Expr, read: Read) -> Operation:
        value = _text(node, node.this, read)
        return Operation(name, nullable(result, when=value.type.nullable), (value,))

    return build


def _substring(node: exp.Expr, read: Read) -> Operation:
    value = _text(node, node.this, read)
    start, length = _whole_literal(node, "start", 1), _whole_literal(node, "length", 0)
    if start is None:
        raise PipelineSpecError(f"`{node.sql('duckdb')}`: expected substring(text, start, length)")
    return Operation("substring", value.type, (value,), (start, length))


def _join(node: exp.Expr, read: Read) -> Operation:
    parts = (_text(node, node.this, read), _text(node, node.expression, read))
    missing = any(part.type.nullable for part in parts)
    return Operation("concat", nullable(STRING, when=missing), parts)


def _concat(node: exp.Expr, read: Read) -> Operation:
    parts = tuple(_text(node, part, read) for part in node.expressions)
    return Operation("concat_skip_null", STRING, parts)


def _time_unit(node: exp.Expr, unit: exp.Expr | None, allowed: tuple[str, ...]) -> str:
    name = unit.name.lower() if unit is not None else ""
    if name not in allowed:
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: expected one of {', '.join(allowed)}, got `{name}`"
        )
    return name


def _instant(node: exp.Expr, operand: exp.Expr, read: Read) -> Operation:
    value = read(operand)
    if family(value.type) not in {"instant", "date"}:
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: expected a timestamp or date, got `{value.type}`"
        )
    return value


def _extract(node: exp.Expr, read: Read) -> Operation:
    unit = _time_unit(node, node.this, EXTRACT_UNITS)
    value = convert(_instant(node, node.expression, read), TIMESTAMP)
    return Operation("extract", nullable(INT64, when=value.type.nullable), (value,), unit)


def _date_trunc(node: exp.Expr, read: Read) -> Operation:
    unit = _time_unit(node, node.args.get("unit"), TRUNCATE_UNITS)
    value = convert(_instant(node, node.this, read), TIMESTAMP)
    kind = nullable(TIMESTAMP_US if value.type.precision else TIMESTAMP, when=value.type.nullable)
    return Operation("date_trunc", kind, (value,), unit)


FUNCTIONS: dict[type[exp.Expr], Callable[[exp.Expr, Read], Operation]] = {
    exp.Abs: _abs,
    exp.Floor: _whole,
    exp.Ceil: _whole,
    exp.Round: _round,
    exp.Lower: _text_function("lower", STRING),
    exp.Upper: _text_function("upper", STRING),
    exp.Trim: _text_function("trim", STRING),
    exp.Substring: _substring,
    exp.DPipe: _join,
    exp.Concat: _concat,
    exp.Extract: _extract,
    exp.TimestampTrunc: _date_trunc,
    exp.DateTrunc: _date_trunc,
    **SEARCHES,
}
