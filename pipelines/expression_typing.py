"""Types of SQL expressions: sqlglot's tree in, operations with explicit conversions out.

The table is strict: what is not listed here is refused, so that no expression means something else
in polars than in DuckDB. Options of a call that are not listed are refused as well.
"""

from collections.abc import Callable, Mapping

from sqlglot import exp

from common.errors import PipelineSpecError
from common.near_miss import near_miss
from contracts.field_type import FieldType
from pipelines.conversion import (
    BOOL,
    STRING,
    TIMESTAMP,
    TIMESTAMP_US,
    UNORDERED,
    convert,
    family,
    is_null,
    nullable,
    number_literal,
    text_literal,
    unify,
)
from pipelines.expression_function import (
    FUNCTION_WORDS,
    FUNCTIONS,
    arithmetic,
    cast_operation,
    negate,
)
from pipelines.operation import Operation, OperationName

Fields = Mapping[str, FieldType]

_IGNORED = {"big_int", "safe", "coalesce", "typed", "_type", "joined"}
_PARTS: dict[type[exp.Expr], set[str]] = {
    exp.Case: {"this", "ifs", "default"},
    exp.In: {"this", "expressions"},
    exp.Between: {"this", "low", "high"},
    exp.Cast: {"this", "to"},
    exp.Like: {"this", "expression", "negate"},
    exp.Coalesce: {"this", "expressions"},
    exp.Concat: {"expressions"},
    exp.Substring: {"this", "start", "length"},
    exp.Trim: {"this"},
    exp.Round: {"this", "decimals"},
    exp.Extract: {"this", "expression"},
    exp.TimestampTrunc: {"this", "unit"},
    exp.DateTrunc: {"this", "unit"},
    exp.Literal: {"this", "is_string"},
    exp.Anonymous: {"this", "expressions"},
    exp.ApproxQuantile: {"this", "quantile"},
    exp.Bracket: {"this", "expressions"},
    exp.Replace: {"this", "expression", "replacement"},
}
_COMPARISONS: dict[type[exp.Expr], OperationName] = {
    exp.EQ: "eq",
    exp.NEQ: "ne",
    exp.LT: "lt",
    exp.LTE: "le",
    exp.GT: "gt",
    exp.GTE: "ge",
    exp.NullSafeEQ: "same",
    exp.NullSafeNEQ: "not_same",
}
_ARITHMETIC: dict[type[exp.Expr], OperationName] = {
    exp.Add: "add",
    exp.Sub: "sub",
    exp.Mul: "mul",
    exp.Div: "div",
    exp.IntDiv: "intdiv",
    exp.Mod: "mod",
}
_EQUALITY = {"eq", "ne", "same", "not_same"}
_FORMS: dict[type[exp.Expr], str] = {
    exp.Select: "a subquery",
    exp.Subquery: "a subquery",
    exp.Exists: "a subquery",
    exp.Window: "a window function",
    exp.AggFunc: "an aggregate",
    exp.Filter: "an aggregate filter",
    exp.Block: "several statements",
    exp.Alias: "an alias",
    exp.Interval: "an interval",
    exp.Lambda: "a lambda",
    exp.ILike: "`ilike`",
    exp.Star: "`*`",
}


def type_expression(tree: exp.Expr, fields: Fields) -> Operation:
    """Type a parsed expression against the fields.

    Raises:
        PipelineSpecError: An unknown field or function, a type error, or what is not computed here.
    """
    return _Typing(fields).read(tree)


def check_parts(node: exp.Expr) -> None:
    """Refuse options of a call that nobody reads, so that none is silently ignored."""
    allowed = _PARTS.get(type(node), {"this", "expression"}) | _IGNORED
    for name, value in node.args.items():
        if value and name not in allowed:
            raise PipelineSpecError(
                f"`{node.sql('duckdb')}`: expected the plain form, got option `{name}`"
            )


