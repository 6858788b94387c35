"""The gate of a batch: checks over all of its rows, from profiles of its chunks and its history."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from batch.chunk import BatchLedger
from batch.gate_report import (
    MOST_SAMPLES,
    CheckResult,
    GateReport,
    Sample,
    score_of,
    verdict_of,
)
from batch.gate_table import (
    freshness_result,
    metric_result,
    reconciliation_result,
    sql_result,
    volume_result,
)
from batch.measure import Measure
from batch.profile import Measured, Profile, RuleTally, added_tallies, tally_of
from batch.promise import Promises
from batch.quality_trend import HistoryEntry, published
from batch.row_check import CompiledRowChecks, RowRule, compile_contract, compile_row_checks
from batch.unique import CHUNK, KEYS_PER_PASS, UniqueCheck
from contracts.contract import FieldRule, UniqueKey
from contracts.field_type import FieldType
from pipelines.etl import Check, Severity
from pipelines.etl_condition import BatchExpression, parse_batch_condition, parse_metric
from pipelines.etl_condition import parse_batch_expression as parse_value
from streaming.resource import RECORD


@dataclass(frozen=True)
class KeyCheck:
    """A check of unique keys.

    Attributes:
        key: Names it among all checks.
        name: Name in reports.
        severity: `quarantine` sets all rows of a key aside but the newest.
        unique: What is computed.
    """

    key: str
    name: str
    severity: Severity
    unique: UniqueCheck

    def rejected(self, repeated: pl.DataFrame, chunk: int) -> pl.DataFrame:
        """Give the records of a chunk that go to quarantine, as `batch_step.REFUSED`.

        Args:
            repeated: What all passes of `UniqueCheck.repeated` found.
            chunk: Number of the chunk; its rows of these records are dropped before staging.
        """
        names = ", ".join(name for name, _ in self.unique.keys)
        gone = repeated.filter(~pl.col("kept"), pl.col(CHUNK) == chunk)
        told = pl.format("({}) = ({}) occurs again, in a newer row", pl.lit(names), "key")
        return gone.select(
            RECORD,
            pl.lit(self.name).alias("check"),
            pl.lit(names).alias("field"),
            told.alias("reason"),
        ).unique(RECORD, keep="first", maintain_order=True)


@dataclass(frozen=True)
class CompiledGate:
    """All checks of a batch.

    Attributes:
        contract: Rules of the contract's fields, over the rows as extracted.
        rows: Checks of rows, over the rows after the steps.
        keys: Checks of unique keys, over the rows after the steps.
        measures: What other checks need of every chunk.
        checks: The checks of the file, in order.
        lost: Keys of the contract with a column that the steps leave out; nobody can check them.
        promises: Rules of the contract about the whole batch, over the rows as extracted.
    """

    contract: CompiledRowChecks
    rows: CompiledRowChecks
    keys: tuple[KeyCheck, ...]
    measures: tuple[Measure, ...]
    checks: tuple[Check, ...]
    lost: tuple[UniqueKey, ...] = ()
    promises: Promises = field(default_factory=Promises)

    def profile(
        self,
        chunk: int,
        parts: Sequence[pl.DataFrame],
        tallies: list[list[RuleTally]],
        part: Literal["all", "extracted", "clean"] = "all",
        promised: Sequence[Measured] = (),
    ) -> Profile:
        """Make the profile of a chunk.

        Args:
            chunk: Its number.
            parts: Its clean rows, after duplicates were dropped.
            tallies: What `contract.apply` and `rows.apply` told of each part, in order.
            part: See `Profile`; `extracted` has rows of no use to other checks.
            promised: What `Promises.merged` gave.
        """
        clean = [] if part == "extracted" else list(parts)
        measures = () if part == "extracted" else self.measures
        return Profile(
            chunk=chunk,
            part=part,
            rows=sum(one.height for one in clean),
            tallies=added_tallies(tallies),
            measured=[measure.start(clean) for measure in measures],
            promised=list(promised),
        )


def compile_gate(
    checks: Sequence[Check],
    types: Mapping[str, FieldType],
    references: Mapping[int, pl.Series],
    *,
    rules: Iterable[FieldRule] = (),
    rule_types: Mapping[str, FieldType] | None = None,
    unique: Iterable[UniqueKey] = (),
    cursor: str | None = None,
    row_estimate: int = 0,
) -> CompiledGate:
    """Compile the checks of a file and of a contract.

    Args:
        checks: As in the file.
        types: Columns after the steps.
        references: Values of `referential` checks by the place of the check.
        rules: Rules of the contract's fields.
        rule_types: Columns as extracted.
        unique: Keys of the contract; one whose columns the steps do not keep is told as a warning.
        cursor: Column of the cursor; ignored where the steps do not keep it.
        row_estimate: About how many rows there are; settles the passes of unique keys.

    Raises:
        UsageError: A check does not fit the columns.
    """
    known, listed, promised = dict(types), list(checks), list(unique)
    newest = cursor if cursor in known else None
    passes = max(1, -(-row_estimate // KEYS_PER_PASS))
    keyed = [
        (f"contract:{one.rule}", one.rule, one.severity, one.fields)
        for one in promised
        if set(one.fields) <= set(known)
    ]
    keyed += [
        (str(place), check.name, check.severity, check.fields)
        for place, check in enumerate(listed)
        if check.check == "unique"
    ]
    measures = [
        Measure.of(str(place), expression, known)
        for place, check in enumerate(listed)
        if (expression := measured_by(check, known)) is not None
    ]
    return CompiledGate(
        contract=compile_contract(rules, dict(rule_types or known)),
        rows=compile_row_checks(listed, known, references),
        keys=tuple(
            KeyCheck(
                key, name, severity,
                UniqueCheck(tuple((name, known[name]) for name in fields), newest, passes),
            )
            for key, name, severity, fields in keyed
        ),
        measures=tuple(measures),
        checks=tuple(listed),
        lost=tuple(one for one in promised if not set(one.fields) <= set(known)),
    )  # fmt: skip


def measured_by(check: Check, types: Mapping[str, FieldType]) -> BatchExpression | None:
    """Give what a check needs over the whole batch; raises `PipelineSpecError`."""
    if check.check == "sql":
        return parse_batch_condition(check.expression or "", types)
    if check.check == "metric":
        return parse_metric(check.expression or "", types)
    if check.check == "freshness":
        return parse_value(f'max("{check.fields[0]}")', types)
    return None


@dataclass(frozen=True)
class BatchFacts:
    """What is known of a batch when its gate is decided.

    Attributes:
        ledger: What became of the rows of all chunks.
        staged: Rows in the staging of each target, by its name.
        end_us: End of the interval, or the moment of the plan, in microseconds since the epoch.
        history: Past runs of the pipeline, oldest first.
        repeated: For each key check and rule of `duplicateValues`, by its key, what all passes of
            `UniqueCheck.repeated` found.
    """

    ledger: BatchLedger
    staged: Mapping[str, int]
    end_us: int
    history: Sequence[HistoryEntry] = ()
    repeated: Mapping[str, pl.DataFrame] = field(default_factory=dict)


def decide(
    gate: CompiledGate, profiles: Sequence[Profile], facts: BatchFacts, pipeline: str,
    interval: str = "", run_id: str = "",
) -> GateReport:  # fmt: skip
    """Judge a batch: every check is run, and every failure is in the report.

    Args:
        gate: The checks.
        profiles: Of all chunks.
        facts: What else is known.
        pipeline: Name of the pipeline.
        interval: Label of the interval.
        run_id: Names the run.
    """
    ordered = sorted(profiles, key=lambda profile: profile.chunk)
    extracted = [profile for profile in ordered if profile.part != "clean"]
    clean = [profile for profile in ordered if profile.part != "extracted"]
    results = [_row_result(rule, tally_of(rule.key, extracted)) for rule in gate.contract.rules]
    contract_keys = [one for one in gate.keys if one.key.startswith("contract:")]
    results += [_key_result(one, facts) for one in contract_keys]
    results += [_lost_result(one) for one in gate.lost]
    results = [one.model_copy(update={"contract": gate.promises.label}) for one in results]
    results += gate.promises.results(extracted, facts.repeated, facts.end_us)
    metrics: dict[str, float] = {}
    for place, check in enumerate(gate.checks):
        results += _results(gate, str(place), check, clean, facts, metrics)
    return GateReport(
        pipeline=pipeline,
        interval=interval,
        run_id=run_id,
        outcome=verdict_of(results),
        score=score_of(results, facts.ledger),
        ledger=facts.ledger,
        checks=results,
        metrics=metrics,
    )


def _results(
    gate: CompiledGate, key: str, check: Check, profiles: list[Profile], facts: BatchFacts,
    metrics: dict[str, float],
) -> list[CheckResult]:  # fmt: skip
    """Give the results of one check of the file: one, or one for each of its columns."""
    if check.check == "unique":
        return [_key_result(one, facts) for one in gate.keys if one.key == key]
    if check.check == "volume":
        rows = [entry.rows for entry in published(facts.history)]
        return [volume_result(check, facts.ledger.loaded, rows)]
    if check.check == "reconciliation":
        return [reconciliation_result(check, facts.ledger, facts.staged)]
    measure = next((one for one in gate.measures if one.key == key), None)
    if measure is None:
        found = [rule for rule in gate.rows.rules if rule.key.split(":")[0] == key]
        return [_row_result(rule, tally_of(rule.key, profiles)) for rule in found]
    parts = [one for profile in profiles for one in profile.measured if one.check == key]
    if len(parts) != len(profiles):
        return [_error(check, "expected a profile of every chunk with this check")]
    if check.check == "freshness":
        return [freshness_result(check, measure, parts, facts.end_us)]
    if check.check == "sql":
        return [sql_result(check, measure, parts)]
    past = [
        entry.metrics[check.name]
        for entry in published(facts.history)
        if check.name in entry.metrics
    ]
    return [metric_result(check, measure, parts, past, metrics)]


def _error(check: Check, message: str) -> CheckResult:
    return CheckResult(
        name=check.name, check=check.check, severity=check.severity, outcome="error",
        message=message,
    )  # fmt: skip


def _row_result(rule: RowRule, tally: RuleTally | None) -> CheckResult:
    name = f"{rule.name} {rule.field}" if rule.field and rule.field not in rule.name else rule.name
    if tally is None or tally.error:
        told = tally.error if tally else ""
        message = told or "expected a tally of this check from every chunk, got none of some"
        return CheckResult(
            name=name, check=rule.check, severity=rule.severity, outcome="error",
            expected=rule.expected, message=message,
        )  # fmt: skip
    return CheckResult(
        name=name,
        check=rule.check,
        severity=rule.severity,
        outcome="failed" if tally.failed else "passed",
        measured=f"{tally.failed:,} of {tally.checked:,} rows break it",
        expected=rule.expected,
        message=tally.samples[0].reason if tally.samples else "",
        checked_rows=tally.checked,
        failed_rows=tally.failed,
        samples=tally.samples,
    )


def _lost_result(key: UniqueKey) -> CheckResult:
    """Tell of a key that cannot be checked behind the steps, so that it is no silent pass."""
    return CheckResult(
        name=key.rule, check="unique", severity="warn", outcome="failed",
        expected=f"each ({', '.join(key.fields)}) once",
        message="not checked: the steps leave out or rename a column of the key; "
        "add a check `unique` over what is left",
    )  # fmt: skip


def _key_result(one: KeyCheck, facts: BatchFacts) -> CheckResult:
    names = ", ".join(name for name, _ in one.unique.keys)
    expected = f"each ({names}) once"
    repeated = facts.repeated.get(one.key)
    if repeated is None:
        return CheckResult(
            name=one.name, check="unique", severity=one.severity, outcome="error",
            expected=expected, message="expected the keys of all chunks, got none",
        )  # fmt: skip
    extra = repeated.filter(~pl.col("kept"))
    samples = [
        Sample(chunk=chunk, row=row, reason=f"({names}) = ({key[:100]}) occurs again")
        for chunk, row, key in extra.head(MOST_SAMPLES).select(CHUNK, RECORD, "key").iter_rows()
    ]
    dropped = extra.height if one.severity == "quarantine" else 0
    return CheckResult(
        name=one.name,
        check="unique",
        severity=one.severity,
        outcome="failed" if extra.height else "passed",
        measured=f"{extra.height:,} rows more than keys",
        expected=expected,
        message=samples[0].reason if samples else "",
        checked_rows=facts.ledger.loaded + dropped,
        failed_rows=extra.height,
        samples=samples,
    )
