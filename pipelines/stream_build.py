"""A `StreamSpec` out of checked values, and what of it this version cannot run yet."""

from typing import Any

from pipelines.stream import (
    TARGET_OPTION,
    Bounds,
    Deduplicate,
    EventTime,
    Late,
    SinkSpec,
    StreamSpec,
    Trigger,
    Window,
)
from pipelines.transform_build import build_step

Values = dict[str, Any]


def build_stream(values: Values) -> StreamSpec:
    """Build the specification; every default filled in, every duration in milliseconds."""
    emit = values.get("emit", "final")
    given = {
        name: values[name]
        for name in ("description", "owner", "group_by", "aggregate", "identity")
        if name in values
    }
    rows = build_step(values)
    kafka = values["source"]["kafka"]
    return StreamSpec(
        name=values["name"],
        topic=kafka["topic"],
        format=kafka.get("format", "json"),
        fields=values["source"]["fields"],
        where=rows.where,
        derive=rows.derive,
        transform=[build_step(step) for step in values.get("transform", [])],
        event_time=EventTime(
            field=values["event_time"]["field"], **_in_ms(values["event_time"], skip="field")
        ),
        window=_window(values["window"]) if "window" in values else None,
        late=Late(**_late(values.get("late", {}))),
        late_table=_late_table(values.get("late", {})),
        contract=values["source"].get("contract"),
        deduplicate=_deduplicate(values["deduplicate"]) if "deduplicate" in values else None,
        emit_updates_ms=None if emit == "final" else emit["updates"],
        sinks=[_sink(*next(iter(sink.items()))) for sink in values["sinks"]],
        trigger=_trigger(values.get("trigger", {})),
        limits=Bounds(**values.get("limits", {})),
        **given,
    )


def _in_ms(options: Values, skip: str) -> dict[str, Any]:
    return {f"{name}_ms": value for name, value in options.items() if name != skip}


def _window(options: Values) -> Window:
    place = {"offset_ms": options.get("offset", 0), "timezone": options.get("timezone")}
    if "session" in options:
        return Window(
            kind="session", size_ms=options["session"], max_length_ms=options.get("max_length")
        )
    if "sliding" in options:
        return Window(
            kind="sliding", size_ms=options["sliding"], slide_ms=options["every"], **place
        )
    return Window(kind="tumbling", size_ms=options["tumbling"], **place)


def _late(options: Values) -> dict[str, Any]:
    late = {"to": options["to"]} if isinstance(options.get("to"), str) else {}
    return {**late, "allowed_ms": options["allowed"]} if "allowed" in options else late


def _deduplicate(options: Values) -> Deduplicate:
    return Deduplicate(by=options["by"], within_ms=options["within"])


def _late_table(options: Values) -> SinkSpec | None:
    to = options.get("to")
    return _sink(*next(iter(to.items()))) if isinstance(to, dict) else None


def _trigger(options: Values) -> Trigger:
    default = Trigger()
    return Trigger(
        interval_ms=options.get("interval", default.interval_ms),
        max_records=options.get("max_records", default.max_records),
    )


def _sink(kind: str, options: Values) -> SinkSpec:
    target = TARGET_OPTION.get(kind, "table")
    return SinkSpec.model_validate(
        {"kind": kind, "table": options[target], **_in_ms(options, skip=target)}
    )
