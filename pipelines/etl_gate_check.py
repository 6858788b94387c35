"""What must hold for the checks of a gate: options of each, bounds in the type of its column."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from common.errors import PipelineSpecError, UsageError
from common.near_miss import near_miss
from common.payloads import Ref
from contracts.document import MISSING, Document
from contracts.field_type import UNGROUPABLE, FieldType
from contracts.field_value import parse_value
from contracts.problem import Path
from contracts.row_check import ORDERED, SINGLE, TEXTS, check_pattern
from pipelines.conversion import UNORDERED, nullable
from pipelines.etl import Check
from pipelines.etl_condition import parse_batch_condition, parse_metric
from pipelines.etl_render import render_check
from pipelines.expression import parse_condition, parse_tree
from pipelines.reference_file import read_content, ref_of
from pipelines.reference_table import KEY_TYPES, column_of, converted, read_table
from pipelines.row_check import Columns

Values = dict[str, Any]

LEAST_AGAINST = 3
"""Fewest past runs that a value may be compared with."""

_FIELD = frozenset({"field", "fields"})
_BOUNDS = frozenset({"min", "max"})
_USUAL = frozenset({"against", "within"})
_TIMES = frozenset({"date", "timestamp", "timestamp_ms"})


@dataclass(frozen=True)
class _Form:
    """What one kind of check takes beside `check` and `severity`.

    Attributes:
        options: Options that it may have.
        required: Options that it must have; of a group in one text any is enough.
        types: Base types of its columns; None where there are none.
        quarantines: Whether it can tell which rows go.
        single: Whether it takes one column only.
    """

    options: frozenset[str]
    required: tuple[str, ...] = ()
    types: frozenset[str] | None = None
    quarantines: bool = True
    single: bool = False


_ALL_TYPES = SINGLE | UNORDERED
_FORMS: dict[str, _Form] = {
    "not_null": _Form(_FIELD, ("field fields",), _ALL_TYPES),
    "unique": _Form(_FIELD, ("field fields",), SINGLE - UNGROUPABLE),
    "range": _Form(_FIELD | _BOUNDS, ("field fields", "min max"), ORDERED),
    "length": _Form(_FIELD | _BOUNDS, ("field fields", "min max"), TEXTS),
    "pattern": _Form(_FIELD | {"pattern"}, ("field fields", "pattern"), TEXTS),
    "enum": _Form(_FIELD | {"values"}, ("field fields", "values"), SINGLE - {"float64"}),
    "row": _Form(frozenset({"expression"}), ("expression",)),
    "referential": _Form(
        _FIELD | {"reference"}, ("field fields", "reference"), KEY_TYPES, single=True
    ),
    "freshness": _Form(
        _FIELD | {"within"}, ("field fields", "within"), _TIMES, quarantines=False, single=True
    ),
    "volume": _Form(_BOUNDS | _USUAL, ("min max within",), quarantines=False),
    "metric": _Form(
        _BOUNDS | _USUAL | {"expression"}, ("expression", "min max within"), quarantines=False
    ),
    "reconciliation": _Form(frozenset({"tolerance"}), quarantines=False),
    "sql": _Form(frozenset({"expression"}), ("expression",), quarantines=False),
}  # fmt: skip


def check_gate(document: Document, values: Values, columns: Columns | None) -> None:
    """Check every check of the gate.

    Args:
        document: Takes the problems.
        values: Values of the file.
        columns: Columns after the steps; None when only the source knows them.
    """
    listed = values.get("gate")
    for index, check in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(check, dict) and check.get("check", MISSING) in _FORMS:
            _check(document, ("gate", index), check, columns)


def gate_problems(types: Mapping[str, FieldType], checks: list[Check]) -> list[tuple[str, str]]:
    """Check a gate over columns that the source has told.

    Args:
        types: Columns after the steps.
        checks: Those of the specification.

    Returns:
        Every problem: its path, such as `gate[2].min`, and what is wrong.
    """
    document = Document("")
    values = {"gate": [render_check(check) for check in checks]}
    check_gate(document, values, Columns(dict(types), set()))
    return [(problem.path, problem.text) for problem in document.problems]


def _check(document: Document, path: Path, check: Values, columns: Columns | None) -> None:
    kind = check["check"]
    form = _FORMS[kind]
    given = set(check) - {"check", "severity"}
    for name in sorted(given - form.options):
        known = ", ".join(sorted(form.options))
        document.report((*path, name), f"expected with `{kind}` one of {known}, got `{name}`")
    for group in form.required:
        names = group.split()
        if not given & set(names):
            document.report(path, f"expected {' or '.join(names)} with `{kind}`, got none")
    if {"field", "fields"} <= given:
        document.report((*path, "field"), "expected `field` or `fields`, got both")
    if check.get("severity") == "quarantine" and not form.quarantines:
        document.report(
            (*path, "severity"),
            f"expected block or warn, as `{kind}` does not tell which rows to set aside, "
            "got `quarantine`",
        )
    _usual(document, path, check)
    fields = _fields(check)
    if form.single and len(fields) > 1:
        document.report((*path, "fields"), f"expected one column, got {len(fields)}")
    types = _types(document, path, check, columns, form)
    _values(document, path, check, types)
    _pattern(document, path, check)
    _reference(document, path, check, types)
    _expression(document, path, check, columns)


def _fields(check: Values) -> list[tuple[tuple[str | int, ...], str]]:
    """List the columns of a check with their places."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    if isinstance(check.get("field"), str):
        found.append((("field",), check["field"]))
    listed = check.get("fields")
    names = listed if isinstance(listed, list) else []
    found += [(("fields", n), name) for n, name in enumerate(names) if isinstance(name, str)]
    return found