class _Typing:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def read(self, node: exp.Expr) -> Operation:
        if isinstance(node, exp.Paren):
            return self.read(node.this)
        if isinstance(node, exp.Column):
            return self.column(node)
        reader = _READERS.get(type(node))
        if reader is not None:
            check_parts(node)
            return reader(self, node)
        if type(node) in FUNCTIONS:
            check_parts(node)
            return FUNCTIONS[type(node)](node, self.read)
        raise PipelineSpecError(_refusal(node))

    def column(self, node: exp.Expr) -> Operation:
        name = node.name
        if node.args.get("table") is not None:
            raise PipelineSpecError(f"expected a plain field name, got `{node.sql('duckdb')}`")
        if name not in self._fields:
            same = next((known for known in self._fields if known.lower() == name.lower()), None)
            hint = f"; did you mean `{same}`?" if same else near_miss(name, self._fields)
            hint = hint or f", fields are {', '.join(self._fields)}"
            raise PipelineSpecError(f"no field `{name}` in `source.fields`{hint}")
        return Operation("column", self._fields[name], constant=name)

    def literal(self, node: exp.Expr) -> Operation:
        if node.args.get("is_string"):
            return Operation("literal", STRING, constant=str(node.this))
        return number_literal(str(node.this))

    def boolean(self, node: exp.Expr) -> Operation:
        return Operation("literal", BOOL, constant=bool(node.this))

    def null_literal(self, _node: exp.Expr) -> Operation:
        return Operation("literal", nullable(STRING))

    def condition(self, node: exp.Expr) -> Operation:
        value = self.read(node)
        if is_null(value):
            return convert(value, BOOL)
        if value.type.base != "bool":
            raise PipelineSpecError(
                f"`{node.sql('duckdb')}`: expected true or false, got `{value.type}`"
            )
        return value

    def connect(self, node: exp.Expr) -> Operation:
        name: OperationName = "and" if isinstance(node, exp.And) else "or"
        sides = (self.condition(node.this), self.condition(node.expression))
        return Operation(
            name, nullable(BOOL, when=any(side.type.nullable for side in sides)), sides
        )

    def negation(self, node: exp.Expr) -> Operation:
        value = self.condition(node.this)
        return Operation("not", value.type, (value,))

    def comparison(self, node: exp.Expr) -> Operation:
        left, right = self.read(node.this), self.read(node.expression)
        return compare(_COMPARISONS[type(node)], left, right, node.sql("duckdb"))

    def is_test(self, node: exp.Expr) -> Operation:
        value, target = self.read(node.this), node.expression
        if isinstance(target, exp.Null):
            return Operation("is_null", BOOL, (value,))
        if isinstance(target, exp.Boolean):
            right = Operation("literal", BOOL, constant=bool(target.this))
            return compare("same", value, right, node.sql("duckdb"))
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: expected `is null`, `is true` or `is false`"
        )

    def between(self, node: exp.Expr) -> Operation:
        value, text = self.read(node.this), node.sql("duckdb")
        low = compare("ge", value, self.read(node.args["low"]), text)
        high = compare("le", value, self.read(node.args["high"]), text)
        missing = low.type.nullable or high.type.nullable
        return Operation("and", nullable(BOOL, when=missing), (low, high))

    def membership(self, node: exp.Expr) -> Operation:
        if not node.expressions:
            raise PipelineSpecError(f"`{node.sql('duckdb')}`: expected a list of values, got none")
        text = node.sql("duckdb")
        values = unify(
            [self.read(node.this), *(self.read(item) for item in node.expressions)], f"`{text}`"
        )
        _check_comparable("eq", values[0], text)
        missing = any(value.type.nullable for value in values)
        return Operation("in", nullable(BOOL, when=missing), tuple(values))

    def like(self, node: exp.Expr) -> Operation:
        value, pattern = self.read(node.this), node.expression
        if value.type.base != "string" or is_null(value):
            raise PipelineSpecError(
                f"`{node.sql('duckdb')}`: expected a string before `like`, got `{value.type}`"
            )
        if not isinstance(pattern, exp.Literal) or not pattern.is_string:
            raise PipelineSpecError(f"`{node.sql('duckdb')}`: expected quoted text after `like`")
        result = Operation(
            "like", nullable(BOOL, when=value.type.nullable), (value,), str(pattern.this)
        )
        return Operation("not", result.type, (result,)) if node.args.get("negate") else result

    def choice(self, node: exp.Expr) -> Operation:
        text = node.sql("duckdb")
        branches = node.args["ifs"]
        default = node.args.get("default")
        values = [self.read(branch.args["true"]) for branch in branches]
        values.append(
            self.read(default) if default is not None else Operation("literal", nullable(STRING))
        )
        values = unify(values, f"`{text}`")
        conditions = [self.branch_condition(node, branch) for branch in branches]
        pairs = [part for pair in zip(conditions, values, strict=False) for part in pair]
        missing = any(value.type.nullable for value in values)
        return Operation("case", nullable(values[0].type, when=missing), (*pairs, values[-1]))

    def branch_condition(self, node: exp.Expr, branch: exp.Expr) -> Operation:
        if node.this is None:
            return self.condition(branch.this)
        return compare("eq", self.read(node.this), self.read(branch.this), node.sql("duckdb"))

    def coalesce(self, node: exp.Expr) -> Operation:
        values = unify(
            [self.read(part) for part in (node.this, *node.expressions)], f"`{node.sql('duckdb')}`"
        )
        certain = [place for place, value in enumerate(values) if not value.type.nullable]
        if certain:  # what stands behind it is never reached
            values = values[: certain[0] + 1]
        if len(values) == 1:
            return values[0]
        return Operation("coalesce", nullable(values[0].type, when=not certain), tuple(values))

    def null_if(self, node: exp.Expr) -> Operation:
        value, text = self.read(node.this), node.sql("duckdb")
        test = compare("eq", value, self.read(node.expression), text)
        kind = nullable(value.type)
        return Operation("case", kind, (test, Operation("literal", kind), value))

    def arithmetic(self, node: exp.Expr) -> Operation:
        left, right = self.read(node.this), self.read(node.expression)
        return arithmetic(_ARITHMETIC[type(node)], left, right, node.sql("duckdb"))

    def minus(self, node: exp.Expr) -> Operation:
        return negate(self.read(node.this), node.sql("duckdb"))

    def conversion(self, node: exp.Expr) -> Operation:
        target = node.args["to"]
        value = self.read(node.this)
        if node.this.is_string and target.this in {
            exp.DType.TIMESTAMPTZ,
            exp.DType.TIMESTAMP,
            exp.DType.TIMESTAMPNTZ,
        }:
            return _written_time(str(node.this.this))
        if node.this.is_string and target.this == exp.DType.DATE:
            return text_literal(str(node.this.this), FieldType("date"))
        return cast_operation(value, target, node.sql("duckdb"))


