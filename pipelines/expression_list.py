"""Expressions that make rows of lists: `unnest(list)`."""

from collections.abc import Mapping

from sqlglot import exp

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.conversion import STRING, nullable
from pipelines.expression import ScalarExpression, parse_tree, type_scalar
from pipelines.expression_typing import check_parts


def parse_unnest(text: str, fields: Mapping[str, FieldType]) -> ScalarExpression:
    """Parse and type `unnest(list)`; gives the list.

    Raises:
        PipelineSpecError: It is something else, or not over a list of a column.
    """
    tree = parse_tree(text)
    if not isinstance(tree, exp.Explode):
        raise PipelineSpecError(f"`{text}`: expected `unnest(list)`, such as `unnest(items)`")
    check_parts(tree)
    argument = type_scalar(text, tree.this, fields)
    if argument.type.base != "list":
        raise PipelineSpecError(
            f"`{text}`: expected a list in `unnest`, got a value of type `{argument.type}`; "
            "`string_split(text, ',')` makes one of a text"
        )
    if not argument.columns:
        raise PipelineSpecError(f"`{text}`: expected a list of a field, got only a constant")
    return argument


def element_types(lists: Mapping[str, ScalarExpression]) -> dict[str, FieldType]:
    """Type the columns of one `expand`; several lists are filled up with nulls to the longest."""
    kinds = {name: found.type.element or STRING for name, found in lists.items()}
    if len(lists) == 1:
        return kinds
    return {name: nullable(kind) for name, kind in kinds.items()}