def _types(
    document: Document, path: Path, check: Values, columns: Columns | None, form: _Form
) -> list[FieldType]:
    """Type the columns of a check; problems with them are reported."""
    found: list[FieldType] = []
    seen: set[str] = set()
    for place, name in _fields(check):
        if name in seen:
            document.report((*path, *place), f"expected each column once, got `{name}` again")
        seen.add(name)
        if columns is None or name in columns.broken:
            continue
        kind = columns.known.get(name)
        if kind is None:
            hint = near_miss(name, columns.declared)
            hint = hint or f", columns are {', '.join(columns.declared)}"
            document.report((*path, *place), f"no column `{name}` after the steps{hint}")
        elif form.types is not None and kind.base not in form.types:
            document.report(
                (*path, *place),
                f"expected a column of type {', '.join(sorted(form.types))} with "
                f"`{check['check']}`, got `{name}` of type `{kind}`",
            )
        else:
            found.append(kind)
    return found


def _values(document: Document, path: Path, check: Values, types: list[FieldType]) -> None:
    """Check that bounds and allowed values are values of the type that they are about."""
    if check["check"] in {"volume", "length"}:
        types = [FieldType("int64")]
    elif check["check"] == "metric":
        types = [FieldType("decimal", 38, 10)]
    listed = check.get("values")
    bounds = [((*path, name), check[name]) for name in ("min", "max") if name in check]
    allowed = listed if isinstance(listed, list) else []
    texts = bounds + [((*path, "values", n), text) for n, text in enumerate(allowed)]
    readable = [_readable(document, place, text, types) for place, text in texts]
    low, high = check.get("min"), check.get("max")
    if not all(readable) or not isinstance(low, str) or not isinstance(high, str):
        return
    for kind in types:
        if parse_value(low, kind) > parse_value(high, kind):  # type: ignore[operator] # values of one type
            document.report((*path, "min"), f"expected at most `max`, {high}, got {low}")
            return


def _readable(document: Document, path: Path, text: object, types: list[FieldType]) -> bool:
    """Tell whether a text is a value of all types."""
    try:
        for kind in types:
            if isinstance(text, str):
                parse_value(text, kind)
    except UsageError as error:
        document.report(path, str(error))
        return False
    return True


def _usual(document: Document, path: Path, check: Values) -> None:
    within, kind = check.get("within"), check["check"]
    if isinstance(within, str):
        sigma = within.endswith("sigma")
        if kind == "freshness" and sigma:
            document.report((*path, "within"), f"expected a duration such as 1d, got `{within}`")
        elif kind in {"volume", "metric"} and not sigma:
            document.report((*path, "within"), f"expected such as `3 sigma`, got `{within}`")
    if "against" in check and "within" not in check:
        document.report((*path, "within"), "expected such as `3 sigma` beside `against`, got none")
    if "within" in check and "against" not in check and kind in {"volume", "metric"}:
        document.report((*path, "against"), "expected such as `14 runs` beside `within`, got none")
    against = check.get("against")
    if isinstance(against, str) and int(against.split()[0]) < LEAST_AGAINST:
        document.report(
            (*path, "against"),
            f"expected at least {LEAST_AGAINST} runs, since fewer do not say what is usual, "
            f"got `{against}`",
        )


def _pattern(document: Document, path: Path, check: Values) -> None:
    pattern = check.get("pattern")
    if not isinstance(pattern, str):
        return
    try:
        check_pattern(pattern)
    except UsageError as error:
        document.report((*path, "pattern"), str(error))


def _reference(document: Document, path: Path, check: Values, types: list[FieldType]) -> None:
    reference = check.get("reference")
    if not isinstance(reference, dict):
        return
    if ("file" in reference) == ("table" in reference):
        document.report((*path, "reference"), "expected either `file` or `table`")
    if "connection" in reference and "table" not in reference:
        document.report((*path, "reference", "connection"), "expected only beside `table`")
    file, field = reference.get("file"), reference.get("field")
    if isinstance(file, str) and isinstance(field, str) and document.file:
        try:
            reference["content"] = _pinned(document, file, field, types)
        except PipelineSpecError as error:
            document.report((*path, "reference", "file"), str(error))


def _pinned(document: Document, file: str, field: str, types: list[FieldType]) -> Ref:
    """Pin a reference to the content of its file, whose values must be of the column's type."""
    content = read_content(FilePath(document.file).parent, file)
    values = column_of(file, read_table(file, content), field).drop_nulls()
    for kind in types:
        converted(file, values, nullable(kind, when=False))
    return ref_of(file, content)


def _expression(document: Document, path: Path, check: Values, columns: Columns | None) -> None:
    text, here = check.get("expression"), (*path, "expression")
    parse = _PARSERS.get(check["check"])
    if not isinstance(text, str) or parse is None:
        return
    try:
        if columns is None:
            parse_tree(text)
        else:
            parse(text, columns.known)
    except PipelineSpecError as error:
        if columns is None or not columns.has_broken(text):
            told = str(error).replace("no field `", "no column `")
            document.report(here, told.replace(" in `source.fields`", ""))


_PARSERS: dict[str, Callable[[str, dict[str, FieldType]], object]] = {
    "row": parse_condition,
    "sql": parse_batch_condition,
    "metric": parse_metric,
}
