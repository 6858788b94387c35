"""What a contract promises of a whole dataset, held against the rows as they were extracted.

Rows are those that could be read, in the columns of the run, with the contract's defaults, before
any step and any other check: a row that a rule of rows rejects counts here as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import polars as pl

from batch.gate_report import MOST_SAMPLES, CheckResult, Sample
from batch.gate_table import freshness_result
from batch.measure import Measure
from batch.profile import Measured, Profile, RuleTally, tally_of
from batch.row_check import CompiledRowChecks, RowRule
from batch.transform import Cleaned
from batch.unique import CHUNK, KEYS_PER_PASS, UniqueCheck
from common.errors import ContractViolationError, PipelineSpecError, UsageError
from contracts.contract import Contract, QualityRule, ServiceLevel
from contracts.field_type import UNGROUPABLE, FieldType
from contracts.row_check import ORDERED, RowCheck, compile_rules
from pipelines.contract_query import ADVICE, parse_contract_query
from pipelines.etl import Check, Severity
from pipelines.etl_condition import parse_batch_expression
from streaming.resource import RECORD

_TIMES = ORDERED - {"int32", "int64", "float64", "decimal"}
_FRESH = frozenset({"latency", "freshness"})


@dataclass(frozen=True)
class Promise:
    """One rule, ready to be measured.

    Attributes:
        key: Names it among all rules of the gate.
        blank: Its result as far as it is known before anything was measured; where nothing is to
            be measured, all of it.
        rule: The rule of quality; None of a service level.
        rows: Counts rows, and those that the metric is about.
        unique: Finds values that occur again.
        measure: Computes a value over all rows.
        fresh: How new its greatest value must be.
    """

    key: str
    blank: CheckResult
    rule: QualityRule | None = None
    rows: RowRule | None = None
    unique: UniqueCheck | None = None
    measure: Measure | None = None
    fresh: Check | None = None


@dataclass(frozen=True)
class Promised:
    """What was measured of some rows of a chunk.

    Attributes:
        tallies: Counts of rows.
        measured: Partials of values, in the order of `Promises.measures`.
        keys: What `UniqueCheck.keys_of` gave, in the order of `Promises.unique`.
    """

    tallies: list[RuleTally]
    measured: list[Measured]
    keys: list[pl.DataFrame]


@dataclass(frozen=True)
class Promises:
    """All rules of a contract about the dataset as a whole, in its order.

    Attributes:
        label: Name and version of the contract.
    """

    label: str = ""
    promises: tuple[Promise, ...] = ()

    @property
    def counted(self) -> CompiledRowChecks:
        """What counts rows; none of them is set aside."""
        return CompiledRowChecks(tuple(one.rows for one in self.promises if one.rows))

    @property
    def measures(self) -> list[Measure]:
        """What computes values."""
        return [one.measure for one in self.promises if one.measure]

    @property
    def unique(self) -> list[tuple[str, UniqueCheck]]:
        """What finds values that occur again, with the keys of their rules."""
        return [(one.key, one.unique) for one in self.promises if one.unique]

    def measured(self, rows: Cleaned, chunk: int, first_row: int) -> Promised:
        """Measure some rows of a chunk.

        Args:
            rows: As extracted, conformed, with defaults.
            chunk: Number of the chunk.
            first_row: Place of the first row in the chunk.
        """
        return Promised(
            tallies=self.counted.apply(rows, chunk)[1],
            measured=[measure.start([rows.rows]) for measure in self.measures],
            keys=[unique.keys_of(rows.rows, chunk, first_row) for _, unique in self.unique],
        )

    def merged(self, parts: Sequence[Promised]) -> list[Measured]:
        """Put the values of the parts of a chunk together."""
        return [
            measure.merged([part.measured[place] for part in parts])
            for place, measure in enumerate(self.measures)
        ]

    def results(
        self, profiles: Sequence[Profile], repeated: Mapping[str, pl.DataFrame], end_us: int
    ) -> list[CheckResult]:
        """Judge the batch.

        Args:
            profiles: Of all chunks as extracted, in order.
            repeated: By the key of a rule, what all passes of `UniqueCheck.repeated` found.
            end_us: End of the interval, in microseconds since the epoch.
        """
        return [self._result(one, profiles, repeated, end_us) for one in self.promises]

    @staticmethod
    def _result(
        promise: Promise, profiles: Sequence[Profile], repeated: Mapping[str, pl.DataFrame],
        end_us: int,
    ) -> CheckResult:  # fmt: skip
        if promise.measure is not None:
            parts = [p for profile in profiles for p in profile.promised if p.check == promise.key]
            if len(parts) != len(profiles):
                return _error(promise, "expected what every chunk measured, got none of some")
            if promise.fresh is None:
                return _value_result(promise, promise.measure, parts)
            found = freshness_result(promise.fresh, promise.measure, parts, end_us)
            kept = promise.blank.model_dump(include={"name", "check", "contract"})
            return found.model_copy(update=kept)
        if promise.rows is None:
            return promise.blank
        tally = tally_of(promise.key, profiles)
        if tally is None:
            return _error(promise, "expected a tally of this rule from every chunk, got none")
        if promise.unique is None:
            return _count_result(promise, tally)
        if promise.key not in repeated:
            return _error(promise, "expected the values of all chunks, got none")
        extra = repeated[promise.key].filter(~pl.col("kept"))
        samples = [
            Sample(chunk=chunk, row=row, reason=f"({key[:100]}) occurs again")
            for chunk, row, key in extra.head(MOST_SAMPLES).select(CHUNK, RECORD, "key").iter_rows()
        ]
        update = {"failed": extra.height, "samples": samples}
        return _count_result(promise, tally.model_copy(update=update))


def compile_promises(
    contract: Contract | None, types: Mapping[str, FieldType], row_estimate: int
) -> Promises:
    """Compile what a contract promises of the dataset as a whole.

    A rule that does not fit becomes a result that says so, never a silent pass.

    Args:
        contract: The contract; None promises nothing.
        types: Columns as extracted.
        row_estimate: About how many rows there are; settles the passes of `duplicateValues`.
    """
    if contract is None:
        return Promises()
    found = [_of_rule(contract, rule, dict(types), row_estimate) for rule in contract.quality]
    for level in contract.service_levels:
        if level.property in _FRESH and level.duration_ms is not None and level.element:
            names = [name.strip() for name in level.element.split(",")]
            found += [_of_level(contract, level, name, types) for name in names]
    return Promises(contract.label, tuple(found))


def looks_for_duplicates(contract: Contract) -> bool:
    """Tell whether values that occur again are counted over the whole batch."""
    return any(rule.metric == "duplicate_values" for rule in contract.quality)


def _of_rule(
    contract: Contract, rule: QualityRule, types: dict[str, FieldType], row_estimate: int
) -> Promise:
    key = f"quality:{rule.rule}"
    # Nothing can be set aside of a whole.
    severity: Severity = "warn" if rule.severity == "warn" else "block"
    blank = CheckResult(
        name=rule.rule, check=rule.metric, severity=severity, outcome="passed",
        contract=contract.label,
    )  # fmt: skip
    if rule.metric in {"text", "custom"} or rule.comparison is None:
        told = f"for people, not run: {rule.description or rule.metric}"
        return Promise(key, blank.model_copy(update={"outcome": "skipped", "message": told}))
    try:
        if rule.metric == "sql":
            words = f"`{rule.query}` {rule.comparison}"
            blank = blank.model_copy(update={"expected": words})
            expression = parse_contract_query(contract, rule, types)
            return Promise(key, blank, rule, measure=Measure.of(key, expression, types))
        _check_fields(rule, types)
        checks = compile_rules(rule.counted, types)
        unit = "percent of the rows" if rule.unit == "percent" else "rows"
        words = f"{rule.comparison} {unit}{_about(rule, checks)}"
        blank = blank.model_copy(update={"expected": words})
        unique = None
        if rule.metric == "duplicate_values":
            passes = max(1, -(-row_estimate // KEYS_PER_PASS))
            unique = UniqueCheck(tuple((name, types[name]) for name in rule.fields), None, passes)
        rows = RowRule(
            key=key, name=rule.rule, check=rule.metric,
            field=rule.counted[0].field if rule.counted else "", severity="warn",
            expected=" and ".join(check.expected for check in checks),
            broken=pl.any_horizontal(pl.lit(value=False), *(check.broken for check in checks)),
        )  # fmt: skip
    except (PipelineSpecError, UsageError) as error:
        told = f"not run: {error}; "
        told += (
            ADVICE
            if rule.metric == "sql"
            else "give the column the type of the contract, or change the rule"
        )
        return Promise(key, blank.model_copy(update={"outcome": "error", "message": told}))
    return Promise(key, blank, rule, rows=rows, unique=unique)


def _check_fields(rule: QualityRule, types: Mapping[str, FieldType]) -> None:
    for name in rule.fields:
        if name not in types:
            raise UsageError(f"expected column `{name}`, got {', '.join(types)}")
        if rule.metric == "duplicate_values" and types[name].base in UNGROUPABLE:
            raise UsageError(
                f"expected a type whose values can be told apart, got `{name}` of type "
                f"`{types[name]}`"
            )


def _of_level(
    contract: Contract, level: ServiceLevel, element: str, types: Mapping[str, FieldType]
) -> Promise:
    """Hold the newest value of a field against the end of the interval."""
    table, _, last = element.rpartition(".")
    ours = table in {"", contract.dataset, contract.physical_name}
    name = last if ours else element
    key = f"service:{level.property}({name})"
    blank = CheckResult(
        name=f"{level.property}({name})", check="freshness", severity="warn", outcome="failed",
        contract=contract.label,
        message=f"not checked: expected a field of dates or times, got `{element}`",
    )  # fmt: skip
    if name not in types or types[name].base not in _TIMES:
        return Promise(key, blank)
    check = Check(check="freshness", fields=[name], severity="warn", within_ms=level.duration_ms)
    quoted = name.replace('"', '""')
    measure = Measure.of(key, parse_batch_expression(f'max("{quoted}")', types), dict(types))
    return Promise(key, blank, measure=measure, fresh=check)


def _about(rule: QualityRule, checks: list[RowCheck]) -> str:
    """Say which rows are counted."""
    if rule.metric == "row_count":
        return ""
    names = ", ".join(rule.fields)
    if rule.metric == "duplicate_values":
        return f" whose ({names}) occurs already"
    words = [
        "null"
        if check.expected == "a value"
        else f"not {check.expected}".replace("not none of", "one of", 1)
        for check in checks
    ]
    return f" where `{names}` is {' or '.join(words)}"


def _count_result(promise: Promise, tally: RuleTally) -> CheckResult:
    rule, rows, count = promise.rule, tally.checked, tally.failed
    assert rule is not None  # noqa: S101 - what counts rows is a rule of quality
    assert rule.comparison is not None  # noqa: S101 - and has a comparison
    if tally.error:
        return _error(promise, tally.error)
    if rule.metric == "row_count":
        return _judged(promise, Fraction(rows), f"{rows:,} rows", rows)
    value = Fraction(count)
    shown = f"{count:,} of {rows:,} rows"
    if rule.unit == "percent":
        value = Fraction(100 * count, rows) if rows else Fraction(0)
        shown += f", {float(value):.6g} percent"
    return _judged(promise, value, shown, rows, tally)


def _value_result(promise: Promise, measure: Measure, parts: list[Measured]) -> CheckResult:
    try:
        value = measure.finish(parts)
    except ContractViolationError as error:
        return _error(promise, str(error))
    if value is None:
        return _failed(promise, "null", "there is no value")
    exact = Decimal(value) if isinstance(value, int | float | Decimal) else Decimal("NaN")
    if not exact.is_finite():
        return _failed(promise, str(value), "it is no finite number")
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return _judged(promise, Fraction(exact), shown, 0)


def _judged(
    promise: Promise, value: Fraction, shown: str, rows: int, tally: RuleTally | None = None
) -> CheckResult:
    rule = promise.rule
    assert rule is not None  # noqa: S101 - as above
    assert rule.comparison is not None  # noqa: S101 - as above
    if rule.comparison.holds(value):
        passed = {"outcome": "passed", "measured": shown, "checked_rows": rows}
        return promise.blank.model_copy(update=passed)
    told = rule.description or f"expected {promise.blank.expected}"
    failed = _failed(promise, shown, told)
    samples = tally.samples if tally is not None else []
    return failed.model_copy(update={"checked_rows": rows, "samples": samples})


def _failed(promise: Promise, shown: str, message: str) -> CheckResult:
    update = {"outcome": "failed", "measured": shown, "message": message}
    return promise.blank.model_copy(update=update)


def _error(promise: Promise, message: str) -> CheckResult:
    return promise.blank.model_copy(update={"outcome": "error", "message": message})
