"""What must hold between the parts of a stream file, beyond the shape of each part."""

from functools import partial
from math import gcd
from typing import Any

from common.duration import format_duration
from common.errors import PipelineSpecError
from common.near_miss import near_miss
from common.time_zone import time_zone
from contracts.contract import PinnedContract
from contracts.document import MISSING, Document, Plain
from contracts.field_type import UNGROUPABLE, FieldType
from contracts.field_type_parse import MICROSECONDS, parse_field_type
from pipelines.contract_check import take_contract
from pipelines.deduplicate_check import check_deduplicate
from pipelines.expression_aggregate import parse_aggregate
from pipelines.late_check import check_late
from pipelines.raw_check import check_raw
from pipelines.row_check import RESERVED, Columns, check_expression, check_rows
from pipelines.sink_check import check_sinks
from pipelines.stream import BY_CLOCK

MAX_PANES = 10_000
DAY_MS = 86_400_000

Values = dict[str, Any]


def check_stream(document: Document, values: Values) -> None:
    """Check fields, expressions, windows and sinks; parts whose shape is wrong are passed over."""
    if not take_contract(document, values):
        return
    fields = _fields(document, values)
    _event_time(document, values, fields)
    columns = Columns(dict(fields), set(_part(values, "source", "fields") or {}) - set(fields))
    check_rows(document, values, columns)
    check_deduplicate(document, values, columns.known, columns.broken)
    keys = _group_by(document, values, columns)
    _aggregates(document, values, columns, keys)
    _window(document, values)
    check_raw(document, values, columns.known, columns.broken)
    _close_after(document, values, keys)
    check_late(document, values)
    check_sinks(document, values)


def _close_after(document: Document, values: Values, keys: list[str]) -> None:
    """Check that the column that marks what the clock closed is free."""
    if _part(values, "event_time", "close_after") is None:
        return
    taken = f"expected another name, `{BY_CLOCK}` is a column of streams with `close_after`"
    if BY_CLOCK in keys:
        document.report(("group_by", keys.index(BY_CLOCK)), taken)
    if BY_CLOCK in (_part(values, "aggregate") or {}):
        document.report(("aggregate", BY_CLOCK), taken)


def _part(values: Values, *path: str) -> Plain:
    found: Any = values
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return None if found is MISSING else found


def _fields(document: Document, values: Values) -> dict[str, FieldType]:
    fields: dict[str, FieldType] = {}
    for name, text in (_part(values, "source", "fields") or {}).items():
        if name in RESERVED:
            document.report(
                ("source", "fields", name),
                f"expected a name of your own, got one of {', '.join(RESERVED)}",
            )
        if text is not MISSING:
            fields[name] = parse_field_type(text)
            if MICROSECONDS in text:
                document.report(
                    ("source", "fields", name),
                    f"expected a type of streams, whose times have milliseconds, got `{name}` of "
                    f"type `{text}`; take `timestamp`",
                )
    return fields


def _event_time(document: Document, values: Values, fields: dict[str, FieldType]) -> None:
    name = _part(values, "event_time", "field")
    if name is None or (name in (_part(values, "source", "fields") or {}) and name not in fields):
        return
    path = ("event_time", "field")
    if name not in fields:
        document.report(
            path,
            f"no field `{name}` in `source.fields`"
            f"{near_miss(name, _part(values, 'source', 'fields') or {})}",
        )
    elif fields[name].base not in {"timestamp", "timestamp_ms"}:
        document.report(
            path,
            f"expected a field of type timestamp or timestamp_ms, "
            f"got `{name}` of type `{fields[name]}`",
        )
    elif name in _defaults(values):
        document.report(path, f"expected a field without a default, got `{name}`, which has one")


def _defaults(values: Values) -> dict[str, str]:
    contract = _part(values, "source", "contract")
    return contract.defaults if isinstance(contract, PinnedContract) else {}


def _group_by(document: Document, values: Values, columns: Columns) -> list[str]:
    keys: list[str] = []
    known = columns.known
    for index, name in enumerate(_part(values, "group_by") or []):
        path = ("group_by", index)
        if name is MISSING or name in columns.broken:
            continue
        if name not in known:
            document.report(
                path, f"no field or derived column `{name}`{near_miss(name, columns.declared)}"
            )
        elif known[name].base in UNGROUPABLE:
            document.report(
                path, f"expected a type that keys can have, got `{name}` of type `{known[name]}`"
            )
        elif name in keys:
            document.report(path, f"expected each key once, got `{name}` again")
        keys.append(name)
    return keys


def _aggregates(document: Document, values: Values, columns: Columns, keys: list[str]) -> None:
    parse = partial(parse_aggregate, event_time=_part(values, "event_time", "field"))
    for name, text in (_part(values, "aggregate") or {}).items():
        path = ("aggregate", name)
        if name in keys or name in RESERVED:
            taken = "a group key" if name in keys else "a column that every table has"
            document.report(path, f"expected a name of its own, got the name of {taken}")
        if text is not MISSING:
            check_expression(document, path, parse, text, columns)
    windowed = values.get("window") is not None
    if windowed and not values.get("aggregate"):
        document.report(("aggregate",), "expected at least one aggregate beside `window`, got none")


def _window(document: Document, values: Values) -> None:
    window = _part(values, "window")
    if not isinstance(window, dict):
        return
    size, slide = _part(window, "sliding"), _part(window, "every")
    if "sliding" in window and "every" not in window:
        document.report(
            ("window", "every"), "expected the distance of window starts beside `sliding`, got none"
        )
    if "every" in window and "sliding" not in window:
        document.report(("window", "every"), "expected only beside `sliding`")
    if size and slide:
        if slide > size:
            document.report(
                ("window", "every"),
                f"expected at most the size {format_duration(size)}, got {format_duration(slide)}",
            )
        elif size // gcd(size, slide) > MAX_PANES:
            panes = size // gcd(size, slide)
            document.report(
                ("window", "every"),
                f"expected at most {MAX_PANES:,} panes a window, got {panes:,}; "
                "choose a longer `every`",
            )
    _alignment(document, window)


def _alignment(document: Document, window: Values) -> None:
    size = _part(window, "tumbling") or _part(window, "every")
    gap, longest = _part(window, "session"), _part(window, "max_length")
    if "max_length" in window and "session" not in window:
        document.report(("window", "max_length"), "expected only beside `session`")
    elif gap and longest and longest < gap:
        document.report(
            ("window", "max_length"),
            f"expected at least the gap {format_duration(gap)}, got {format_duration(longest)}",
        )
    if "session" in window:
        for part in ("offset", "timezone"):
            if part in window:
                document.report(
                    ("window", part),
                    "expected only with tumbling or sliding windows, sessions follow the events",
                )
        return
    offset = _part(window, "offset")
    if offset and size and abs(offset) >= size:
        document.report(
            ("window", "offset"),
            f"expected less than {format_duration(size)} either way, got {format_duration(offset)}",
        )
    if (zone := _part(window, "timezone")) is not None:
        _zone(document, window, zone)


def _zone(document: Document, window: Values, zone: str) -> None:
    path = ("window", "timezone")
    try:
        time_zone(zone)
    except PipelineSpecError as error:
        document.report(path, str(error))
    if "sliding" in window:
        document.report(
            path,
            "expected only with `tumbling`: sliding windows have one length, days of a zone have "
            "not; take `tumbling: 1d` and add days up where they are read, or leave the zone out",
        )
    elif (size := _part(window, "tumbling")) and size % DAY_MS:
        document.report(
            path, f"expected only with windows of whole days, got {format_duration(size)}"
        )
