"""What the gate needs to know of one chunk: small, mergeable, the rows themselves stay away."""

from collections.abc import Sequence
from typing import Literal

from batch.gate_report import MOST_SAMPLES, Sample
from common.payloads import Model


class RuleTally(Model):
    """How one check of rows went in one chunk.

    Attributes:
        rule: Key of the check in `CompiledRowChecks`.
        checked: Rows that were looked at.
        failed: Rows that failed.
        samples: The first of them.
        error: Why the check could not run; empty when it ran.
    """

    rule: str
    checked: int = 0
    failed: int = 0
    samples: list[Sample] = []
    error: str = ""

    def plus(self, other: "RuleTally") -> "RuleTally":
        """Add what a later part found."""
        return RuleTally(
            rule=self.rule,
            checked=self.checked + other.checked,
            failed=self.failed + other.failed,
            samples=[*self.samples, *other.samples][:MOST_SAMPLES],
            error=self.error or other.error,
        )


class Measured(Model):
    """What one check of the whole batch needs of one chunk.

    Attributes:
        check: Key of the check in `CompiledGate`.
        partial: Partial of its aggregates as Arrow IPC.
        error: Why it could not be computed; empty when it was.
    """

    check: str
    partial: bytes = b""
    error: str = ""


class Profile(Model):
    """What the gate needs of one chunk.

    Attributes:
        chunk: Number of the chunk.
        part: `all` of an ordinary chunk. With an `aggregate` in the steps, chunks have what was
            `extracted`, and the groups, one chunk more, what is `clean`.
        rows: Clean rows.
        tallies: Checks of rows, by key, of this chunk.
        measured: Checks of the whole batch.
        promised: Rules of the contract about the whole batch.
    """

    chunk: int
    part: Literal["all", "extracted", "clean"] = "all"
    rows: int = 0
    tallies: list[RuleTally] = []
    measured: list[Measured] = []
    promised: list[Measured] = []


def added_tallies(parts: list[list[RuleTally]]) -> list[RuleTally]:
    """Add up tallies of parts, or of chunks, in their order; by rule, in order of appearance."""
    found: dict[str, RuleTally] = {}
    for tallies in parts:
        for tally in tallies:
            before = found.get(tally.rule)
            found[tally.rule] = tally if before is None else before.plus(tally)
    return list(found.values())


def tally_of(rule: str, profiles: Sequence[Profile]) -> RuleTally | None:
    """Add up what all chunks told of a rule; None where one told nothing."""
    told = [[one for one in profile.tallies if one.rule == rule] for profile in profiles]
    if not all(told):
        return None
    return next(iter(added_tallies(told)), RuleTally(rule=rule))
