"""Queries of a contract's rules of quality, as values over the rows of a batch."""

import re
from collections.abc import Mapping

from sqlglot import exp

from common.errors import PipelineSpecError
from contracts.contract import Contract, QualityRule
from contracts.field_type import FieldType
from pipelines.conversion import NUMBERS
from pipelines.etl_condition import BatchExpression, is_aggregate, parse_batch_expression
from pipelines.expression import parse_tree

ADVICE = "write the query as an expression over aggregates, or make the rule `type: custom`"

_NAME = re.compile(r"\$?\{(object|table|property|column)\}")
_TABLE_PARTS = frozenset({"this", "db", "catalog"})
_PARTS = frozenset({"kind", "expressions", "from_", "where"})


def parse_contract_query(
    contract: Contract, rule: QualityRule, columns: Mapping[str, FieldType]
) -> BatchExpression:
    """Read a query as an expression over aggregates: `sum(amount)`, or one `select` of one.

    The `where` of a `select` becomes a filter of each aggregate, which says the same.

    Raises:
        PipelineSpecError: It is more than that, or does not fit the columns.
    """
    query = rule.query or ""
    written = _NAME.sub(lambda found: _named(rule, found[1]), query).rstrip().rstrip(";")
    tree = parse_tree(written)
    names = {name.lower() for name in (contract.dataset, contract.physical_name, "_dataset")}
    if isinstance(tree, exp.Select):
        tree = _value(query, tree, names - {""})
    found = parse_batch_expression(tree.sql("duckdb"), columns)
    if found.value.type.base not in NUMBERS | {"bool"}:
        raise PipelineSpecError(
            f"`{query}`: expected a number, or true or false, got a value of type "
            f"`{found.value.type}`"
        )
    return found


def queries_that_cannot_run(
    contract: Contract, columns: Mapping[str, FieldType] | None = None
) -> dict[str, str]:
    """Give the rules whose queries cannot run in a batch, with the reason.

    Args:
        contract: The contract.
        columns: What is extracted; without it the fields of the contract.
    """
    found: dict[str, str] = {}
    for rule in contract.quality:
        if rule.metric != "sql" or rule.comparison is None:
            continue
        try:
            parse_contract_query(contract, rule, columns or contract.types)
        except PipelineSpecError as error:
            told = str(error).replace("no field `", "no column `")
            told = told.replace(" in `source.fields`", "")
            found[rule.rule] = f"{told}{'' if told.endswith('?') else ';'} {ADVICE}"
    return found


def _named(rule: QualityRule, name: str) -> str:
    if name in {"object", "table"}:
        return "_dataset"
    if not rule.fields:
        raise PipelineSpecError(
            f"`{rule.query}`: expected `{{{name}}}` in the `quality` of a property only"
        )
    return exp.to_identifier(rule.fields[0], quoted=True).sql("duckdb")


def _value(query: str, select: exp.Select, names: set[str]) -> exp.Expr:
    """Give what a `select` selects, with its `where` in each aggregate."""
    given = {part for part, value in select.args.items() if value}
    table = select.args["from_"].this if "from_" in given else None
    whole = len(select.expressions) == 1 and given <= _PARTS and not _nested(select)
    if not whole or not isinstance(table, exp.Table) or not set(_given(table)) <= _TABLE_PARTS:
        raise PipelineSpecError(
            f"`{query}`: expected `select` of one value from the dataset, with no more than a "
            "`where`"
        )
    if table.name.lower() not in names:
        raise PipelineSpecError(
            f"`{query}`: expected the dataset itself, `{{object}}`, got `{table.name}`"
        )
    for column in select.find_all(exp.Column):
        if column.table.lower() in names:
            for qualifier in ("table", "db", "catalog"):
                column.set(qualifier, None)
    value: exp.Expr = select.expressions[0].unalias()
    where = select.args.get("where")
    return value if where is None else value.transform(lambda node: _filtered(node, where.this))


def _filtered(node: exp.Expr, condition: exp.Expr) -> exp.Expr:
    """Filter an aggregate, unless it stands in a filter of its own, which takes the condition."""
    if isinstance(node, exp.Filter):
        own = node.expression.this
        both = exp.and_(own.copy(), condition.copy(), copy=False)
        return exp.Filter(this=node.this, expression=exp.Where(this=both))
    if is_aggregate(node) and not isinstance(node.parent, exp.Filter):
        return exp.Filter(this=node.copy(), expression=exp.Where(this=condition.copy()))
    return node


def _given(node: exp.Expr) -> list[str]:
    return [name for name, value in node.args.items() if value]


def _nested(select: exp.Select) -> bool:
    return any(one is not select for one in select.find_all(exp.Query))
