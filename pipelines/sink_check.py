"""What must hold between the sinks of a stream file: each has a target of its own."""

from typing import Any

from common.names import dead_letter_topic
from contracts.document import Document
from pipelines.stream import TARGET_OPTION

Values = dict[str, Any]


def check_sinks(document: Document, values: Values) -> None:
    """Check that no two sinks of one kind write to one place, and none into the stream's source.

    A table takes the name `<table>_final` too, a path of the lake everything below it.
    """
    taken: dict[tuple[str, str], str] = {}
    topics = _used_topics(values)
    paths: list[str] = []
    for index, sink in enumerate(_listed(values.get("sinks"))):
        for kind, options in sink.items() if isinstance(sink, dict) else ():
            option = TARGET_OPTION.get(kind, "table")
            target = options.get(option) if isinstance(options, dict) else None
            if not isinstance(target, str):
                continue
            place = ("sinks", index, kind, option)
            if kind == "kafka":
                if target in topics:
                    document.report(
                        place, f"expected a topic of its own, got `{target}`, {topics[target]}"
                    )
                topics.setdefault(target, "the topic of another sink")
            elif kind == "lake":
                other = next((path for path in paths if _overlap(path, target)), None)
                if other is not None:
                    document.report(
                        place, f"expected a path of its own, got `{target}` beside `{other}`"
                    )
                paths.append(target)
            else:
                names = [(kind, target.lower()), (kind, f"{target.lower()}_final")]
                other = next((taken[name] for name in names if name in taken), None)
                if other is not None:
                    document.report(
                        place,
                        f"expected a table and a view of its own, got `{target}` beside `{other}`",
                    )
                taken.update(dict.fromkeys(names, target))


def _listed(part: object) -> list[Any]:
    return part if isinstance(part, list) else []


def _overlap(left: str, right: str) -> bool:
    return f"{left}/".startswith(f"{right}/") or f"{right}/".startswith(f"{left}/")


def _used_topics(values: Values) -> dict[str, str]:
    """Name the topics that the stream reads or writes beside its sinks."""
    used: dict[str, str] = {}
    late = values.get("late")
    late_to = late.get("to") if isinstance(late, dict) else None
    if isinstance(late_to, str):
        used[late_to] = "the topic of late events"
    source = values.get("source")
    kafka = source.get("kafka") if isinstance(source, dict) else None
    topic = kafka.get("topic") if isinstance(kafka, dict) else None
    if isinstance(topic, str):
        used[dead_letter_topic(topic)] = "the topic of dead letters"
        used[topic] = "which the stream reads"
    return used
