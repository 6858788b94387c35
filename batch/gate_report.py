"""What a gate found: every check with its outcome, the verdict, and a score."""

import math
from typing import Literal

from batch.chunk import BatchLedger
from common.payloads import Model
from pipelines.etl import Severity

Outcome = Literal["passed", "failed", "error", "skipped"]
Verdict = Literal["passed", "warned", "blocked"]

MOST_SAMPLES = 20
"""Failing rows that a report shows of each check."""

_WEIGHTS: dict[Severity, int] = {"block": 3, "quarantine": 2, "warn": 1}
_ROWS_WEIGHT = 3


class Sample(Model):
    """A row that a check failed on.

    Attributes:
        chunk: Number of the chunk.
        row: Place in the chunk, from 0, of the record that the row comes from.
        reason: What was expected and what came, shortened.
    """

    chunk: int
    row: int
    reason: str


class CheckResult(Model):
    """What became of one check.

    Attributes:
        name: Name of the check, such as `range(amount)`, or of the contract's rule.
        check: What kind of check: `range`, `contract`, `volume` …
        severity: What a failure does; `warn` where there is not enough history to judge.
        outcome: `error` when the check could not run, which blocks; `skipped` is for people and
            other tools.
        measured: What was found, in words.
        expected: What should have been, in words.
        message: Why it failed or could not run; empty when it passed.
        checked_rows: Rows that were looked at.
        failed_rows: Rows that failed; 0 of a check of the whole batch.
        samples: Some of them, the first ones.
        contract: Name and version of the contract that it is of; empty of the pipeline's own.
    """

    name: str
    check: str
    severity: Severity
    outcome: Outcome
    measured: str = ""
    expected: str = ""
    message: str = ""
    checked_rows: int = 0
    failed_rows: int = 0
    samples: list[Sample] = []
    contract: str = ""

    @property
    def title(self) -> str:
        """Name it among the checks of contract and pipeline."""
        return f"{self.contract}: {self.name}" if self.contract else self.name

    @property
    def blocks(self) -> bool:
        """Whether nothing may be published."""
        return self.outcome == "error" or (self.outcome == "failed" and self.severity == "block")

    @property
    def share(self) -> float:
        """The part that is right, 0 to 1: of the rows, or of the one thing that was measured."""
        if self.outcome == "passed":
            return 1.0
        if self.outcome == "error" or not self.failed_rows or not self.checked_rows:
            return 0.0
        return 1 - min(self.failed_rows / self.checked_rows, 1.0)


class GateReport(Model):
    """All that a gate found in one run.

    Attributes:
        pipeline: Name of the pipeline.
        interval: Label of the data interval; empty where there is none.
        run_id: Names the run.
        outcome: `blocked` when a check of that severity failed or any could not run, `warned` when
            another one failed, else `passed`.
        score: 0 to 100; see `score_of`.
        ledger: What became of the rows.
        checks: Every check, in the order of contract and file.
        metrics: Values for the history, by the name of their check.
    """

    pipeline: str
    interval: str = ""
    run_id: str = ""
    outcome: Verdict
    score: float
    ledger: BatchLedger
    checks: list[CheckResult] = []
    metrics: dict[str, float] = {}

    def count(self, outcome: Outcome) -> int:
        """Count the checks of an outcome."""
        return sum(one.outcome == outcome for one in self.checks)


def verdict_of(checks: list[CheckResult]) -> Verdict:
    """Give the verdict over all checks."""
    if any(one.blocks for one in checks):
        return "blocked"
    return "warned" if any(one.outcome == "failed" for one in checks) else "passed"


def score_of(checks: list[CheckResult], ledger: BatchLedger) -> float:
    """Score a batch from 0 to 100; 100 is without any failure.

    It is the weighted mean of parts that are each right from 0 to 1. Each check is one: weight 3
    where it blocks, 2 where it quarantines, 1 where it warns; right is the share of the rows that
    passed, or 0 or 1 of a check of the whole batch, and 0 when it could not run. The rows are one
    more, of weight 3: the share of them that is not in quarantine. Rounded down to two places; what
    was skipped is left out.
    """
    total = ledger.extracted + ledger.expanded
    parts = [(_ROWS_WEIGHT, 1 - ledger.quarantined / total if total else 1.0)]
    ran = [one for one in checks if one.outcome != "skipped"]
    parts += [(_WEIGHTS[one.severity], one.share) for one in ran]
    right = sum(weight * share for weight, share in parts) / sum(weight for weight, _ in parts)
    return math.floor(right * 10_000 + 1e-6) / 100
