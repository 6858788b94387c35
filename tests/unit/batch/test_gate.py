"""The gate over a whole batch: exact values, a verdict over all failures, errors never pass."""

import itertools
import statistics
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.chunk import BatchLedger
from batch.gate import BatchFacts, CompiledGate, compile_gate, decide
from batch.gate_report import CheckResult, GateReport, score_of
from batch.profile import Profile
from batch.quality_html import quality_page
from batch.quality_trend import HistoryEntry, entry_of, falls_below, trend_of, usual
from batch.transform import compile_batch
from contracts.contract import FieldRule, UniqueKey
from contracts.field_dtype import polars_type
from contracts.field_type_parse import parse_field_type
from pipelines.etl_build import build_check

TYPES = {
    name: parse_field_type(text)
    for name, text in {
        "id": "int64?", "amount": "decimal(12,2)?", "at": "timestamp(6)?", "big": "int64?",
    }.items()
}  # fmt: skip
SCHEMA = {name: polars_type(kind) for name, kind in TYPES.items()}
END_US = 86_400_000_000
Rows = list[tuple[int | None, Decimal | None, int | None, int | None]]
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 3),
        st.none() | st.decimals(-100, 100, places=2),
        st.none() | st.integers(0, END_US),
        st.none() | st.sampled_from([1, 2**62]),
    ),
    max_size=12,
)


def frame(rows: Rows) -> pl.DataFrame:
    plain = pl.DataFrame(rows, schema={**SCHEMA, "at": pl.Int64}, orient="row")
    return plain.with_columns(pl.col("at").cast(SCHEMA["at"]))


def gate_of(*checks: dict[str, Any], **options: Any) -> CompiledGate:  # noqa: ANN401 - options of the callee
    return compile_gate([build_check(check) for check in checks], TYPES, {}, **options)


def report_of(
    gate: CompiledGate, chunks: list[Rows], history: list[HistoryEntry] | None = None,
    staged: dict[str, int] | None = None,
) -> GateReport:  # fmt: skip
    profiles: list[Profile] = []
    ledger = BatchLedger()
    keys: dict[str, list[pl.DataFrame]] = {one.key: [] for one in gate.keys}
    for number, rows in enumerate(chunks):
        cleaned = compile_batch(TYPES, []).apply(frame(rows))
        cleaned, first = gate.contract.apply(cleaned, number)
        cleaned, second = gate.rows.apply(cleaned, number)
        for one in gate.keys:
            keys[one.key].append(one.unique.keys_of(cleaned.rows, number))
        profile = gate.profile(number, [cleaned.rows], [first, second])
        profiles.append(Profile.model_validate_json(profile.model_dump_json()))
        ledger = BatchLedger(
            extracted=ledger.extracted + cleaned.rows_in,
            loaded=ledger.loaded + cleaned.rows.height,
            quarantined=ledger.quarantined + cleaned.rejected.height,
        )
    repeated = {one.key: one.unique.repeated(keys[one.key]) for one in gate.keys}
    staged = {"lake:orders": ledger.loaded} if staged is None else staged
    facts = BatchFacts(ledger, staged, END_US, history or [], repeated)
    return decide(gate, profiles[::-1], facts, "orders", "day one", "r1")


def past(*rows: float, **metrics: list[float]) -> list[HistoryEntry]:
    return [
        HistoryEntry(
            run_id=f"p{n}", finished_ms=n, outcome="passed", score=90, rows=int(count),
            metrics={name: values[n] for name, values in metrics.items()},
        )
        for n, count in enumerate(rows)
    ]  # fmt: skip


