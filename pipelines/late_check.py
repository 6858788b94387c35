"""What must hold for the place that late events go to: it is one of their own."""

from typing import Any

from common.names import dead_letter_topic
from contracts.document import Document

LATE_TABLE_KINDS = ("clickhouse", "timescaledb", "postgres")
"""Kinds of sinks that hold a table of late events."""

Values = dict[str, Any]


def check_late(document: Document, values: Values) -> None:
    """Check where late events go, a topic or a table."""
    late = values.get("late")
    to = late.get("to") if isinstance(late, dict) else None
    if isinstance(to, str):
        _check_topic(document, values, to)
    elif isinstance(to, dict):
        for kind, options in to.items():
            table = options.get("table") if isinstance(options, dict) else None
            if isinstance(table, str):
                _check_table(document, values, kind, table)


def _check_topic(document: Document, values: Values, to: str) -> None:
    """Check that late events do not come back as input and stay apart from dead letters.

    Kafka takes names that differ only in `.` and `_` for the same.
    """
    source = _source_topic(values)
    if source is None:
        return
    taken = {source: "the source", dead_letter_topic(source): "the dead letters"}
    for topic, whose in taken.items():
        if to.replace(".", "_") == topic.replace(".", "_"):
            document.report(
                ("late", "to"),
                f"expected a topic of its own, got `{to}`, which is that of {whose} (`{topic}`; "
                "Kafka does not tell `.` from `_`)",
            )


def _check_table(document: Document, values: Values, kind: str, table: str) -> None:
    """Check that late events stay apart from results; a table takes `<table>_final` too."""
    sinks = values.get("sinks")
    for sink in sinks if isinstance(sinks, list) else ():
        options = sink.get(kind) if isinstance(sink, dict) else None
        other = options.get("table") if isinstance(options, dict) else None
        if not isinstance(other, str):
            continue
        mine, theirs = table.lower(), other.lower()
        if {mine, f"{mine}_final"} & {theirs, f"{theirs}_final"}:
            document.report(
                ("late", "to", kind, "table"),
                f"expected a table and a view of its own, got `{table}` beside `{other}` of "
                "`sinks`",
            )


def _source_topic(values: Values) -> str | None:
    found: Any = values
    for name in ("source", "kafka", "topic"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else None
