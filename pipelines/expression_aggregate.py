"""Aggregate calls of a pipeline, in DuckDB's dialect, parsed and typed against the fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from sqlglot import exp

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.conversion import INT64
from pipelines.expression import ScalarExpression, parse_tree, placed, type_scalar
from pipelines.expression_aggregate_type import (
    MAX_TOP,
    POSITIONAL,
    check_quantile,
    result_type,
)
from pipelines.expression_typing import check_parts

AGGREGATE_WORDS = (
    "count(*), count(x), count(distinct x), count_if(c), sum(x), avg(x), min(x), max(x), "
    "bool_and(c), bool_or(c), var_samp(x), var_pop(x), stddev_samp(x), stddev_pop(x), first(x), "
    "last(x), arg_min(x, t), arg_max(x, t), approx_count_distinct(x), approx_quantile(x, q), "
    "top_k(x, k), each with `filter (where …)`"
)

_FUNCTIONS: dict[type[exp.Expr], str] = {
    exp.Count: "count",
    exp.CountIf: "count",
    exp.Sum: "sum",
    exp.Min: "min",
    exp.Max: "max",
    exp.Avg: "avg",
    exp.LogicalAnd: "bool_and",
    exp.LogicalOr: "bool_or",
    exp.Variance: "var_samp",
    exp.VariancePop: "var_pop",
    exp.Stddev: "stddev_samp",
    exp.StddevSamp: "stddev_samp",
    exp.StddevPop: "stddev_pop",
    exp.First: "first",
    exp.Last: "last",
    exp.ArgMin: "arg_min",
    exp.ArgMax: "arg_max",
    exp.ApproxDistinct: "approx_count_distinct",
    exp.ApproxQuantile: "approx_quantile",
}
_NAMED = {"top_k": ("top_k", 2), "mean": ("avg", 1)}
"""Calls that sqlglot has no form for: what they are, and how many arguments they take."""

_INSTEAD: dict[type[exp.Expr], str] = {
    exp.Median: "median is exact in DuckDB; write `approx_quantile(x, 0.5)`",
    exp.PercentileCont: "quantiles are exact in DuckDB; write `approx_quantile(x, 0.5)`",
    exp.PercentileDisc: "quantiles are exact in DuckDB; write `approx_quantile(x, 0.5)`",
    exp.Quantile: "quantiles are exact in DuckDB; write `approx_quantile(x, 0.5)`",
    exp.ApproxTopK: "the most frequent values are counted exactly here; write `top_k(x, k)`",
    exp.Mode: "write `top_k(x, 1)`",
    exp.AnyValue: "any value is another one in each run; write `first(x)`",
}


@dataclass(frozen=True)
class AggregateExpression:
    """A typed aggregate call.

    Attributes:
        function: The DuckDB name, one for each meaning; `count(distinct x)` is `count_distinct`.
        argument: What is aggregated; None for `count(*)` and `count_if(c)`.
        type: Type of the result.
        condition: Rows for which it is not true are left out; None takes all.
        number: The q of `approx_quantile(x, q)`, exactly as written, or the k of `top_k(x, k)`.
    """

    text: str
    function: str
    argument: ScalarExpression | None
    type: FieldType
    condition: ScalarExpression | None = None
    number: Fraction | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Fields that are read, each once."""
        read = [part.columns for part in (self.argument, self.condition) if part is not None]
        return tuple(dict.fromkeys(name for columns in read for name in columns))


@dataclass(frozen=True)
class _Call:
    """An aggregate call in parts.

    `count_if(c)` is `count(*) filter (where c)`.
    """

    function: str
    inner: exp.Expr | None
    second: exp.Expr | None
    condition: exp.Expr | None


def parse_aggregate(
    text: str, fields: Mapping[str, FieldType], event_time: str | None = None
) -> AggregateExpression:
    """Parse and type an aggregate call.

    Args:
        text: The call, with DuckDB's words.
        fields: Fields and derived columns by name.
        event_time: The field by which `arg_min` and `arg_max` may order; None refuses both.

    Raises:
        PipelineSpecError: It is no aggregate, or not one that is computed as in DuckDB.
    """
    call = _call(text, parse_tree(text))
    condition = None
    if call.condition is not None:
        condition = _condition(text, call.condition, fields)
    if isinstance(call.inner, exp.Star):
        if call.function != "count" or any(call.inner.args.values()):
            raise PipelineSpecError(
                f"`{text}`: only count takes `*`, expected one of {AGGREGATE_WORDS}"
            )
        return AggregateExpression(text, "count", None, INT64, condition)
    function, inner = call.function, call.inner
    if isinstance(inner, exp.Distinct):
        if function != "count" or len(inner.expressions) != 1 or inner.args.get("on"):
            raise PipelineSpecError(
                f"`{text}`: expected `distinct` in count only, over one expression"
            )
        function, inner = "count_distinct", inner.expressions[0]
    if inner is None:
        raise PipelineSpecError(f"`{text}`: expected one of {AGGREGATE_WORDS}")
    argument = type_scalar(text, inner, fields)
    if not argument.columns:
        if function == "count" and not argument.type.nullable:
            return AggregateExpression(text, "count", None, INT64, condition)
        raise PipelineSpecError(f"`{text}`: expected a field to aggregate, got only a constant")
    number = _number(text, function, call.second, event_time)
    kind = result_type(text, function, argument.type)
    return AggregateExpression(text, function, argument, kind, condition, number)


