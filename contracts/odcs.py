"""Contracts out of files in the format of the Open Data Contract Standard 3.1.

https://bitol-io.github.io/open-data-contract-standard says what each key means. Keys that the
standard knows and Sluice has no use for are read and left; every other key is a mistake.
"""

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import polars as pl

from common.errors import ContractSpecError, UsageError
from contracts.contract import Contract, ContractField, FieldRule, UniqueKey
from contracts.document import MISSING, Document, compose, read
from contracts.field_dtype import polars_type
from contracts.field_type import UNGROUPABLE, FieldType
from contracts.field_value import parse_value
from contracts.odcs_rule import (
    Found,
    add_option_rules,
    add_quality,
    add_rule,
    key_refusal,
    severity_of,
)
from contracts.odcs_service import service_level
from contracts.odcs_shape import CONTRACT
from contracts.odcs_type import type_of
from contracts.problem import Path, Problem, path_text, refuse
from contracts.row_check import compile_rules, default_values, first_broken

Values = dict[str, Any]
Judge = Callable[[Contract], dict[str, str]]
"""Gives the rules of a contract whose queries cannot run, with the reason."""

SUFFIXES = (".odcs.yaml", ".odcs.yml", ".yaml", ".yml")


def contract_name(path: FilePath) -> str:
    """Give the name by which pipelines take the contract of a file."""
    suffix = next((end for end in SUFFIXES if path.name.endswith(end)), path.suffix)
    return path.name.removesuffix(suffix)


def check_contract(
    path: FilePath, judge: Judge | None = None
) -> tuple[Contract | None, list[Problem]]:
    """Read a contract's file and collect every problem; no contract when there is one.

    Args:
        path: The file.
        judge: Says which queries cannot run; without one they are not looked at.
    """
    document = Document(str(path))
    node = compose(path, document, "a data contract that begins with `apiVersion:` and `kind:`")
    if node is None:
        return None, document.problems
    values = read(document, node, CONTRACT)
    contract = None
    if values is not MISSING:
        contract = _contract(document, contract_name(path), values, judge)
    return (None if document.problems else contract), document.problems


def load_contract(path: FilePath) -> Contract:
    """Read and check a contract's file.

    Raises:
        ContractSpecError: With all problems of the file, each with line and column.
    """
    contract, problems = check_contract(path)
    refuse(problems, ContractSpecError)
    if contract is None:
        raise ContractSpecError(f"contract file {path}: expected a contract, got none")
    return contract


def _contract(
    document: Document, name: str, values: Values, judge: Judge | None
) -> Contract | None:
    datasets = values.get("schema")
    if not isinstance(datasets, list) or not datasets:
        return None
    if len(datasets) > 1:
        document.report(
            ("schema", 1),
            f"expected one dataset, got {len(datasets)}; write a contract for each of them",
        )
    dataset = datasets[0]
    listed = dataset.get("properties") if isinstance(dataset, dict) else None
    if not isinstance(listed, list):
        return None
    place: Path = ("schema", 0)
    fields, found = _fields(document, (*place, "properties"), listed)
    primary = _primary_key(document, (*place, "properties"), listed, found)
    for index, rule in enumerate(_sound_list(dataset, "quality")):
        here = (*place, "quality", index)
        if not _troubled(document, here):
            add_quality(document, here, rule, found, None)
    levels = [
        service_level(document, ("slaProperties", index), level)
        for index, level in enumerate(_sound_list(values, "slaProperties"))
        if not _troubled(document, ("slaProperties", index))
    ]
    if document.problems:
        return None
    contract = Contract(
        name=name,
        version=values["version"],
        status=values["status"],
        identifier=values["id"],
        title=values.get("name", ""),
        dataset=dataset["name"],
        physical_name=dataset.get("physicalName", ""),
        owner=_owner(values.get("team")),
        description=values.get("description", {}).get("purpose", "")
        or dataset.get("description", ""),
        fields=[_completed(field, primary, found) for field in fields],
        unique=[*primary, *found.unique],
        quality=found.quality,
        service_levels=[level for level in levels if level is not None],
    )
    for rule, reason in judge(contract).items() if judge is not None else ():
        document.report((*found.places[rule], "query"), reason)
    return contract


def _completed(field: ContractField, primary: list[UniqueKey], found: Found) -> ContractField:
    """Add what is known only when all fields have been read."""
    key = primary[0].fields if primary else []
    place = key.index(field.name) + 1 if field.name in key else None
    rules = found.rules.get(field.name, [])
    return field.model_copy(update={"rules": rules, "primary_key": place})


def _troubled(document: Document, path: Path) -> bool:
    """Tell whether a part has a problem already; what follows from it is no further one."""
    text = path_text(path)
    return any(
        problem.path == text or problem.path.startswith((f"{text}.", f"{text}["))
        for problem in document.problems
    )


def _sound_list(values: Values, name: str) -> list[Any]:
    found = values.get(name)
    return found if isinstance(found, list) else []