@settings(max_examples=30)
@given(st.lists(ROWS, min_size=1, max_size=3))
def test_conditions_and_metrics_over_a_batch_are_those_of_duckdb(chunks: list[Rows]) -> None:
    texts = ["sum(amount) > 0 and count(*) > 3", "count(distinct id) = 2 or max(amount) is null",
             "avg(amount) filter (where id > 1) >= 0"]  # fmt: skip
    metric = {"check": "metric", "expression": "count(amount) * 2", "min": "0"}
    gate = gate_of(*({"check": "sql", "expression": text} for text in texts), metric)
    report = report_of(gate, chunks)
    table = frame(list(itertools.chain(*chunks)))  # noqa: F841 - DuckDB reads it
    row = duckdb.execute(f'select {", ".join(texts)}, count(amount) * 2 from "table"').fetchone()
    assert row is not None
    assert [one.outcome for one in report.checks[:3]] == [
        "passed" if value else "failed" for value in row[:3]
    ]
    assert report.metrics == {"metric(count(amount) * 2)": float(row[3])}


def test_every_failure_is_in_one_report_and_the_worst_decides() -> None:
    gate = gate_of(
        {"check": "not_null", "field": "id", "severity": "quarantine"},
        {"check": "range", "field": "amount", "min": "0", "severity": "warn"},
        {"check": "unique", "field": "id", "severity": "block"},
        {"check": "freshness", "field": "at", "within": "1h"},
        {"check": "sql", "expression": "count(*) > 100", "severity": "warn"},
        {"check": "reconciliation"},
        rules=[FieldRule(rule="big.required", field="big", kind="required", severity="warn")],
        unique=[UniqueKey(rule="key", fields=["big"], severity="warn")],
    )
    rows: Rows = [(1, Decimal(-1), 0, 1), (1, Decimal(1), 1, 2), (None, None, 2, None)]
    report = report_of(gate, [rows, [(2, Decimal(5), 3, 2)]])
    found = {one.name: (one.outcome, one.failed_rows) for one in report.checks}
    assert found == {
        "big.required": ("failed", 1), "key": ("failed", 1), "not_null(id)": ("failed", 1),
        "range(amount)": ("failed", 1), "unique(id)": ("failed", 1), "freshness(at)": ("failed", 0),
        "sql(count(*) > 100)": ("failed", 0), "reconciliation": ("passed", 0),
    }  # fmt: skip
    assert report.outcome == "blocked"
    assert report.ledger.balanced
    assert GateReport.model_validate_json(report.model_dump_json()) == report
    unique = next(one for one in report.checks if one.name == "unique(id)")
    assert unique.samples[0].reason == "(id) = (1) occurs again"


def test_key_of_a_contract_that_the_steps_leave_out_is_told_as_a_warning() -> None:
    gate = gate_of(unique=[UniqueKey(rule="key", fields=["order_id"], severity="block")])
    (result,) = report_of(gate, [[(1, None, None, 1)]]).checks
    assert (result.name, result.outcome, result.severity) == ("key", "failed", "warn")
    assert result.message.startswith("not checked")


def test_rows_of_a_repeated_key_are_rejected_by_chunk_but_for_the_newest() -> None:
    gate = gate_of({"check": "unique", "field": "id", "severity": "quarantine"}, cursor="big")
    rows: Rows = [
        (1, None, None, 7),
        (1, None, None, 2**62),
        (2, None, None, 1),
        (1, None, None, 7),
    ]
    (one,) = gate.keys
    repeated = one.unique.repeated(
        one.unique.keys_of(compile_batch(TYPES, []).apply(frame(rows)).rows, chunk)
        for chunk in (0, 1)
    )
    assert one.rejected(repeated, 0)["_row"].to_list() == [0, 1, 2, 3]
    assert one.rejected(repeated, 1).rows() == [
        (0, "unique(id)", "id", "(id) = (1) occurs again, in a newer row"),
        (3, "unique(id)", "id", "(id) = (1) occurs again, in a newer row"),
    ]


