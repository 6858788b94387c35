"""What must hold between the parts of an ETL file, beyond the shape of each part."""

from typing import Any

from common.errors import PipelineSpecError
from common.time_zone import time_zone
from contracts.document import MISSING, Document
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.data_interval import PERIOD_RULE, is_period
from pipelines.etl import KEYED_MODES
from pipelines.etl_gate_check import check_gate
from pipelines.etl_transform_check import check_transform

Values = dict[str, Any]

_TYPED_BY_THEMSELVES = frozenset({"postgres"})


def check_etl(document: Document, values: Values) -> None:
    """Check everything between the parts; parts whose shape is wrong are passed over."""
    _zone(document, values.get("timezone"))
    _interval(document, values)
    _source(document, values)
    columns = check_transform(document, values, source_types(values))
    check_gate(document, values, columns)
    _targets(document, values)


def source_types(values: Values) -> dict[str, FieldType] | None:
    """Give the declared columns of the source; None when only the source knows them."""
    source = values.get("source")
    fields = source.get("fields") if isinstance(source, dict) else None
    if not isinstance(fields, dict):
        return None
    return {name: parse_field_type(text) for name, text in fields.items() if text is not MISSING}


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
    parquet = options.get("format") == "parquet"
    untyped = kind not in _TYPED_BY_THEMSELVES and not parquet
    if untyped and "fields" not in source and "contract" not in values:
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


def _targets(document: Document, values: Values) -> None:
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
        target = options.get("table", options.get("path"))
        if target in (None, MISSING):
            continue
        name = (kind, str(options.get("connection", "")), str(target).lower())
        if name in taken:
            document.report(place, f"expected a target of its own, got `{target}` again")
        taken.add(name)