def _call(text: str, tree: exp.Expr) -> _Call:
    condition = None
    try:
        if isinstance(tree, exp.Filter):
            check_parts(tree)
            condition, tree = tree.expression.this, tree.this
        _check_form(tree)
    except PipelineSpecError as error:
        raise placed(text, error) from error
    if isinstance(tree, exp.Anonymous):
        function, _ = _NAMED[tree.name.lower()]
        inner, second = (*tree.expressions, None)[:2]
        return _Call(function, inner, second, condition)
    if isinstance(tree, exp.CountIf) and tree.this is not None:
        parts = [exp.Paren(this=part) for part in (tree.this, condition) if part is not None]
        return _Call("count", exp.Star(), None, exp.and_(*parts, copy=False))
    second = tree.args.get("quantile") or tree.args.get("expression")
    return _Call(_FUNCTIONS[type(tree)], tree.this, second, condition)


def _check_form(tree: exp.Expr) -> None:
    """Refuse what is no aggregate call, or one with options that nobody reads."""
    if type(tree) in _INSTEAD:
        raise PipelineSpecError(f"not computed here: {_INSTEAD[type(tree)]}")
    named = _NAMED.get(tree.name.lower()) if isinstance(tree, exp.Anonymous) else None
    if named is None and type(tree) not in _FUNCTIONS:
        raise PipelineSpecError(f"expected one aggregate, one of {AGGREGATE_WORDS}")
    check_parts(tree)
    if named is not None and len(tree.expressions) != named[1]:
        raise PipelineSpecError(
            f"expected {named[1]} argument{'s' * (named[1] > 1)} of {tree.name.lower()}, "
            f"got {len(tree.expressions)}"
        )


def _condition(text: str, tree: exp.Expr, fields: Mapping[str, FieldType]) -> ScalarExpression:
    condition = type_scalar(text, tree, fields)
    if condition.type.base != "bool":
        raise PipelineSpecError(
            f"`{text}`: expected a condition that is true or false, "
            f"got a value of type `{condition.type}`"
        )
    return condition


def _number(
    text: str, function: str, second: exp.Expr | None, event_time: str | None
) -> Fraction | None:
    """Read what stands behind the first argument; `arg_min(x, t)` orders by event time only."""
    if function in POSITIONAL:
        if function.startswith("arg_"):
            _check_order(text, second, event_time)
        elif second is not None:
            raise PipelineSpecError(f"`{text}`: expected one argument")
        return None
    reader = _READERS.get(function)
    if reader is not None:
        return reader(text, second)
    if second is not None:
        raise PipelineSpecError(f"`{text}`: expected one argument")
    return None


def _check_order(text: str, order: exp.Expr | None, event_time: str | None) -> None:
    plain = isinstance(order, exp.Column) and order.args.get("table") is None
    if event_time is None or not plain or order is None or order.name != event_time:
        wanted = f"`{event_time}`" if event_time else "a field of the event time"
        got = order.sql("duckdb") if order is not None else "nothing"
        raise PipelineSpecError(
            f"`{text}`: expected the order to be that of the event time, {wanted}, got `{got}`"
        )


def _quantile(text: str, node: exp.Expr | None) -> Fraction:
    if not isinstance(node, exp.Literal) or node.is_string:
        raise PipelineSpecError(f"`{text}`: expected a written quantile such as 0.95")
    return check_quantile(text, str(node.this))


def _top(text: str, node: exp.Expr | None) -> Fraction:
    written = str(node.this) if isinstance(node, exp.Literal) and not node.is_string else ""
    if not written.isdigit() or not 1 <= int(written) <= MAX_TOP:
        raise PipelineSpecError(
            f"`{text}`: expected a written whole number of 1 to {MAX_TOP:,} behind the comma"
        )
    return Fraction(int(written))


_READERS: dict[str, Callable[[str, exp.Expr | None], Fraction]] = {
    "approx_quantile": _quantile,
    "top_k": _top,
}
