"""Which family of aggregates computes which function."""

from pipelines.expression_aggregate import AggregateExpression
from streaming.aggregate import Aggregate
from streaming.aggregate_approx_distinct import ApproxCountDistinct
from streaming.aggregate_count import Count, CountDistinct
from streaming.aggregate_extreme import Extreme
from streaming.aggregate_moment import Moment
from streaming.aggregate_position import Positional
from streaming.aggregate_quantile import ApproxQuantile
from streaming.aggregate_sum import Sum
from streaming.aggregate_top import TopK

_FAMILIES: dict[str, type[Aggregate]] = {
    "count": Count,
    "count_distinct": CountDistinct,
    "sum": Sum,
    "avg": Sum,
    "min": Extreme,
    "max": Extreme,
    "bool_and": Extreme,
    "bool_or": Extreme,
    "var_samp": Moment,
    "var_pop": Moment,
    "stddev_samp": Moment,
    "stddev_pop": Moment,
    "first": Positional,
    "last": Positional,
    "arg_min": Positional,
    "arg_max": Positional,
    "approx_count_distinct": ApproxCountDistinct,
    "approx_quantile": ApproxQuantile,
    "top_k": TopK,
}


def aggregate_of(column: str, call: AggregateExpression, slot: str) -> Aggregate:
    """Make the aggregate of a call; see `Aggregate` for the arguments."""
    return _FAMILIES[call.function](column, call, slot)
