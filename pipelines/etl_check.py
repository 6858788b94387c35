"""What must hold between the parts of an ETL file, beyond the shape of each part."""

from pathlib import Path as FilePath
from typing import Any

from common.errors import PipelineSpecError, UnknownNameError
from common.near_miss import near_miss
from common.time_zone import time_zone
from contracts.document import MISSING, Document
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from contracts.problem import Path
from pipelines.contract_check import read_contract
from pipelines.data_interval import PERIOD_RULE, is_period
from pipelines.etl import KEYED_MODES
from pipelines.etl_gate_check import check_gate
from pipelines.etl_transform_check import check_transform
from pipelines.report_load import load_report
from pipelines.row_check import Columns

Values = dict[str, Any]

_TYPED_BY_THEMSELVES = frozenset({"postgres"})


def check_etl(document: Document, values: Values) -> None:
    """Check everything between the parts; parts whose shape is wrong are passed over."""
    _zone(document, values.get("timezone"))
    _interval(document, values)
    _source(document, values)
    columns = check_transform(document, values, _source_types(document, values))
    check_gate(document, values, columns)
    _targets(document, values, columns)
    _report(document, values)


def _source_types(document: Document, values: Values) -> dict[str, FieldType] | None:
    """Give the declared columns of the source; None when only the source knows them.

    A source that has types of its own may have columns that its contract does not speak of.
    """
    name = values.get("contract")
    contract = read_contract(document, ("contract",), name) if isinstance(name, str) else None
    if contract is not None:
        values["contract"] = contract  # pinned as it is now
    source = values.get("source")
    fields = source.get("fields") if isinstance(source, dict) else None
    if isinstance(fields, dict):
        given = {column: text for column, text in fields.items() if text is not MISSING}
        return {column: parse_field_type(text) for column, text in given.items()}
    if contract is None or not isinstance(source, dict) or not _is_untyped(source):
        return None
    return dict(contract.types)


def _is_untyped(source: Values) -> bool:
    """Tell whether a source leaves it to others to say which types its columns have."""
    kind = next((name for name in source if name != "fields"), "")
    options = source.get(kind)
    parquet = isinstance(options, dict) and options.get("format") == "parquet"
    return kind not in _TYPED_BY_THEMSELVES and not parquet


def _zone(document: Document, name: object, place: tuple[str, ...] = ("timezone",)) -> None:
    if not isinstance(name, str):
        return
    try:
        time_zone(name)
    except PipelineSpecError as error:
        document.report(place, str(error))


def _interval(document: Document, values: Values) -> None:
    length = values.get("interval")
    if isinstance(length, int) and not is_period(length):
        document.report(("interval",), PERIOD_RULE)


def _source(document: Document, values: Values) -> None:
    """Check that rows have types, and that a query can be cut."""
    source = values.get("source")
    if not isinstance(source, dict):
        return
    kind = next((name for name in source if name != "fields"), None)
    options = source.get(kind or "")
    if kind is None or not isinstance(options, dict):
        return
    if _is_untyped(source) and "fields" not in source and "contract" not in values:
        document.report(
            ("source", "fields"),
            f"expected the types of the columns, or a `contract`, since {kind} has none of its own",
        )
    if kind == "postgres" and "query" in options and "key" not in options:
        document.report(
            ("source", "postgres", "key"),
            "expected the column by which a query is cut into chunks, got none",
        )
    _zone(document, options.get("timezone"), ("source", kind, "timezone"))


def _targets(document: Document, values: Values, columns: Columns | None) -> None:
    """Check keys, and that no two targets are one."""
    targets = values.get("targets")
    taken: set[tuple[str, str, str]] = set()
    for index, one in enumerate(targets if isinstance(targets, list) else []):
        if not isinstance(one, dict) or not one:
            continue
        kind, options = next(iter(one.items()))
        if not isinstance(options, dict):
            continue
        place = ("targets", index, kind)
        mode = options.get("mode")
        if mode in KEYED_MODES and "key" not in options:
            document.report((*place, "key"), f"expected the columns of the key beside `{mode}`")
        if mode not in KEYED_MODES and "key" in options:
            modes = ", ".join(sorted(KEYED_MODES))
            document.report((*place, "key"), f"expected only with the modes {modes}")
        if columns is not None:
            _target_columns(document, place, options, columns)
        target = options.get("table", options.get("path"))
        if target in (None, MISSING):
            continue
        name = (kind, str(options.get("connection", "")), str(target).lower())
        if name in taken:
            document.report(place, f"expected a target of its own, got `{target}` again")
        taken.add(name)


def _target_columns(document: Document, place: Path, options: Values, columns: Columns) -> None:
    """Check that the steps leave the columns that a target goes by."""
    keys = options.get("key")
    listed = keys if isinstance(keys, list) else []
    named: list[tuple[Path, object]] = [(("key", n), name) for n, name in enumerate(listed)]
    named.append((("partition_by",), options.get("partition_by")))
    for path, name in named:
        if isinstance(name, str) and name not in columns.declared:
            hint = near_miss(name, columns.declared)
            hint = hint or f", columns are {', '.join(columns.declared)}"
            document.report((*place, *path), f"no column `{name}` after the steps{hint}")


def _report(document: Document, values: Values) -> None:
    """Read the report that is named; it is pinned as it is now."""
    name = values.get("report")
    if not isinstance(name, str):
        return
    try:
        values["report"] = load_report(name, FilePath(document.file).resolve().parent)
    except (PipelineSpecError, UnknownNameError) as error:
        document.report(("report",), str(error).splitlines()[0])