def _written_time(text: str) -> Operation:
    """Read a written time; one with digits below a millisecond keeps them."""
    fine = text_literal(text, TIMESTAMP_US)
    whole = isinstance(fine.constant, int) and fine.constant % 1_000 == 0
    return text_literal(text, TIMESTAMP) if whole else fine


def compare(name: OperationName, left: Operation, right: Operation, text: str) -> Operation:
    """Compare two values of one family; null when a side is, but for `same` and `not_same`."""
    sides = unify([left, right], f"`{text}`")
    for side in sides:
        _check_comparable(name, side, text)
    missing = name not in {"same", "not_same"} and any(side.type.nullable for side in sides)
    return Operation(name, nullable(BOOL, when=missing), tuple(sides))


def _check_comparable(name: OperationName, value: Operation, text: str) -> None:
    if value.type.base in UNORDERED:
        raise PipelineSpecError(
            f"`{text}`: `{value.type}` cannot be compared, only tested with `is null`"
        )
    if name not in _EQUALITY and family(value.type) == "bool":
        raise PipelineSpecError(f"`{text}`: expected values with an order, got `{value.type}`")


def _refusal(node: exp.Expr) -> str:
    for form, words in _FORMS.items():
        if isinstance(node, form):
            return f"`{node.sql('duckdb')}`: {words} is not allowed in a row expression"
    if isinstance(node, exp.Anonymous | exp.Func):
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name().lower()
        known = ", ".join(FUNCTION_WORDS)
        return (
            f"unknown function `{name}`, expected one of {known}{near_miss(name, FUNCTION_WORDS)}"
        )
    return f"`{node.sql('duckdb')}`: not computed with the meaning it has in DuckDB, so refused"


_Reader = Callable[[_Typing, exp.Expr], Operation]


def _readers() -> dict[type[exp.Expr], _Reader]:
    single: dict[type[exp.Expr], _Reader] = {
        exp.Literal: _Typing.literal,
        exp.Boolean: _Typing.boolean,
        exp.Null: _Typing.null_literal,
        exp.And: _Typing.connect,
        exp.Or: _Typing.connect,
        exp.Not: _Typing.negation,
        exp.Is: _Typing.is_test,
        exp.Between: _Typing.between,
        exp.In: _Typing.membership,
        exp.Like: _Typing.like,
        exp.Case: _Typing.choice,
        exp.Coalesce: _Typing.coalesce,
        exp.Nullif: _Typing.null_if,
        exp.Neg: _Typing.minus,
        exp.Cast: _Typing.conversion,
    }
    single.update(dict.fromkeys(_COMPARISONS, _Typing.comparison))
    single.update(dict.fromkeys(_ARITHMETIC, _Typing.arithmetic))
    return single


_READERS = _readers()
