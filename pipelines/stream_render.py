"""A stream's specification in the words of its file, every default written out."""

from typing import Any

from common.duration import format_duration
from pipelines.stream import TARGET_OPTION, Deduplicate, EventTime, SinkSpec, StreamSpec, Window
from pipelines.transform import Step
from pipelines.transform_build import render_step

Values = dict[str, Any]


def render_stream(spec: StreamSpec) -> Values:
    """Write a specification as the content of a file; reading that gives the same one."""
    values: Values = {
        "kind": "stream",
        "name": spec.name,
        "description": spec.description,
        "owner": spec.owner,
        "source": {"kafka": {"topic": spec.topic, "format": spec.format}, **_fields(spec)},
        "event_time": _event_time(spec.event_time),
        **render_step(Step(where=spec.where, derive=spec.derive)),
        "transform": [render_step(step) for step in spec.transform],
        "deduplicate": _deduplicate(spec.deduplicate) if spec.deduplicate else None,
        "group_by": spec.group_by,
        "window": _window(spec.window) if spec.window else None,
        "aggregate": spec.aggregate,
        "identity": spec.identity,
        "late": _late(spec) if spec.window else None,
        "emit": _emit(spec) if spec.window else None,
        "sinks": [_sink(sink) for sink in spec.sinks],
        "trigger": {
            "interval": format_duration(spec.trigger.interval_ms),
            "max_records": spec.trigger.max_records,
        },
        "limits": spec.limits.model_dump(),
    }
    return {name: value for name, value in values.items() if value not in (None, "", {}, [])}


def _fields(spec: StreamSpec) -> Values:
    return {"contract": spec.contract.name} if spec.contract else {"fields": spec.fields}


def _durations(values_ms: dict[str, int | None]) -> Values:
    return {name: format_duration(value) for name, value in values_ms.items() if value is not None}


def _event_time(event_time: EventTime) -> Values:
    given = event_time.model_dump(exclude={"field"})
    return {
        "field": event_time.field,
        **_durations({name.removesuffix("_ms"): given[name] for name in given}),
    }


def _deduplicate(deduplicate: Deduplicate) -> Values:
    return {"by": deduplicate.by, "within": format_duration(deduplicate.within_ms)}


def _window(window: Window) -> Values:
    sizes: dict[str, int | None] = {
        window.kind: window.size_ms,
        "every": window.slide_ms,
        "max_length": window.max_length_ms,
    }
    if window.offset_ms:
        sizes["offset"] = window.offset_ms
    zone = {"timezone": window.timezone} if window.timezone else {}
    return {**_durations(sizes), **zone}


def _late(spec: StreamSpec) -> Values:
    return {
        "allowed": format_duration(spec.late.allowed_ms),
        **({"to": spec.late.to} if spec.late.to else {}),
        **({"to": _sink(spec.late_table)} if spec.late_table else {}),
    }


def _emit(spec: StreamSpec) -> str | Values:
    return (
        "final"
        if spec.emit_updates_ms is None
        else {"updates": format_duration(spec.emit_updates_ms)}
    )


def _sink(sink: SinkSpec) -> Values:
    ages = _durations({"retention": sink.retention_ms, "compress_after": sink.compress_after_ms})
    return {sink.kind: {TARGET_OPTION.get(sink.kind, "table"): sink.table, **ages}}
