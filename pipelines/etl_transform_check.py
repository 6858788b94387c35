"""What must hold for the steps of a batch: names and types, in order.

Where a file or contract declares the columns, a mistake has its line. Where only the source knows
them, the file is checked as far as that goes without, and `check_steps` checks the rest once the
source has said which columns there are.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from common.errors import PipelineSpecError, UserFunctionError
from common.near_miss import near_miss
from contracts.document import MISSING, Document
from contracts.field_type import UNGROUPABLE, FieldType
from contracts.field_type_parse import parse_field_type
from contracts.problem import Path
from pipelines.etl import EtlStep
from pipelines.etl_aggregate import parse_batch_aggregate
from pipelines.etl_cast import check_cast
from pipelines.expression import parse_tree
from pipelines.python_function import check_function
from pipelines.reference_file import build_enrich
from pipelines.reference_table import KEY_TYPES
from pipelines.row_check import Columns, check_expression, check_step
from pipelines.transform import Enrich, PythonCall, taken_types

Values = dict[str, Any]


def check_steps(
    types: Mapping[str, FieldType], steps: list[EtlStep]
) -> tuple[dict[str, FieldType], list[tuple[str, str]]]:
    """Check steps over columns that the source has; files of joins are not read.

    Returns:
        The columns after the last step as far as they are known, and every problem: its path, such
        as `transform[2].derive.year`, and what is wrong.
    """
    document = Document("")
    values = {"transform": [_plain(step) for step in steps]}
    columns = check_transform(document, values, types)
    known = {} if columns is None else columns.known
    return known, [(problem.path, problem.text) for problem in document.problems]


def check_transform(
    document: Document,
    values: Values,
    types: Mapping[str, FieldType] | None,
    broken: Collection[str] = (),
) -> Columns | None:
    """Check `transform`, and pin the files of its joins.

    Args:
        document: Takes the problems.
        values: Values of the file.
        types: Columns of the source; None when only the source knows them.
        broken: Columns of the source whose declared type is none.

    Returns:
        The columns after the last step; None when those of the source are not known.
    """
    known_before = len(document.problems)
    columns = None if types is None else Columns(dict(types), set(broken))
    listed = values.get("transform")
    steps = listed if isinstance(listed, list) else []
    grouped = False
    for index, step in enumerate(steps):
        if not isinstance(step, dict):
            continue
        place = ("transform", index)
        if "aggregate" in step and grouped:
            document.report((*place, "aggregate"), "expected one `aggregate`, got another one")
        grouped = grouped or "aggregate" in step
        if columns is None:
            _check_untyped(document, place, step)
        else:
            _check_typed(document, place, step, columns)
    document.problems[known_before:] = [
        replace(problem, text=_of_columns(problem.text))
        for problem in document.problems[known_before:]
    ]
    return columns


def _of_columns(text: str) -> str:
    """Speak of columns, where expressions of streams speak of declared fields."""
    return text.replace("no field `", "no column `").replace(" in `source.fields`", "")


def _plain(step: EtlStep) -> Values:
    """Give a step as values of a file; a join stays pinned."""
    values: Values = step.model_dump(exclude_defaults=True, exclude={"enrich"})
    if step.enrich is not None:
        values["join"] = step.enrich
    if isinstance(step.where, PythonCall):
        values["where"] = step.where.model_dump(include={"python", "args"})
    return values


def _check_typed(document: Document, place: Path, step: Values, columns: Columns) -> None:
    join = step.get("join")
    if isinstance(join, Enrich):
        _pinned_join(document, (*place, "join"), join, columns)
    else:
        check_step(document, place, step, columns, look_up="join")
    for part, check in _CHECKS.items():
        value = step.get(part)
        if isinstance(value, dict | list):
            check(document, (*place, part), value, columns)


def _exists(document: Document, path: Path, name: object, columns: Columns) -> bool:
    """Check that there is a column; one whose declaration is wrong is no further problem."""
    if isinstance(name, str) and name in columns.known:
        return True
    if isinstance(name, str) and name not in columns.broken:
        hint = near_miss(name, columns.declared) or f", columns are {', '.join(columns.declared)}"
        document.report(path, f"no column `{name}` at this step{hint}")
    return False


def _pinned_join(document: Document, path: Path, join: Enrich, columns: Columns) -> None:
    for name in join.on:
        here = (*path, "on", name)
        if _exists(document, here, name, columns) and columns.known[name].base not in KEY_TYPES:
            document.report(
                here,
                f"expected a type that keys can have, got `{name}` of type `{columns.known[name]}`",
            )
    for name, kind in taken_types(join).items():
        if name in columns.known:
            document.report((*path, "take", name), "expected a new name, got one of a column")
        else:
            columns.known[name] = kind


def _select(document: Document, path: Path, names: list[str], columns: Columns) -> None:
    kept: dict[str, FieldType] = {}
    for index, name in enumerate(names):
        if name in kept:
            document.report((*path, index), f"expected each column once, got `{name}` again")
        elif _exists(document, (*path, index), name, columns):
            kept[name] = columns.known[name]
    columns.known = kept
    columns.broken &= set(names)


def _drop(document: Document, path: Path, names: list[str], columns: Columns) -> None:
    gone = {
        name for index, name in enumerate(names)
        if _exists(document, (*path, index), name, columns)
    }  # fmt: skip
    columns.known = {name: kind for name, kind in columns.known.items() if name not in gone}
    if not columns.declared:
        document.report(path, "expected at least one column to stay, got none")


def _rename(document: Document, path: Path, names: Values, columns: Columns) -> None:
    found = {
        old: new for old, new in names.items()
        if _exists(document, (*path, old), old, columns) and isinstance(new, str)
    }  # fmt: skip
    taken = set(columns.known) - set(found)
    for old, new in found.items():
        if new.startswith("_"):
            document.report((*path, old), f"expected a name that begins with a letter, got `{new}`")
        elif new in taken:
            document.report((*path, old), f"expected a name of its own, got `{new}` again")
        taken.add(new)
    columns.known = {found.get(name, name): kind for name, kind in columns.known.items()}


def _cast(document: Document, path: Path, casts: Values, columns: Columns) -> None:
    for name, text in casts.items():
        if not _exists(document, (*path, name), name, columns) or not isinstance(text, str):
            continue
        target = parse_field_type(text)
        try:
            check_cast(columns.known[name], target)
        except PipelineSpecError as error:
            document.report((*path, name), str(error))
        columns.known[name] = target


def _aggregate(document: Document, path: Path, values: Values, columns: Columns) -> None:
    keys = values.get("group_by", [])
    grouped: dict[str, FieldType] = {}
    for index, name in enumerate(keys if isinstance(keys, list) else []):
        here = (*path, "group_by", index)
        if not _exists(document, here, name, columns):
            continue
        if columns.known[name].base in UNGROUPABLE:
            document.report(
                here,
                f"expected a type that keys can have, got `{name}` of type `{columns.known[name]}`",
            )
        if name in grouped:
            document.report(here, f"expected each column once, got `{name}` again")
        grouped[name] = columns.known[name]
    broken = {name for name in keys if name in columns.broken} if isinstance(keys, list) else set()
    made = values.get("columns", {})
    for name, text in (made if isinstance(made, dict) else {}).items():
        here = (*path, "columns", name)
        if name.startswith("_"):
            document.report(here, "expected a name that begins with a letter")
        elif name in grouped:
            document.report(here, "expected a name of its own, got the name of a group key")
        found = None
        if text is not MISSING:
            found = check_expression(document, here, parse_batch_aggregate, text, columns)
        if found is None:
            broken.add(name)
        else:
            grouped.setdefault(name, found.type)
    columns.known, columns.broken = grouped, broken


_CHECKS: dict[str, Callable[[Document, Path, Any, Columns], None]] = {
    "select": _select,
    "drop": _drop,
    "rename": _rename,
    "cast": _cast,
    "aggregate": _aggregate,
}


def _check_untyped(document: Document, place: Path, step: Values) -> None:
    """Check what does not depend on types: syntax, own functions, files of joins."""
    texts: list[tuple[Path, object]] = [((*place, "where"), step.get("where"))]
    for part in ("derive", "expand"):
        table = step.get(part)
        if isinstance(table, dict):
            texts += [((*place, part, name), value) for name, value in table.items()]
    aggregate = step.get("aggregate")
    made = aggregate.get("columns") if isinstance(aggregate, dict) else None
    if isinstance(made, dict):
        texts += [((*place, "aggregate", "columns", n), v) for n, v in made.items()]
    for path, text in texts:
        if isinstance(text, dict):
            _check_function(document, path, text)
        elif isinstance(text, str):
            _check_syntax(document, path, text)
    join = step.get("join")
    if isinstance(join, dict) and MISSING not in join.values():
        try:
            step["join"] = build_enrich(FilePath(document.file).parent, join)
        except PipelineSpecError as error:
            document.report((*place, "join", "file"), str(error))


def _check_function(document: Document, path: Path, call: Values) -> None:
    name, arguments = call.get("python"), call.get("args")
    if not isinstance(name, str) or not isinstance(arguments, list):
        return
    try:
        check_function(name, len(arguments))
    except UserFunctionError as error:
        document.report((*path, "python"), str(error))


def _check_syntax(document: Document, path: Path, text: str) -> None:
    try:
        parse_tree(text)
    except PipelineSpecError as error:
        document.report(path, str(error))
