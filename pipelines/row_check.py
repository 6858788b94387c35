"""What must hold for `where`, `derive` and the steps of `transform`: names and types, in order."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from common.errors import PipelineSpecError, UserFunctionError
from contracts.document import MISSING, Document, Plain
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from contracts.problem import Path
from pipelines.enrich_check import check_enrich
from pipelines.expression import ScalarExpression, parse_condition, parse_scalar
from pipelines.expression_aggregate import AggregateExpression
from pipelines.expression_list import element_types, parse_unnest
from pipelines.python_function import check_function
from pipelines.transform import Enrich, taken_types

RESERVED = (
    "window_start",
    "window_end",
    "_key",
    "_version",
    "_deleted",
    "_topic",
    "_partition",
    "_offset",
    "_element",
    "_timestamp_ms",
    "_row",
)

UNCHECKED = frozenset({"json", "uuid", "list"})
"""Types that own functions cannot return, nor lists of them."""

Values = dict[str, Any]
Parse = Callable[[str, dict[str, FieldType]], ScalarExpression | AggregateExpression]


@dataclass
class Columns:
    """Columns of the rows after the steps so far.

    Attributes:
        known: Type of each column that has one.
        broken: Columns whose declaration is wrong; what uses them is no further problem.
    """

    known: dict[str, FieldType]
    broken: set[str]

    @property
    def declared(self) -> list[str]:
        """Names that the file gives, also those whose declaration is wrong."""
        return [*self.known, *self.broken]

    def has_broken(self, text: str) -> bool:
        """Tell whether an expression uses a column whose declaration is wrong."""
        return any(re.search(rf"\b{name}\b", text) for name in self.broken)


def check_rows(document: Document, values: Values, columns: Columns) -> None:
    """Check everything between decoding and grouping; adds the new columns to `columns`."""
    check_step(document, (), values, columns)
    steps = values.get("transform")
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, dict):
            check_step(document, ("transform", index), step, columns)


def check_step(
    document: Document, place: Path, step: Values, columns: Columns, look_up: str = "enrich"
) -> None:
    """Check one step; adds its columns to `columns`.

    Args:
        document: Takes the problems.
        place: Where the step stands.
        step: Its values; a look-up is pinned to the content of its file.
        columns: Columns that the step can use.
        look_up: Name of the option that looks rows up in a reference file.
    """
    condition = step.get("where", MISSING)
    if isinstance(condition, dict):
        check_call(document, (*place, "where"), condition, columns)
    elif condition is not MISSING:
        check_expression(document, (*place, "where"), parse_condition, condition, columns)
    for name, value in _table(step, "derive"):
        path = (*place, "derive", name)
        if _is_new(document, path, name, columns):
            _add(document, path, name, value, columns)
    lists: dict[str, ScalarExpression] = {}
    expanded = list(_table(step, "expand"))
    for name, text in expanded:
        path = (*place, "expand", name)
        if not _is_new(document, path, name, columns, lists):
            continue
        found = None
        if text is not MISSING:
            found = check_expression(document, path, parse_unnest, text, columns)
        if isinstance(found, ScalarExpression):
            lists[name] = found
    columns.known.update(element_types(lists))
    columns.broken.update(name for name, _ in expanded if name not in columns.known)
    if isinstance(step.get(look_up), dict):
        pinned = _enrich(document, (*place, look_up), step[look_up], columns)
        step[look_up] = pinned or step[look_up]


def _enrich(document: Document, path: Path, values: Values, columns: Columns) -> Enrich | None:
    take = values.get("take", MISSING)
    names = [one for one in take if isinstance(one, str)] if isinstance(take, dict | list) else []
    seen: list[str] = []
    for name in names:
        _is_new(document, (*path, "take"), name, columns, seen)
        seen.append(name)
    uses = values.get("on", MISSING)
    found: Enrich | None = None
    if uses is MISSING or not columns.has_broken(
        " ".join([uses] if isinstance(uses, str) else uses)
    ):
        found = check_enrich(document, path, values, columns.known)
    if found is None:
        columns.broken.update(set(names) - set(columns.known))
        return None
    columns.known.update(
        (name, kind) for name, kind in taken_types(found).items() if name not in columns.known
    )
    return found


def _table(step: Values, part: str) -> Iterable[tuple[str, Any]]:
    found = step.get(part)
    return found.items() if isinstance(found, dict) else ()


def _is_new(
    document: Document, path: Path, name: str, columns: Columns, besides: Iterable[str] = ()
) -> bool:
    if name not in columns.known and name not in RESERVED and name not in besides:
        return True
    document.report(path, "expected a new name, got one of a field or a reserved one")
    return False


def _add(document: Document, path: Path, name: str, value: Plain, columns: Columns) -> None:
    kind = None
    if isinstance(value, dict):
        kind = check_call(document, path, value, columns)
    elif value is not MISSING:
        found = check_expression(document, path, parse_scalar, value, columns)
        kind = None if found is None else found.type
    if kind is None:
        columns.broken.add(name)
    else:
        columns.known[name] = kind


def check_call(document: Document, path: Path, call: Values, columns: Columns) -> FieldType | None:
    """Check a call of a user's own function: its arguments, its result, and that it is there."""
    arguments = call.get("args")
    listed = arguments if isinstance(arguments, list) else []
    for index, text in enumerate(listed):
        if text is not MISSING:
            check_expression(document, (*path, "args", index), parse_scalar, text, columns)
    returns = call.get("returns", "bool?")
    name = call.get("python", MISSING)
    if name is not MISSING and listed:
        try:
            check_function(name, len(listed))
        except UserFunctionError as error:
            document.report((*path, "python"), str(error))
    if returns is MISSING:
        return None
    kind = parse_field_type(returns)
    if (kind.element or kind).base in UNCHECKED:
        document.report(
            (*path, "returns"),
            f"expected a type whose values can be checked, got `{kind}`; return a string",
        )
    return kind


def check_expression(
    document: Document, path: Path, parse: Parse, text: str, columns: Columns
) -> ScalarExpression | AggregateExpression | None:
    """Type an expression; no problem where a column that it uses has one already."""
    try:
        return parse(text, columns.known)
    except PipelineSpecError as error:
        if not columns.has_broken(text):
            document.report(path, str(error))
        return None
