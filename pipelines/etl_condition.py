"""Conditions and metrics over a whole batch: `sum(amount) > 0 and count(*) > 10`."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.conversion import NUMBERS
from pipelines.etl_aggregate import parse_batch_aggregate
from pipelines.expression import ScalarExpression, parse_tree, type_scalar

_NAMED = frozenset({"top_k", "mean"})


@dataclass(frozen=True)
class BatchExpression:
    """An expression over aggregates of a batch.

    Attributes:
        text: As written.
        aggregates: Text of each aggregate, by the name of the column that stands for it.
        types: Types of these columns.
        value: The expression over these columns.
    """

    text: str
    aggregates: dict[str, str]
    types: dict[str, FieldType]
    value: ScalarExpression


def is_aggregate(node: exp.Expr) -> bool:
    """Tell whether a node is a call of an aggregate, its filter left out."""
    named = isinstance(node, exp.Anonymous) and node.name.lower() in _NAMED
    return named or isinstance(node, exp.AggFunc)


def parse_batch_expression(text: str, columns: Mapping[str, FieldType]) -> BatchExpression:
    """Parse and type an expression over aggregates.

    Raises:
        PipelineSpecError: An aggregate is wrong, there is none, or a column stands outside of one.
    """
    aggregates: dict[str, str] = {}

    def stand_in(node: exp.Expr) -> exp.Expr:
        if not is_aggregate(node) and not isinstance(node, exp.Filter):
            return node
        name = f"_value_{len(aggregates)}"
        aggregates[name] = node.sql("duckdb")
        return exp.column(name)

    tree = parse_tree(text)
    outside = tree.transform(stand_in)
    if not aggregates:
        raise PipelineSpecError(
            f"`{text}`: expected an expression over aggregates, such as `count(*) > 0`, got none"
        )
    plain = next(
        (one.name for one in outside.find_all(exp.Column) if one.name not in aggregates), None
    )
    if plain is not None:
        raise PipelineSpecError(
            f"`{text}`: expected columns inside of aggregates only, got `{plain}` outside; "
            "a check `row` looks at single rows"
        )
    types = {name: parse_batch_aggregate(one, columns).type for name, one in aggregates.items()}
    value = type_scalar(text, outside, types)
    return BatchExpression(text, aggregates, types, value)


def parse_batch_condition(text: str, columns: Mapping[str, FieldType]) -> BatchExpression:
    """Parse an expression over aggregates that is true or false; raises `PipelineSpecError`."""
    found = parse_batch_expression(text, columns)
    if found.value.type.base != "bool":
        raise PipelineSpecError(
            f"`{text}`: expected a condition that is true or false, "
            f"got a value of type `{found.value.type}`"
        )
    return found


def parse_metric(text: str, columns: Mapping[str, FieldType]) -> BatchExpression:
    """Parse an expression over aggregates that is a number; raises `PipelineSpecError`."""
    found = parse_batch_expression(text, columns)
    if found.value.type.base not in NUMBERS:
        raise PipelineSpecError(
            f"`{text}`: expected a number, got a value of type `{found.value.type}`"
        )
    return found
