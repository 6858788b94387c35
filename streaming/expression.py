"""Typed expressions compiled to polars, with DuckDB's meaning.

Whole numbers are computed one size wider and converted back strictly, decimals are converted
strictly to their declared digits, so an overflow raises and never wraps. Branches of `case`,
`coalesce`, `and` and `or` that can raise see null where they are not taken, so
`case when x < 1000 then x * x end` does not fail on what its condition excludes.

Every conversion that can raise goes through a `Conversion`, so that a batch can ask which rows fail
(`expression_failure`) instead of raising.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import reduce

import polars as pl

from pipelines.expression import ScalarExpression
from pipelines.operation import Operation
from streaming.expression_search import SEARCH_COMPILERS
from streaming.field_dtype import INSTANT, INSTANT_US, polars_type

_WIDER = {"int32": pl.Int64(), "int64": pl.Int128()}
_DAY_OF = {"doy": "ordinal_day", "dow": "weekday", "isodow": "weekday"}
_TRUNCATE = {
    "second": "1s",
    "minute": "1m",
    "hour": "1h",
    "day": "1d",
    "week": "1w",
    "month": "1mo",
    "quarter": "1q",
    "year": "1y",
}


Kind = pl.DataType | type[pl.DataType]


class Conversion:
    """Converts strictly: evaluating raises where a value does not fit."""

    def cast(self, value: pl.Expr, kind: Kind, node: Operation) -> pl.Expr:  # noqa: ARG002 - a hook
        """Convert a value on the way to that of `node`."""
        return value.cast(kind)

    def operand(self, left: pl.Expr, right: pl.Expr, node: Operation) -> pl.Expr:  # noqa: ARG002 - a hook
        """Give the left side of arithmetic on decimals, which raises above 38 digits."""
        return left


_STRICT = Conversion()
RaisingCompiler = Callable[[Operation, list[pl.Expr], Conversion], pl.Expr]


def to_polars(
    expression: ScalarExpression,
    taken: pl.Expr | None = None,
    conversion: Conversion = _STRICT,
) -> pl.Expr:
    """Compile an expression over columns that are named as the fields and typed by `polars_type`.

    Evaluating the result raises `polars.exceptions.PolarsError` where a value overflows its type.
    With `taken`, a condition without nulls, the result is null where that is false, and what the
    expression would fail on there does no harm.
    """
    value = _Compiler(conversion).compile(expression.root, taken)
    return value if taken is None else pl.when(taken).then(value)


def condition_to_polars(expression: ScalarExpression) -> pl.Expr:
    """Compile a condition; a null condition is not true."""
    return to_polars(expression).fill_null(value=False)


class _Compiler:
    def __init__(self, conversion: Conversion) -> None:
        self._conversion = conversion

    def compile(self, node: Operation, taken: pl.Expr | None) -> pl.Expr:
        """Compile a node; with `taken`, columns are null in the rows for which it is not true."""
        if node.name == "column":
            column = pl.col(str(node.constant))
            return column if taken is None else pl.when(taken).then(column)
        if node.name == "literal":
            return _literal(node, taken)
        if node.name == "case":
            return self.case(node, taken)
        if node.name == "coalesce":
            return self.coalesce(node, taken)
        if node.name in {"and", "or"} and _can_raise(node.arguments[1]):
            return self.guarded(node, taken)
        parts = [self.compile(part, taken) for part in node.arguments]
        if node.name in _RAISING:
            return _RAISING[node.name](node, parts, self._conversion)
        return _COMPILERS[node.name](node, parts)

    def guarded(self, node: Operation, taken: pl.Expr | None) -> pl.Expr:
        """Compile `and`, `or`: the right side is computed where the left does not decide."""
        left = self.compile(node.arguments[0], taken)
        if not node.arguments[0].columns:
            # A guard without columns has one row, and so would all that it guards.
            if _constant(node.arguments[0]) is (node.name == "or"):
                return _per_row(node, decides=node.name == "or")
            right = self.compile(node.arguments[1], taken)
            return left & right if node.name == "and" else left | right
        open_rows = left.fill_null(value=node.name == "and")
        open_rows = open_rows if node.name == "and" else ~open_rows
        right = self.compile(node.arguments[1], _both(taken, open_rows))
        return left & right if node.name == "and" else left | right

    def case(self, node: Operation, taken: pl.Expr | None) -> pl.Expr:
        pairs, default = _open_branches(node)
        none_before: pl.Expr | None = taken
        branches: list[tuple[pl.Expr, pl.Expr]] = []
        for test, value in zip(pairs[::2], pairs[1::2], strict=True):
            condition = self.compile(test, none_before if _can_raise(test) else taken).fill_null(
                value=False
            )
            inside = _both(none_before, condition)
            chosen = self.compile(value, inside if _can_raise(value) else taken)
            branches.append((condition, chosen))
            none_before = _both(none_before, ~condition)
        result = self.compile(default, none_before if _can_raise(default) else taken)
        for condition, chosen in reversed(branches):
            result = pl.when(condition).then(chosen).otherwise(result)
        return result

    def coalesce(self, node: Operation, taken: pl.Expr | None) -> pl.Expr:
        values: list[pl.Expr] = []
        for part in node.arguments:
            if values and _can_raise(part):
                missing = pl.coalesce(values).is_null()
                values.append(self.compile(part, _both(taken, missing)))
            else:
                values.append(self.compile(part, taken))
        return pl.coalesce(values)


def _per_row(node: Operation, *, decides: bool) -> pl.Expr:
    """Give a truth value that is the same in every row, one for each row."""
    if not node.columns:
        return pl.lit(decides)
    known = pl.col(node.columns[0]).is_null()
    return known | pl.lit(value=True) if decides else known & pl.lit(value=False)


def _constant(node: Operation) -> object:
    """Compute a node that reads no column."""
    return pl.select(_Compiler(_STRICT).compile(node, None)).item()


def _literal(node: Operation, taken: pl.Expr | None) -> pl.Expr:
    kind = polars_type(node.type)
    if node.constant is None:
        return pl.lit(None, dtype=kind)
    if kind in {INSTANT, INSTANT_US}:
        value = pl.lit(node.constant, dtype=pl.Int64).cast(kind)
    else:
        value = pl.lit(node.constant, dtype=kind)
    return value if taken is None else pl.when(taken).then(value)


def _can_raise(node: Operation) -> bool:
    raises = node.name in _RAISING and node.type.base != "float64"
    return raises or any(_can_raise(part) for part in node.arguments)


def _both(taken: pl.Expr | None, condition: pl.Expr) -> pl.Expr:
    return condition if taken is None else taken & condition


def _open_branches(node: Operation) -> tuple[list[Operation], Operation]:
    """Leave out the branches that a condition without columns closes or makes the last."""
    *pairs, default = node.arguments
    left: list[Operation] = []
    for test, value in zip(pairs[::2], pairs[1::2], strict=True):
        if test.columns:
            left += [test, value]
        elif _constant(test) is True:
            return left, value
    return left, default


def _checked(operation: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> RaisingCompiler:
    def compile_arithmetic(
        node: Operation, parts: list[pl.Expr], conversion: Conversion
    ) -> pl.Expr:
        kind = polars_type(node.type)
        wider = _WIDER.get(node.type.base)
        if wider is not None:
            result = operation(parts[0].cast(wider), parts[1].cast(wider))
            return conversion.cast(result, kind, node)
        if node.type.base == "decimal":
            known = pl.when(parts[1].is_not_null()).then(parts[0])
            left = conversion.cast(known, pl.Decimal(38, node.type.scale or 0), node)
            left = conversion.operand(left, parts[1], node)
            return conversion.cast(operation(left, parts[1]), kind, node)
        return operation(parts[0], parts[1])

    return compile_arithmetic


def _divide(node: Operation, parts: list[pl.Expr]) -> pl.Expr:
    divisor = parts[1]
    if not node.arguments[1].columns:
        # polars multiplies by the reciprocal of a scalar, which rounds twice: make it a column
        divisor = pl.when(parts[0].is_not_null()).then(divisor)
    return parts[0] / divisor


def _whole_division(node: Operation, parts: list[pl.Expr], conversion: Conversion) -> pl.Expr:
    wider = _WIDER[node.type.base]
    value, divisor = parts[0].cast(wider), parts[1].cast(wider)
    quotient = (value.abs() // divisor.abs()) * value.sign() * divisor.sign()
    result = quotient if node.name == "intdiv" else value - quotient * divisor
    return conversion.cast(result, polars_type(node.type), node)


def _sign(node: Operation, parts: list[pl.Expr], conversion: Conversion) -> pl.Expr:
    wider = _WIDER.get(node.type.base)
    if wider is None:
        return -parts[0] if node.name == "neg" else parts[0].abs()
    value = parts[0].cast(wider)
    signed = pl.lit(0, dtype=wider) - value if node.name == "neg" else value.abs()
    return conversion.cast(signed, polars_type(node.type), node)


def _round(node: Operation, parts: list[pl.Expr], conversion: Conversion) -> pl.Expr:
    kind, places = polars_type(node.type), int(str(node.constant or 0))
    if node.type.base == "decimal" and polars_type(node.arguments[0].type) == kind:
        return parts[0]
    room = parts[0]
    if node.arguments[0].type.base == "decimal":
        room = _with_room(node, parts[0], conversion)
    if node.name == "round":
        rounded = room.round(places, mode="half_away_from_zero")
    else:
        rounded = room.floor() if node.name == "floor" else room.ceil()
    return conversion.cast(rounded, kind, node)


def _with_room(node: Operation, value: pl.Expr, conversion: Conversion) -> pl.Expr:
    """Give a decimal all digits that there are, for rounding."""
    return conversion.cast(value, pl.Decimal(38, node.arguments[0].type.scale or 0), node)


def _cast(node: Operation, parts: list[pl.Expr], conversion: Conversion) -> pl.Expr:
    source, kind, value = node.arguments[0], polars_type(node.type), parts[0]
    if source.type.base == "decimal" and node.type.base in {"decimal", "int32", "int64"}:
        places = node.type.scale or 0
        if places < (source.type.scale or 0):
            room = _with_room(node, value, conversion)
            value = room.round(places, mode="half_away_from_zero")
    if source.type.base == "bool" and node.type.base == "string":
        return pl.when(value).then(pl.lit("true")).when(~value).then(pl.lit("false"))
    if source.type.base == "float64" and node.type.base in {"int32", "int64"}:
        value = value.round(0, mode="half_to_even")
    if source.type.base == "float64" and node.type.base == "decimal":
        value = _float_to_decimal(node, value, conversion)
    if kind == INSTANT_US and source.type.base != "date":
        # polars panics where milliseconds have no microseconds
        value = value.to_physical().cast(pl.Int128) * pl.lit(1_000, dtype=pl.Int128)
        return conversion.cast(value, pl.Int64(), node).cast(kind)
    return conversion.cast(value, kind, node)


def _float_to_decimal(node: Operation, value: pl.Expr, conversion: Conversion) -> pl.Expr:
    """Round half away from zero after scaling, as DuckDB does; polars rounds half to even."""
    scale = node.type.scale or 0
    scaled = (value * 10.0**scale).round(0, mode="half_away_from_zero")
    whole = conversion.cast(scaled, pl.Int128(), node)
    unit = pl.lit(Decimal(1).scaleb(-scale), dtype=pl.Decimal(38, scale))
    return conversion.cast(whole, pl.Decimal(38, 0), node) * unit


def _in(_node: Operation, parts: list[pl.Expr]) -> pl.Expr:
    return pl.any_horizontal([parts[0] == other for other in parts[1:]])


def _like(node: Operation, parts: list[pl.Expr]) -> pl.Expr:
    wild = {"%": ".*", "_": "."}
    pattern = "".join(wild.get(letter) or re.escape(letter) for letter in str(node.constant))
    return parts[0].str.contains(rf"(?s)\A(?:{pattern})\z")


def _substring(node: Operation, parts: list[pl.Expr]) -> pl.Expr:
    bounds = node.constant
    if not isinstance(bounds, tuple) or bounds[0] is None:
        raise TypeError(f"substring without bounds: {node}")
    return parts[0].str.slice(bounds[0] - 1, bounds[1])


def _simple_case(text: pl.Expr, *pairs: str) -> pl.Expr:
    """Replace letters whose case polars changes by context or into two, as DuckDB does."""
    for letter, other in zip(pairs[::2], pairs[1::2], strict=True):
        text = text.str.replace_all(letter, other, literal=True)
    return text


def _extract(node: Operation, parts: list[pl.Expr]) -> pl.Expr:
    unit = str(node.constant)
    part: pl.Expr = getattr(parts[0].dt, _DAY_OF.get(unit, unit))()
    part = part.cast(pl.Int64)
    return part % 7 if unit == "dow" else part


_RAISING: dict[str, RaisingCompiler] = {
    "cast": _cast,
    "add": _checked(lambda left, right: left + right),
    "sub": _checked(lambda left, right: left - right),
    "mul": _checked(lambda left, right: left * right),
    "intdiv": _whole_division,
    "mod": _whole_division,
    "neg": _sign,
    "abs": _sign,
    "round": _round,
    "floor": _round,
    "ceil": _round,
}
_COMPILERS: dict[str, Callable[[Operation, list[pl.Expr]], pl.Expr]] = {
    "div": _divide,
    "eq": lambda _, parts: parts[0] == parts[1],
    "ne": lambda _, parts: parts[0] != parts[1],
    "lt": lambda _, parts: parts[0] < parts[1],
    "le": lambda _, parts: parts[0] <= parts[1],
    "gt": lambda _, parts: parts[0] > parts[1],
    "ge": lambda _, parts: parts[0] >= parts[1],
    "same": lambda _, parts: parts[0].eq_missing(parts[1]),
    "not_same": lambda _, parts: parts[0].ne_missing(parts[1]),
    "is_null": lambda _, parts: parts[0].is_null(),
    "in": _in,
    "like": _like,
    "and": lambda _, parts: parts[0] & parts[1],
    "or": lambda _, parts: parts[0] | parts[1],
    "not": lambda _, parts: ~parts[0],
    "concat": lambda _, parts: reduce(lambda left, right: left + right, parts),
    "concat_skip_null": lambda _, parts: pl.concat_str([part.fill_null("") for part in parts]),
    "lower": lambda _, parts: _simple_case(
        parts[0], "\u0130", "i", "\u03a3", "\u03c3"
    ).str.to_lowercase(),
    "upper": lambda _, parts: _simple_case(parts[0], "\u00df", "\u1e9e").str.to_uppercase(),
    "length": lambda _, parts: parts[0].str.len_chars().cast(pl.Int64),
    "substring": _substring,
    "trim": lambda _, parts: parts[0].str.strip_chars(" "),
    "extract": _extract,
    "date_trunc": lambda node, parts: parts[0].dt.truncate(_TRUNCATE[str(node.constant)]),
    **SEARCH_COMPILERS,
}