def test_check_that_cannot_run_is_an_error_and_blocks() -> None:
    gate = gate_of(
        {"check": "sql", "expression": "sum(big) > 0", "severity": "warn"},
        {"check": "sql", "expression": "sum(big * 4) > 0", "severity": "warn"},
        {"check": "unique", "field": "id", "severity": "warn"},
        {"check": "reconciliation", "severity": "warn"},
    )
    chunks: list[Rows] = [[(1, None, None, 2**62)], [(1, None, None, 2**62)]]
    report = report_of(gate, chunks, staged={})
    assert [one.outcome for one in report.checks] == ["error", "error", "failed", "error"]
    assert report.outcome == "blocked"
    facts = BatchFacts(BatchLedger(), {"lake:x": 0}, END_US)
    nothing = decide(gate, [Profile(chunk=0)], facts, "orders")
    assert [one.outcome for one in nothing.checks] == ["error", "error", "error", "passed"]


def test_batch_without_a_row_or_a_chunk_breaks_no_rule_of_rows() -> None:
    checks = [{"check": "not_null", "field": "id"}, {"check": "sql", "expression": "count(*) = 0"}]
    for count in (0, 1, 2):
        report = report_of(gate_of(*checks), [[]] * count)
        assert [one.outcome for one in report.checks] == ["passed", "passed"]


def test_check_that_one_chunk_tells_nothing_of_is_an_error() -> None:
    gate = gate_of({"check": "not_null", "field": "id"}, rules=[
        FieldRule(rule="big.required", field="big", kind="required")])  # fmt: skip
    cleaned = compile_batch(TYPES, []).apply(frame([(1, None, None, 1)]))
    contract, rows = gate.contract.apply(cleaned, 0)[1], gate.rows.apply(cleaned, 0)[1]
    whole = gate.profile(0, [cleaned.rows], [contract, rows])
    facts = BatchFacts(BatchLedger(extracted=1, loaded=1), {}, END_US)
    found = decide(gate, [whole, gate.profile(1, [], [contract])], facts, "orders")
    assert [one.outcome for one in found.checks] == ["passed", "error"]
    parts = [
        gate.profile(0, [cleaned.rows], [contract], part="extracted"),
        gate.profile(1, [cleaned.rows], [rows], part="clean"),
    ]
    found = decide(gate, parts, facts, "orders")
    assert [one.outcome for one in found.checks] == ["passed", "passed"]


def test_rows_that_went_astray_fail_the_reconciliation() -> None:
    gate = gate_of({"check": "reconciliation", "tolerance": 1})
    for staged, outcome in ((1, "passed"), (2, "passed"), (3, "failed")):
        report = report_of(gate, [[(1, None, None, 1)]], staged={"lake:x": staged})
        assert [one.outcome for one in report.checks] == [outcome]


def test_freshness_is_exact_to_the_microsecond_and_no_value_is_not_fresh() -> None:
    gate = gate_of({"check": "freshness", "field": "at", "within": "1s"})
    for at, outcome in ((END_US - 1_000_000, "passed"), (END_US - 1_000_001, "failed")):
        assert report_of(gate, [[(1, None, at, 1), (1, None, 0, 1)]]).checks[0].outcome == outcome
    assert report_of(gate, [[(1, None, None, 1)], []]).checks[0].outcome == "failed"


def test_volume_without_enough_history_is_shown_as_a_warning_never_passed() -> None:
    gate = gate_of({"check": "volume", "against": "5 runs", "within": "2 sigma"})
    (result,) = report_of(gate, [[(1, None, None, 1)]], past(1, 1)).checks
    assert (result.outcome, result.severity) == ("failed", "warn")
    assert "not enough history: expected 3 past runs" in result.message
    blocked = [one.model_copy(update={"outcome": "blocked"}) for one in past(1, 1, 1)]
    assert report_of(gate, [[(1, None, None, 1)]], blocked).outcome == "warned"


