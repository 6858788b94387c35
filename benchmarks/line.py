"""What a benchmark says: one JSON line per scenario on stdout, progress on stderr."""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """One measured figure.

    Attributes:
        value: The figure, in `unit`; the median where there are several rounds.
        memory_bytes: Largest resident memory of a single measured process.
        ratio: How many times better than `against`.
        rounds: The figures of the single rounds, in the order of running.
        notes: What a reader needs to judge the figure, such as the number of events.
    """

    scenario: str
    value: float
    unit: str
    memory_bytes: int
    ratio: float | None = None
    against: str | None = None
    rounds: Sequence[float] = ()
    notes: Mapping[str, object] = field(default_factory=dict)

    def encode(self) -> str:
        """Write the line as JSON; what does not apply is left out."""
        content: dict[str, object] = {
            "scenario": self.scenario,
            "value": _short(self.value),
            "unit": self.unit,
            "memory_bytes": self.memory_bytes,
        }
        if self.ratio is not None:
            content |= {"ratio": round(self.ratio, 2), "against": self.against}
        if self.rounds:
            content["rounds"] = [_short(value) for value in self.rounds]
        return json.dumps(content | dict(self.notes))


def emit(line: Line) -> None:
    """Print a line on stdout."""
    print(line.encode(), flush=True)


def say(text: str) -> None:
    """Tell a person how far it is, on stderr."""
    print(text, file=sys.stderr, flush=True)


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the least value that `percent` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def median(values: Sequence[float]) -> float:
    """Give the middle value."""
    return statistics.median(values)


def _short(value: float) -> float:
    return round(value) if abs(value) >= 1000 else round(value, 2)
