"""Operational options of a running stream: changed live, kept in its state, never in a result."""

from common.payloads import Model
from pipelines.stream import (
    MOST_FLUSHES,
    MOST_PARALLELISM,
    MOST_RECORDS,
    Bounds,
    StreamSpec,
    Trigger,
)

_MOST = {
    "interval_ms": 86_400_000,
    "max_records": MOST_RECORDS,
    "parallelism": MOST_PARALLELISM,
    "max_pending_flushes": MOST_FLUSHES,
}
_OPTIONS = {
    "interval_ms": "--interval",
    "max_records": "--max-records",
    "parallelism": "--parallelism",
    "max_pending_flushes": "--max-pending-flushes",
}


class Tuning(Model):
    """What was changed of a stream's operational options; None is as in its file."""

    interval_ms: int | None = None
    max_records: int | None = None
    parallelism: int | None = None
    max_pending_flushes: int | None = None


class TuningChange(Model):
    """A change of operational options: the input of the update `configure`.

    Attributes:
        change: Options to set; the others stay as they are.
        reset: Go back to the file's options first.
    """

    change: Tuning = Tuning()
    reset: bool = False


class Operation(Model):
    """Operational options in force.

    Attributes:
        configured: Names of those that differ from the file's because somebody changed them.
    """

    interval_ms: int
    max_records: int
    parallelism: int
    max_pending_flushes: int
    configured: list[str] = []


def refusal(change: TuningChange) -> str | None:
    """Say why a change cannot be made; None when it can."""
    given = change.change.model_dump(exclude_none=True)
    if not given and not change.reset:
        return (
            f"`configure`: expected one of {', '.join(_OPTIONS.values())} or --reset, got none; "
            "name what to change"
        )
    for name, value in given.items():
        if not 1 <= value <= _MOST[name]:
            unit = " milliseconds" if name == "interval_ms" else ""
            return (
                f"`{_OPTIONS[name]}`: expected 1 to {_MOST[name]:,}{unit}, got {value:,}; "
                "nothing was changed"
            )
    return None


def changed(tuning: Tuning, change: TuningChange) -> Tuning:
    """Apply a change to what was changed before."""
    base = Tuning() if change.reset else tuning
    return base.model_copy(update=change.change.model_dump(exclude_none=True))


def tuned(spec: StreamSpec, tuning: Tuning) -> StreamSpec:
    """Give the specification with the options in force."""
    now = operation(spec, tuning)
    trigger = Trigger(interval_ms=now.interval_ms, max_records=now.max_records)
    limits = Bounds(parallelism=now.parallelism, max_pending_flushes=now.max_pending_flushes)
    return spec.model_copy(update={"trigger": trigger, "limits": limits})


def operation(spec: StreamSpec, tuning: Tuning) -> Operation:
    """Give the options in force and which of them were changed."""
    given = tuning.model_dump(exclude_none=True)
    return Operation(
        **{**spec.trigger.model_dump(), **spec.limits.model_dump(), **given}, configured=[*given]
    )
