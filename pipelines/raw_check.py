"""What must hold in the file of a raw stream, one without `window`: every event is a row."""

from typing import Any

from common.near_miss import near_miss
from contracts.document import MISSING, Document
from contracts.field_type import UNGROUPABLE, FieldType
from pipelines.expansion import made_columns
from pipelines.stream import ELEMENT

Values = dict[str, Any]

_NEEDLESS = {
    "aggregate": "expected only with `window`, got it without",
    "group_by": "expected only with `window`, got it without",
    "emit": "expected only with `window`, got it without; every event is a row at once",
    "late": "expected only with `window`, got it without; nothing is late where no window closes",
}


def check_raw(
    document: Document, values: Values, known: dict[str, FieldType], broken: set[str]
) -> None:
    """Check what only a stream without `window` may say, and what it may not.

    Args:
        document: Takes the problems.
        values: The file's content.
        known: Fields and derived columns with their types.
        broken: Names of those that have a problem already.
    """
    identity = values.get("identity")
    if values.get("window") is not None:
        if identity:
            document.report(
                ("identity",),
                "expected only without `window`, got it beside; a window is identified by its "
                "start and its key",
            )
        return
    needless = next((part for part in _NEEDLESS if values.get(part)), None)
    if needless is not None:
        document.report((needless,), _NEEDLESS[needless])
    event_time = values.get("event_time")
    if isinstance(event_time, dict) and "close_after" in event_time:
        document.report(
            ("event_time", "close_after"), "expected only with `window`, got it without"
        )
    _nested_lists(document, values, known)
    if isinstance(identity, list) and identity:
        _identity(document, identity, known, broken, made_columns(values))
        _housekeeping(document, values)


def _nested_lists(document: Document, values: Values, known: dict[str, FieldType]) -> None:
    derived = values.get("derive")
    for name, kind in known.items():
        if kind.element is None or kind.element.base != "list":
            continue
        is_derived = isinstance(derived, dict) and name in derived
        document.report(
            ("derive", name) if is_derived else ("source", "fields", name),
            f"expected a list of plain values, which every sink can hold, got `{kind}`; "
            "declare it as `json`",
        )


def _identity(
    document: Document,
    identity: list[Any],
    known: dict[str, FieldType],
    broken: set[str],
    made: set[str] | None,
) -> None:
    if made is not None and MISSING not in identity and made.isdisjoint(identity):
        document.report(
            ("identity",),
            f"expected `{ELEMENT}`, or a column that `expand` or a later step makes, among them, "
            "got none; all rows of a record would be one",
        )
    for index, name in enumerate(identity):
        path = ("identity", index)
        if name is MISSING or name in broken or (made and name == ELEMENT):
            continue
        if name not in known:
            document.report(path, f"no field or derived column `{name}`{near_miss(name, known)}")
        elif known[name].base in UNGROUPABLE:
            document.report(
                path,
                f"expected a type that keys can have, got `{name}` of type `{known[name]}`",
            )
        elif known[name].nullable:
            document.report(
                path,
                f"expected a column that is never null, got `{name}` of type `{known[name]}`; all "
                "events without a value would be one row",
            )
        elif name in identity[:index]:
            document.report(path, f"expected each column once, got `{name}` again")


def _housekeeping(document: Document, values: Values) -> None:
    """Refuse what needs a hypertable, which must have the event time in its key."""
    sinks = values.get("sinks")
    for index, sink in enumerate(sinks if isinstance(sinks, list) else []):
        options = sink.get("timescaledb") if isinstance(sink, dict) else None
        for option in ("retention", "compress_after"):
            if isinstance(options, dict) and option in options:
                document.report(
                    ("sinks", index, "timescaledb", option),
                    "expected only without `identity`: a hypertable would keep a row for every "
                    "event time of an id, so the table is a plain one",
                )
