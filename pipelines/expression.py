"""SQL expressions of a pipeline, in DuckDB's dialect, parsed and typed against the fields."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.conversion import is_null
from pipelines.expression_typing import type_expression
from pipelines.operation import Operation


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


def parse_scalar(text: str, fields: Mapping[str, FieldType]) -> ScalarExpression:
    """Parse and type a row expression; `PipelineSpecError` names a near miss for a wrong field."""
    return type_scalar(text, parse_tree(text), fields)


def parse_condition(text: str, fields: Mapping[str, FieldType]) -> ScalarExpression:
    """Parse a row expression that must be true or false; raises `PipelineSpecError`."""
    parsed = parse_scalar(text, fields)
    if parsed.type.base != "bool":
        raise PipelineSpecError(
            f"`{text}`: expected a condition that is true or false, "
            f"got a value of type `{parsed.type}`"
        )
    return parsed


def parse_tree(text: str) -> exp.Expr:
    """Parse one SQL expression; raises `PipelineSpecError`."""
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb")
    except SqlglotError as error:
        details = getattr(error, "errors", None) or [{}]
        reason = str(details[0].get("description") or str(error).splitlines()[0]).rstrip(". ")
        near = details[0].get("highlight")
        where = f" at `{near}`" if near else ""
        if "<class" in reason:  # the parser's own name of what is incomplete
            reason = "something is missing beside it"
        raise PipelineSpecError(
            f"`{text}`: expected one SQL expression, got a mistake{where}: {reason}"
        ) from error
    except RecursionError as error:
        raise PipelineSpecError(f"`{text[:60]}…`: expected an expression of less depth") from error
    return tree


def placed(text: str, error: PipelineSpecError) -> PipelineSpecError:
    """Put the whole expression before the message, unless the message begins with it already."""
    part, colon, reason = str(error).partition("`: ")
    whole = colon and part.lstrip("`").casefold() == text.strip().casefold()
    return PipelineSpecError(f"`{text}`: {reason if whole else error}")


def type_scalar(text: str, tree: exp.Expr, fields: Mapping[str, FieldType]) -> ScalarExpression:
    """Type a parsed row expression that stands in `text`; raises `PipelineSpecError`."""
    try:
        root = type_expression(tree, fields)
    except PipelineSpecError as error:
        raise placed(text, error) from error
    except RecursionError as error:
        raise PipelineSpecError(f"`{text[:60]}…`: expected an expression of less depth") from error
    if is_null(root):
        raise PipelineSpecError(f"`{text}`: expected a value with a type, got null; cast it")
    return ScalarExpression(text, tree, root.type, root.columns, root)
