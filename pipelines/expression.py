"""SQL expressions of a pipeline, in DuckDB's dialect, parsed and typed against the fields."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.conversion import INT64, NUMBERS, UNORDERED, decimal, is_null, nullable
from pipelines.expression_typing import check_parts, type_expression
from pipelines.operation import Operation

AGGREGATE_WORDS = "count(*), count(x), count(distinct x), sum(x), min(x), max(x), avg(x)"

_FUNCTIONS: dict[type[exp.Expr], str] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Min: "min",
    exp.Max: "max",
    exp.Avg: "avg",
}
_NOT_DISTINCT = UNORDERED | {"float64"}


@dataclass(frozen=True)
class ScalarExpression:
    """A typed row expression.

    Attributes:
        tree: The parsed SQL, columns unqualified.
        root: The same as typed operations; compilers read this.
        columns: Fields that are read, in the order of their first use.
    """

    text: str
    tree: exp.Expr
    type: FieldType
    columns: tuple[str, ...]
    root: Operation


@dataclass(frozen=True)
class AggregateExpression:
    """A typed aggregate call.

    Attributes:
        function: `count`, `sum`, `min`, `max`, `avg` or `count_distinct`.
        argument: What is aggregated; None for `count(*)`.
        type: Type of the result.
    """

    text: str
    function: str
    argument: ScalarExpression | None
    type: FieldType


def parse_scalar(text: str, fields: Mapping[str, FieldType]) -> ScalarExpression:
    """Parse and type a row expression; `PipelineSpecError` names a near miss for a wrong field."""
    return _scalar(text, _parse(text), fields)


def parse_condition(text: str, fields: Mapping[str, FieldType]) -> ScalarExpression:
    """Parse a row expression that must be true or false; raises `PipelineSpecError`."""
    parsed = parse_scalar(text, fields)
    if parsed.type.base != "bool":
        raise PipelineSpecError(
            f"`{text}`: expected a condition that is true or false, "
            f"got a value of type `{parsed.type}`"
        )
    return parsed


def parse_aggregate(text: str, fields: Mapping[str, FieldType]) -> AggregateExpression:
    """Parse and type an aggregate call; raises `PipelineSpecError`."""
    tree = _parse(text)
    function = _FUNCTIONS.get(type(tree))
    if function is None:
        raise PipelineSpecError(f"`{text}`: expected one aggregate, one of {AGGREGATE_WORDS}")
    try:
        check_parts(tree)
    except PipelineSpecError as error:
        raise _placed(text, error) from error
    inner = tree.this
    if isinstance(inner, exp.Star):
        if function != "count" or any(inner.args.values()):
            raise PipelineSpecError(
                f"`{text}`: only count takes `*`, expected one of {AGGREGATE_WORDS}"
            )
        return AggregateExpression(text, "count", None, INT64)
    if isinstance(inner, exp.Distinct):
        if function != "count" or len(inner.expressions) != 1 or inner.args.get("on"):
            raise PipelineSpecError(
                f"`{text}`: expected `distinct` in count only, over one expression"
            )
        function, inner = "count_distinct", inner.expressions[0]
    if inner is None:
        raise PipelineSpecError(f"`{text}`: expected one of {AGGREGATE_WORDS}")
    argument = _scalar(text, inner, fields)
    if not argument.columns:
        if function == "count" and not argument.type.nullable:
            return AggregateExpression(text, "count", None, INT64)
        raise PipelineSpecError(f"`{text}`: expected a field to aggregate, got only a constant")
    return AggregateExpression(
        text, function, argument, _result_type(text, function, argument.type)
    )


def _parse(text: str) -> exp.Expr:
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb")
    except SqlglotError as error:
        details = getattr(error, "errors", None) or [{}]
        reason = str(details[0].get("description") or str(error).splitlines()[0]).rstrip(". ")
        near = details[0].get("highlight")
        where = f" at `{near}`" if near else ""
        raise PipelineSpecError(
            f"`{text}`: expected one SQL expression, got a mistake{where}: {reason}"
        ) from error
    except RecursionError as error:
        raise PipelineSpecError(f"`{text[:60]}…`: expected an expression of less depth") from error
    return tree


def _placed(text: str, error: PipelineSpecError) -> PipelineSpecError:
    """Put the whole expression before the message, unless the message begins with it already."""
    part, colon, reason = str(error).partition("`: ")
    whole = colon and part.lstrip("`").casefold() == text.strip().casefold()
    return PipelineSpecError(f"`{text}`: {reason if whole else error}")


def _scalar(text: str, tree: exp.Expr, fields: Mapping[str, FieldType]) -> ScalarExpression:
    try:
        root = type_expression(tree, fields)
    except PipelineSpecError as error:
        raise _placed(text, error) from error
    except RecursionError as error:
        raise PipelineSpecError(f"`{text[:60]}…`: expected an expression of less depth") from error
    if is_null(root):
        raise PipelineSpecError(f"`{text}`: expected a value with a type, got null; cast it")
    return ScalarExpression(text, tree, root.type, root.columns, root)


def _result_type(text: str, function: str, kind: FieldType) -> FieldType:
    if function == "count":
        return INT64
    if function == "count_distinct":
        if kind.base in _NOT_DISTINCT:
            raise PipelineSpecError(
                f"`{text}`: expected a value that is counted exactly, got `{kind}`"
            )
        return INT64
    if function in {"min", "max"}:
        if kind.base in UNORDERED:
            raise PipelineSpecError(f"`{text}`: expected a value with an order, got `{kind}`")
        return nullable(kind)
    if kind.base not in NUMBERS:
        raise PipelineSpecError(f"`{text}`: expected a number, got `{kind}`")
    return nullable(_sum_type(kind) if function == "sum" else _average_type(text, kind))


def _sum_type(kind: FieldType) -> FieldType:
    if kind.base == "decimal":
        return decimal(38, kind.scale or 0)
    return kind if kind.base == "float64" else INT64


def _average_type(text: str, kind: FieldType) -> FieldType:
    if kind.base != "decimal":
        return FieldType("float64")
    if (kind.scale or 0) + 4 > 38:
        raise PipelineSpecError(
            f"`{text}`: expected at most 34 digits after the point, got `{kind}`"
        )
    return decimal(38, (kind.scale or 0) + 4)