def _owner(team: Values | list[Values] | None) -> str:
    """Name the team; of the older form, a mere list of people, the owner or the first of them."""
    if isinstance(team, dict):
        return str(team.get("name", ""))
    people = sorted(team or [], key=lambda person: person.get("role", "").lower() != "owner")
    return str(people[0].get("name") or people[0]["username"]) if people else ""


def _fields(
    document: Document, place: Path, listed: list[Values]
) -> tuple[list[ContractField], Found]:
    """Read the fields: first the types of all, then what stands on them."""
    types: dict[str, FieldType] = {}
    seen: dict[str, int] = {}
    for index, values in enumerate(listed):
        here = (*place, index)
        if _troubled(document, here):
            continue
        name = values["name"]
        if name in seen:
            document.report(
                (*here, "name"), f"expected each name once, got `{name}` again; rename one"
            )
            continue
        seen[name] = index
        try:
            types[name] = type_of(values)
        except UsageError as error:
            part = "physicalType" if "physicalType" in values else "logicalType"
            document.report((*here, part), str(error))
    found = Found(types)
    fields = [
        _field(document, (*place, index), listed[index], found)
        for name, index in seen.items()
        if name in types
    ]
    return fields, found


def _field(document: Document, here: Path, values: Values, found: Found) -> ContractField:
    name = values["name"]
    kind = found.types[name]
    custom = {one["property"]: one["value"] for one in values.get("customProperties", [])}
    word = custom.get("severity")
    try:
        if not isinstance(word, str | None):
            raise UsageError("expected a word, got a list or a mapping")  # noqa: TRY301 (one report)
        severity = severity_of(word, whole=False)
        unique_severity = severity_of(word, whole=True)
    except UsageError as error:
        document.report((*here, "customProperties"), f"severity: {error}")
        word, severity, unique_severity = None, "quarantine", "block"
    if not kind.nullable:
        # The type itself promises it, so it cannot be a mere warning.
        hard = "quarantine" if severity == "warn" else severity
        rule = FieldRule(
            rule=found.name(f"{name}.required"), field=name, kind="required", severity=hard
        )
        add_rule(document, here, found, rule)
    options = values.get("logicalTypeOptions", {})
    add_option_rules(document, (*here, "logicalTypeOptions"), name, options, found, word)
    for index, quality in enumerate(values.get("quality", [])):
        add_quality(document, (*here, "quality", index), quality, found, name)
    if values.get("unique"):
        if kind.base in UNGROUPABLE:
            document.report((*here, "unique"), key_refusal(name, kind))
        found.unique.append(
            UniqueKey(rule=found.name(f"{name}.unique"), fields=[name], severity=unique_severity)
        )
    return ContractField(
        name=name,
        type=str(kind),
        default=_default(document, here, name, custom.get("default"), found),
        unique=values.get("unique", False),
        physical_name=values.get("physicalName", ""),
        description=values.get("description", ""),
        classification=values.get("classification", ""),
    )


def _default(document: Document, here: Path, name: str, given: object, found: Found) -> str | None:
    """Read the custom property `default`, which must itself be what the field promises."""
    if given is None:
        return None
    kind, path = found.types[name], (*here, "customProperties")
    try:
        if not isinstance(given, str):
            raise UsageError("expected one value, got a list or a mapping")  # noqa: TRY301 (one report)
        parse_value(given, kind)
    except UsageError as error:
        document.report(path, f"default: {error}")
        return None
    if _troubled(document, here):
        return given
    checks = compile_rules(found.rules.get(name, []), found.types)
    [filled] = default_values({name: given}, found.types)
    row = pl.DataFrame({name: pl.Series([None], dtype=polars_type(kind))}).with_columns(filled)
    place = row.select(first_broken(checks).alias("broken")).item()
    if place is not None:
        document.report(path, f"default: expected {checks[place].expected}, got `{given}`")
    return given


def _primary_key(
    document: Document, place: Path, listed: list[Values], found: Found
) -> list[UniqueKey]:
    """Put the fields of the primary key in order; it goes by the positions, or by the file."""
    parts: list[tuple[int, str]] = []
    for index, values in enumerate(listed):
        here = (*place, index)
        if _troubled(document, here):
            continue
        position = values.get("primaryKeyPosition", -1)
        if not values.get("primaryKey"):
            if position > 0:
                document.report(
                    (*here, "primaryKeyPosition"), "expected only beside `primaryKey: true`"
                )
            continue
        if found.types[values["name"]].base in UNGROUPABLE:
            kind = found.types[values["name"]]
            document.report((*here, "primaryKey"), key_refusal(values["name"], kind))
        parts.append((position, values["name"]))
    positions = [position for position, _ in parts]
    if any(position > 0 for position in positions) and sorted(positions) != list(
        range(1, len(parts) + 1)
    ):
        document.report(
            place,
            f"expected positions of the primary key from 1 to {len(parts)}, each once, got "
            f"{', '.join(str(position) for position in positions)}",
        )
    if not parts:
        return []
    names = [name for _, name in sorted(parts, key=lambda part: part[0])]
    return [UniqueKey(rule=found.name("primary_key"), fields=names, severity="block", primary=True)]
