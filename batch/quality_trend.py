"""The history of quality: one small entry a run, what it says of a new value, and the trend."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from batch.gate_report import GateReport, Verdict
from common.payloads import Model

LEAST_RUNS = 3
"""Past runs below which a value is not compared: fewer say nothing about what is usual."""


class HistoryEntry(Model):
    """What is kept of one run.

    Attributes:
        run_id: Names the run.
        interval: Label of its data interval.
        finished_ms: When it ended, in milliseconds since the epoch.
        outcome: Verdict of its gate.
        score: 0 to 100.
        rows: Rows for the targets.
        quarantined: Rows in quarantine.
        metrics: Values of its `metric` checks, by name.
    """

    run_id: str
    interval: str = ""
    finished_ms: int
    outcome: Verdict
    score: float
    rows: int
    quarantined: int = 0
    metrics: dict[str, float] = {}


def entry_of(report: GateReport, finished_ms: int) -> HistoryEntry:
    """Make the entry of a run out of its report."""
    return HistoryEntry(
        run_id=report.run_id,
        interval=report.interval,
        finished_ms=finished_ms,
        outcome=report.outcome,
        score=report.score,
        rows=report.ledger.loaded,
        quarantined=report.ledger.quarantined,
        metrics=report.metrics,
    )


@dataclass(frozen=True)
class Usual:
    """What past values say of the next one.

    Attributes:
        runs: How many there are.
        mean: Their mean.
        deviation: Their standard deviation, of a sample.
    """

    runs: int
    mean: float
    deviation: float

    def sigmas(self, value: float) -> float:
        """Give how many standard deviations a value is from the mean; infinite when none varied."""
        distance = abs(value - self.mean)
        if self.deviation:
            return distance / self.deviation
        return math.inf if distance else 0.0


def usual(values: Sequence[float], runs: int) -> Usual | None:
    """Sum up the last `runs` of past values, oldest first; None below `LEAST_RUNS` of them."""
    last = [float(value) for value in values[-runs:] if math.isfinite(value)]
    if len(last) < LEAST_RUNS:
        return None
    return Usual(len(last), statistics.fmean(last), statistics.stdev(last))


def published(history: Sequence[HistoryEntry]) -> list[HistoryEntry]:
    """Give the past runs that values are compared with: blocked ones are no example."""
    return [entry for entry in history if entry.outcome != "blocked"]


@dataclass(frozen=True)
class Trend:
    """One line of the trend of a dataset.

    Attributes:
        change: Score against the run before it; None of the first.
    """

    entry: HistoryEntry
    change: float | None


def trend_of(history: Sequence[HistoryEntry], limit: int = 20) -> list[Trend]:
    """List the last runs, newest first; equal times by run."""
    ordered = sorted(history, key=lambda entry: (entry.finished_ms, entry.run_id))
    befores = [None, *ordered[:-1]]
    lines = [
        Trend(entry, None if before is None else round(entry.score - before.score, 2))
        for entry, before in zip(ordered, befores, strict=False)
    ]
    return lines[::-1][:limit]


def falls_below(score: float, threshold: float | None, before: float | None) -> bool:
    """Tell whether an alert is due: the score has fallen below the threshold with this run.

    Args:
        score: Of the run.
        threshold: None never alerts.
        before: Score of the run before; None where there was none.
    """
    if threshold is None or score >= threshold:
        return False
    return before is None or before >= threshold
