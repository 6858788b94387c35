"""Checks of a batch as a whole: fresh, as many as usual, adding up, as a condition says."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from batch.chunk import BatchLedger
from batch.gate_report import CheckResult, Outcome
from batch.measure import Measure
from batch.profile import Measured
from batch.quality_trend import LEAST_RUNS, usual
from common.duration import format_duration
from common.errors import ContractViolationError
from pipelines.etl import Check

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def freshness_result(
    check: Check, measure: Measure, parts: Sequence[Measured], end_us: int
) -> CheckResult:
    """Compare the newest value of a column with the end of the interval; no value is not fresh."""
    within_ms = check.within_ms or 0
    expected = f"a value at most {format_duration(within_ms)} before {_time_text(end_us)}"
    try:
        newest = measure.finish(parts)
    except ContractViolationError as error:
        return _result(check, "error", "", expected, str(error))
    if newest is None:
        return _result(check, "failed", "no value", expected, "there is no value at all")
    newest_us = _micros(newest)
    age_ms = -(-(end_us - newest_us) // 1_000)
    fresh = end_us - newest_us <= within_ms * 1_000
    shown = f"newest is {_time_text(newest_us)}"
    if fresh:
        return _result(check, "passed", shown, expected)
    return _result(check, "failed", shown, expected, f"it is {format_duration(age_ms)} old")


def volume_result(check: Check, rows: int, past: Sequence[float]) -> CheckResult:
    """Compare the number of rows with bounds, and with past runs."""
    return _compared(check, Decimal(rows), f"{rows:,} rows", past)


def metric_result(
    check: Check, measure: Measure, parts: Sequence[Measured], past: Sequence[float],
    metrics: dict[str, float],
) -> CheckResult:  # fmt: skip
    """Compare a value with bounds, and with past runs; it is put into `metrics`."""
    try:
        value = measure.finish(parts)
    except ContractViolationError as error:
        return _result(check, "error", "", _expected(check), str(error))
    if value is None:
        return _result(check, "failed", "null", _expected(check), "there is no value")
    exact = Decimal(value) if isinstance(value, int | float | Decimal) else Decimal("NaN")
    if not exact.is_finite():
        return _result(check, "failed", str(value), _expected(check), "it is no finite number")
    metrics[check.name] = float(exact)
    return _compared(check, exact, str(value), past)


def reconciliation_result(
    check: Check, ledger: BatchLedger, staged: Mapping[str, int]
) -> CheckResult:
    """Check that every row is accounted for, and that every target has all of them in staging."""
    tolerance = check.tolerance_rows
    came = ledger.extracted + ledger.expanded
    went = ledger.loaded + ledger.filtered + ledger.quarantined + ledger.grouped
    wrong = []
    if abs(came - went) > tolerance:
        wrong.append(f"{came:,} rows came and {went:,} are accounted for")
    wrong += [
        f"{target} has {rows:,} rows of {ledger.loaded:,} in staging"
        for target, rows in staged.items()
        if abs(rows - ledger.loaded) > tolerance
    ]
    measured = (
        f"extracted {ledger.extracted:,} + expanded {ledger.expanded:,} = loaded "
        f"{ledger.loaded:,} + filtered {ledger.filtered:,} + quarantined {ledger.quarantined:,}"
        + (f" + grouped {ledger.grouped:,}" if ledger.grouped else "")
    )
    expected = "equal counts" + (f", up to {tolerance:,} rows" if tolerance else "")
    if not staged:
        return _result(check, "error", measured, expected, "no target has told what is staged")
    return _result(check, "failed" if wrong else "passed", measured, expected, "; ".join(wrong))


def sql_result(check: Check, measure: Measure, parts: Sequence[Measured]) -> CheckResult:
    """Check a condition over aggregates; one that is null has not been shown to hold."""
    expected = f"`{measure.expression.text}`"
    try:
        value = measure.finish(parts)
    except ContractViolationError as error:
        return _result(check, "error", "", expected, str(error))
    if value is True:
        return _result(check, "passed", "true", expected)
    shown = "null" if value is None else "false"
    return _result(check, "failed", shown, expected, f"the condition is {shown}")


def _compared(check: Check, value: Decimal, shown: str, past: Sequence[float]) -> CheckResult:
    expected = _expected(check)
    wrong = []
    if check.min is not None and value < Decimal(check.min):
        wrong.append(f"it is below {check.min}")
    if check.max is not None and value > Decimal(check.max):
        wrong.append(f"it is above {check.max}")
    sigma = check.within_sigma
    if sigma is None:
        return _result(check, "failed" if wrong else "passed", shown, expected, "; ".join(wrong))
    found = usual(past, check.against_runs or len(past))
    if found is None:
        told = (
            f"not enough history: expected {LEAST_RUNS} past runs to compare with, got {len(past)}"
        )
        result = _result(check, "failed", shown, expected, "; ".join([*wrong, told]))
        return result if wrong else result.model_copy(update={"severity": "warn"})
    distance = found.sigmas(float(value))
    usually = f"mean {found.mean:,.6g} and deviation {found.deviation:,.6g} of {found.runs} runs"
    if distance > sigma:
        far = "further than any" if math.isinf(distance) else f"{distance:.2f} deviations"
        wrong.append(f"it is {far} from the {usually}")
    outcome: Outcome = "failed" if wrong else "passed"
    return _result(check, outcome, f"{shown}; {usually}", expected, "; ".join(wrong))


def _expected(check: Check) -> str:
    parts = [f"at least {check.min}"] if check.min is not None else []
    parts += [f"at most {check.max}"] if check.max is not None else []
    if check.within_sigma is not None:
        runs = f"the last {check.against_runs} runs" if check.against_runs else "past runs"
        parts.append(f"within {check.within_sigma:g} sigma of {runs}")
    return " and ".join(parts)


def _result(
    check: Check, outcome: Outcome, measured: str, expected: str, message: str = ""
) -> CheckResult:
    return CheckResult(
        name=check.name, check=check.check, severity=check.severity, outcome=outcome,
        measured=measured, expected=expected, message=message,
    )  # fmt: skip


def _micros(value: object) -> int:
    if isinstance(value, datetime):
        return (value.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, date):  # a day is as new as its last moment
        return ((value - _EPOCH.date()).days + 1) * 86_400_000_000
    raise ContractViolationError(f"expected a date or a time, got {type(value).__name__}")


def _time_text(value_us: int) -> str:
    moment = _EPOCH + timedelta(microseconds=value_us)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
