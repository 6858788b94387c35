"""Where the time of a stream's run went, read from its workflow's history."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

STAGES = ("fetch", "decode", "aggregate", "merge")


@dataclass(frozen=True)
class ActivitySpan:
    """One activity as the server saw it, seconds since the epoch.

    Attributes:
        queued_s: When the workflow asked for it.
        started_s: When a worker took it.
        closed_s: When its result was there.
        timings_us: Stages within a range's work.
    """

    name: str
    queued_s: float
    started_s: float
    closed_s: float
    timings_us: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ActivitySums:
    """Activities of one kind, added up; seconds."""

    count: int
    waited_s: float
    worked_s: float


def sums(spans: Iterable[ActivitySpan]) -> dict[str, ActivitySums]:
    """Add up activities by name."""
    found: dict[str, ActivitySums] = {}
    for span in spans:
        old = found.get(span.name, ActivitySums(0, 0.0, 0.0))
        found[span.name] = ActivitySums(
            old.count + 1,
            old.waited_s + span.started_s - span.queued_s,
            old.worked_s + span.closed_s - span.started_s,
        )
    return found


def stage_seconds(spans: Iterable[ActivitySpan], name: str) -> dict[str, float]:
    """Add up the stages of one kind of activity; `rest` is what its stages do not explain.

    Examples:
        >>> span = ActivitySpan("range", 0.0, 1.0, 3.0, {"fetch": 500_000, "decode": 1_000_000})
        >>> stage_seconds([span], "range")
        {'fetch': 0.5, 'decode': 1.0, 'aggregate': 0.0, 'merge': 0.0, 'rest': 0.5}
    """
    found = dict.fromkeys(STAGES, 0.0)
    worked_s = 0.0
    for span in spans:
        if span.name != name:
            continue
        worked_s += span.closed_s - span.started_s
        for stage, spent_us in span.timings_us.items():
            found[stage] = found.get(stage, 0.0) + spent_us / 1e6
    return found | {"rest": max(0.0, worked_s - sum(found.values()))}


def busy_seconds(spans: Iterable[ActivitySpan], name: str) -> float:
    """Give the time during which at least one activity of a kind was at work.

    Examples:
        >>> two = [
        ...     ActivitySpan("a", 0, 1, 3),
        ...     ActivitySpan("a", 0, 2, 4),
        ...     ActivitySpan("a", 0, 6, 7),
        ... ]
        >>> busy_seconds(two, "a")
        4.0
    """
    total, until = 0.0, float("-inf")
    for span in sorted((s for s in spans if s.name == name), key=lambda s: s.started_s):
        total += max(0.0, span.closed_s - max(until, span.started_s))
        until = max(until, span.closed_s)
    return total


def activity_spans(events: Iterable[HistoryEvent]) -> Iterator[tuple[ActivitySpan, HistoryEvent]]:
    """Find the activities of a workflow's history that were completed, each with its last event."""
    asked: dict[int, tuple[str, float]] = {}
    begun: dict[int, tuple[int, float]] = {}
    for event in events:
        at_s = event.event_time.ToMicroseconds() / 1e6
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            kind = event.activity_task_scheduled_event_attributes.activity_type.name
            asked[event.event_id] = (kind, at_s)
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            scheduled = event.activity_task_started_event_attributes.scheduled_event_id
            begun[event.event_id] = (scheduled, at_s)
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            started = event.activity_task_completed_event_attributes.started_event_id
            scheduled, started_s = begun[started]
            name, queued_s = asked[scheduled]
            yield ActivitySpan(name, queued_s, started_s, at_s), event
