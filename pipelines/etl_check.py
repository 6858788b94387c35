"""What must hold between the parts of an ETL file, beyond the shape of each part."""

from pathlib import Path as FilePath
from typing import Any

from common.duration import format_duration
from common.errors import PipelineSpecError, UnknownNameError
from common.near_miss import near_miss
from common.time_zone import time_zone
from contracts.document import MISSING, Document
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from contracts.problem import Path
from pipelines.contract_check import read_contract
from pipelines.contract_query import queries_that_cannot_run
from pipelines.data_interval import PERIOD_RULE, is_period
from pipelines.etl import KEY_TYPES, KEYED_MODES, PLAIN_MODES, TIME_TYPES
from pipelines.etl_gate_check import check_gate
from pipelines.etl_transform_check import check_transform
from pipelines.report_load import load_report
from pipelines.row_check import Columns

Values = dict[str, Any]

_TYPED_BY_THEMSELVES = frozenset({"postgres"})
_FILE_OPTIONS = {"delimiter": ("csv",), "null": ("csv",), "compression": ("csv", "jsonl")}
_INTERVAL_WORDS = ("{date}", "{start}", "{end}")
_URLS = ("s3://", "file:///", "file://localhost/")


def check_etl(document: Document, values: Values) -> None:
    """Check everything between the parts; parts whose shape is wrong are passed over."""
    _zone(document, values.get("timezone"))
    _interval(document, values)
    _source(document, values)
    types = _source_types(document, values)
    columns = check_transform(document, values, types, _broken(values))
    check_gate(document, values, columns)
    _targets(document, values, columns)
    _report(document, values)


def _source_types(document: Document, values: Values) -> dict[str, FieldType] | None:
    """Give the declared columns of the source; None when only the source knows them.

    A source that has types of its own may have columns that its contract does not speak of.
    """
    name = values.get("contract")
    contract = read_contract(document, ("contract",), name) if isinstance(name, str) else None
    source = values.get("source")
    fields = source.get("fields") if isinstance(source, dict) else None
    declared: dict[str, FieldType] | None = None
    if isinstance(fields, dict):
        given = {column: text for column, text in fields.items() if text is not MISSING}
        declared = {column: parse_field_type(text) for column, text in given.items()}
    if contract is not None:
        values["contract"] = contract  # pinned as it is now
        for rule, reason in queries_that_cannot_run(contract, declared).items():
            document.report(("contract",), f"quality rule `{rule}` of `{name}`: {reason}")
    if declared is not None:
        return declared
    if contract is None or not isinstance(source, dict) or not _is_untyped(source):
        return None
    return dict(contract.types)


def _broken(values: Values) -> list[str]:
    """Give the declared columns whose type is wrong, which is told once."""
    source = values.get("source")
    fields = source.get("fields") if isinstance(source, dict) else None
    if not isinstance(fields, dict):
        return []
    return [column for column, text in fields.items() if text is MISSING]


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
        document.report(("interval",), f"{PERIOD_RULE}, got `{format_duration(length)}`")


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
            f"expected the types of the columns, or a `contract`, since {kind} has none of its "
            "own, got none",
        )
    if kind == "postgres" and "query" in options and "key" not in options:
        document.report(
            ("source", "postgres", "key"),
            "expected the column by which a query is cut into chunks, got none",
        )
    if kind == "files":
        _files(document, options)
    if "interval" not in values:
        _without_interval(document, kind, options)
    _zone(document, options.get("timezone"), ("source", kind, "timezone"))


def _files(document: Document, options: Values) -> None:
    """Check that files can be found, and that every option is one of their format."""
    place = ("source", "files")
    url, given = options.get("url"), options.get("format")
    if isinstance(url, str) and "://" in url and not url.startswith(_URLS):
        document.report(
            (*place, "url"), f"expected a path, `file:///path` or `s3://bucket/path`, got `{url}`"
        )
    for name, formats in _FILE_OPTIONS.items():
        if name in options and isinstance(given, str) and given not in formats:
            wanted = " or ".join(formats)
            document.report((*place, name), f"expected only with {wanted}, got format {given}")


def _without_interval(document: Document, kind: str, options: Values) -> None:
    """Check that nothing of the source stands for an interval that there is not."""
    texts: dict[Path, object] = {(name,): options.get(name) for name in ("url", "path")}
    params = options.get("params")
    texts |= {("params", name): text for name, text in (params or {}).items()}
    for path, text in texts.items():
        words = [word for word in _INTERVAL_WORDS if isinstance(text, str) and word in text]
        if words:
            document.report(
                ("source", kind, *path),
                f"expected `interval` in the file for `{words[0]}`, got none; add it, such as "
                "`interval: 1d`",
            )


def _targets(document: Document, values: Values, columns: Columns | None) -> None:
    """Check names and keys, and that no two targets are one."""
    targets = values.get("targets")
    own = [name for name in (columns.known if columns else ()) if name.startswith("_")]
    if own and not document.problems:  # a step that made one has been told of it
        document.report(
            ("targets",),
            f"expected no columns that begin with `_`, got {', '.join(own)} after the steps; "
            "`rename` or `drop` them",
        )
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
            document.report(
                (*place, "key"), f"expected the columns of the key beside `{mode}`, got none"
            )
        if mode in PLAIN_MODES and "key" in options:
            modes = ", ".join(sorted(KEYED_MODES))
            document.report(
                (*place, "key"), f"expected only with the modes {modes}, got mode {mode}"
            )
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
    named: list[tuple[Path, object, tuple[str, ...]]] = [
        (("key", n), name, KEY_TYPES) for n, name in enumerate(listed)
    ]
    named.append((("partition_by",), options.get("partition_by"), TIME_TYPES))
    for path, name, kinds in named:
        if not isinstance(name, str) or name in columns.broken:
            continue
        if name not in columns.known:
            hint = near_miss(name, columns.declared)
            hint = hint or f", columns are {', '.join(columns.declared)}"
            document.report((*place, *path), f"no column `{name}` after the steps{hint}")
        elif columns.known[name].base not in kinds:
            document.report(
                (*place, *path),
                f"expected a column of a type among {', '.join(kinds)}, got `{name}` of type "
                f"`{columns.known[name]}`",
            )


def _report(document: Document, values: Values) -> None:
    """Read the report that is named; it is pinned as it is now."""
    name = values.get("report")
    if not isinstance(name, str):
        return
    try:
        values["report"] = load_report(name, FilePath(document.file).resolve().parent)
    except (PipelineSpecError, UnknownNameError) as error:
        document.report(("report",), str(error).splitlines()[0])