@given(
    st.lists(st.integers(0, 50), min_size=3, max_size=12),
    st.integers(0, 30),
    st.integers(3, 12),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_volume_is_judged_by_mean_and_deviation_of_the_last_runs(
    counts: list[int], rows: int, against: int, sigma: float
) -> None:
    check = {"check": "volume", "against": f"{against} runs", "within": f"{sigma:g} sigma"}
    facts = BatchFacts(BatchLedger(loaded=rows), {}, END_US, past(*counts))
    (result,) = decide(gate_of(check), [], facts, "orders").checks
    last = counts[-against:]
    mean, deviation = statistics.mean(last), statistics.stdev(last)
    distance = abs(rows - mean) - sigma * deviation
    if abs(distance) > 1e-9:
        assert result.outcome == ("failed" if distance > 0 else "passed")


def test_metric_is_compared_with_its_own_past() -> None:
    check = {
        "check": "metric",
        "expression": "sum(amount)",
        "against": "9 runs",
        "within": "3 sigma",
    }
    name = "metric(sum(amount))"
    history = past(1, 1, 1, **{name: [10.0, 11.0, 12.0]})
    for amount, outcome in (("14", "passed"), ("14.01", "failed")):
        report = report_of(gate_of(check), [[(1, Decimal(amount), None, 1)]], history)
        assert report.checks[0].outcome == outcome
        assert entry_of(report, 5).metrics == {name: float(amount)}


def test_score_weighs_checks_and_rows() -> None:
    ledger = BatchLedger(extracted=100, loaded=90, quarantined=10)
    checks = [
        CheckResult(name="a", check="range", severity="quarantine", outcome="failed",
                    checked_rows=100, failed_rows=10),
        CheckResult(name="b", check="sql", severity="block", outcome="passed"),
        CheckResult(name="c", check="sql", severity="warn", outcome="failed"),
    ]  # fmt: skip
    assert score_of(checks, ledger) == round((3 * 90 + 2 * 90 + 3 * 100 + 0) / 9 - 0.005, 2)
    assert score_of([], BatchLedger()) == 100


def test_trend_is_newest_first_and_the_alert_is_raised_once() -> None:
    history = past(5, 6, 7)
    lines = trend_of([*history, history[0].model_copy(update={"finished_ms": 9, "score": 80})], 2)
    assert [(line.entry.finished_ms, line.change) for line in lines] == [(9, -10), (2, 0)]
    assert usual([1, 2], 5) is None
    assert falls_below(89.9, 90, 95)
    assert falls_below(89.9, 90, None)
    assert not falls_below(89, 90, 89.9)
    assert not falls_below(90, 90, 95)
    assert not falls_below(0, None, 95)


class _Page(HTMLParser):
    """Collects the texts of a page, and every attribute that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.loads: list[tuple[str, str | None]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [(n, v) for n, v in attrs if n in {"src", "href", "data", "action", "onload"}]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@given(st.text(), st.text())
def test_page_stands_by_itself_and_no_value_becomes_markup(name: str, reason: str) -> None:
    evil = f"<script>alert({name!r})</script>"
    result = CheckResult.model_validate(
        {
            "name": evil, "check": "range", "severity": "block", "outcome": "failed",
            "message": reason, "failed_rows": 1, "checked_rows": 2,
            "samples": [{"chunk": 0, "row": 1, "reason": f"<img src=x>{reason}"}],
        }
    )  # fmt: skip
    report = GateReport(
        pipeline="orders", interval=evil, outcome="blocked", score=12.5,
        ledger=BatchLedger(extracted=2, loaded=2), checks=[result],
    )  # fmt: skip
    text = quality_page(report, past(1, 2))
    page = _Page()
    page.feed(text)
    assert page.loads == []
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "url(" not in text
    assert "http" not in text.replace(text[text.index("<body") :], "")
    assert {"svg", "polyline", "table"} <= set(page.tags)
    assert any("12.50 of 100" in one for one in page.texts)


@pytest.mark.parametrize("outcome", ["passed", "warned", "blocked"])
def test_page_of_a_report_without_checks_says_the_verdict(outcome: Any) -> None:  # noqa: ANN401 - a literal
    report = GateReport(pipeline="orders", outcome=outcome, score=100, ledger=BatchLedger())
    assert f"<title>orders: {outcome}</title>" in quality_page(report)
