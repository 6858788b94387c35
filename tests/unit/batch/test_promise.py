"""What a contract promises of a whole dataset: exact, however it is cut, no silent pass."""

import itertools
import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.chunk import BatchLedger
from batch.clean import CleanPlan, clean_part
from batch.clean_plan import looks_for_repeated, plan_of
from batch.gate import BatchFacts, decide
from batch.gate_report import GateReport
from batch.profile import Profile
from batch.quality_html import quality_page
from batch.schema_change import SchemaDecision
from contracts.contract import (
    Contract,
    ContractField,
    FieldRule,
    Operator,
    QualityRule,
    ServiceLevel,
)
from contracts.field_dtype import polars_type
from contracts.field_type_parse import parse_field_type
from pipelines.etl import EtlSpec, Target
from pipelines.etl_source import PostgresSource

COLUMNS = {"id": "int64?", "status": "string?", "amount": "decimal(12,2)?", "at": "timestamp(6)?"}
SCHEMA = {name: polars_type(parse_field_type(kind)) for name, kind in COLUMNS.items()}
END = datetime(2026, 5, 2, tzinfo=UTC)
END_US = int(END.timestamp()) * 1_000_000
Row = tuple[int | None, str | None]
Chunks = list[list[list[Row]]]
"""Rows in the parts of chunks."""

ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 2), st.none() | st.sampled_from(["new", "paid", "bad", "n/a"])
    ),
    max_size=6,
)
CHUNKS = st.lists(st.lists(ROWS, max_size=3), max_size=3)

METRICS: dict[str, tuple[dict[str, Any], Callable[[list[Row]], int]]] = {
    "null_values": (
        {"fields": ["status"], "counted": [("required", [])]},
        lambda rows: sum(status is None for _, status in rows),
    ),
    "missing_values": (
        {"fields": ["status"], "counted": [("required", []), ("none_of", ["n/a"])]},
        lambda rows: sum(status in (None, "n/a") for _, status in rows),
    ),
    "invalid_values": (
        {"fields": ["status"], "counted": [("one_of", ["new", "paid"]), ("pattern", ["^..w"])]},
        lambda rows: sum(status not in (None, "new") for _, status in rows),
    ),
    "duplicate_values": (
        {"fields": ["id", "status"]},
        lambda rows: len(whole := [row for row in rows if None not in row]) - len(set(whole)),
    ),
    "row_count": ({}, len),
}  # fmt: skip
HOLDS: dict[Operator, Callable[..., bool]] = {
    "=": operator.eq, "<>": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt,
    "<=": operator.le, "between": lambda value, low, high: low <= value <= high,
    "not between": lambda value, low, high: not low <= value <= high,
}  # fmt: skip
BOUNDS = st.sampled_from(["0", "1", "2", "3", "4.5", "12.5", "20", "25", "33.333333333333336", "50",
                          "60", "75", "100"])  # fmt: skip


def quality(metric: Any, comparison: str = ">= 0", **options: Any) -> QualityRule:  # noqa: ANN401 - a literal, fields
    said, _ = METRICS.get(metric, ({}, len))
    word, *bounds = comparison.replace(" and ", " ").rsplit(" ", comparison.count(" and ") + 1)
    counted = [
        FieldRule(rule=f"r{place}", field=said["fields"][0], kind=kind, values=values)
        for place, (kind, values) in enumerate(said.get("counted", []))
    ]
    return QualityRule.model_validate(
        {
            "rule": f"my.{metric}", "metric": metric, "fields": said.get("fields", []),
            "comparison": {"operator": word, "bounds": bounds}, "counted": counted, **options,
        }
    )  # fmt: skip


def plan(
    *rules: QualityRule,
    levels: list[ServiceLevel] | None = None,
    fields: list[ContractField] | None = None,
) -> CleanPlan:
    contract = Contract(
        name="orders", version="1.2.0", status="active", identifier="o", dataset="orders",
        fields=fields or [ContractField(name=name, type=kind) for name, kind in COLUMNS.items()],
        quality=list(rules), service_levels=levels or [],
    )  # fmt: skip
    source, target = PostgresSource(table="t"), Target(kind="lake", table="t")
    spec = EtlSpec(name="load", source=source, targets=[target], contract=contract)
    assert looks_for_repeated(spec) == any(rule.metric == "duplicate_values" for rule in rules)
    return plan_of(spec, SchemaDecision(columns=COLUMNS), COLUMNS, {}, 1)


def frame(rows: list[Any]) -> pl.DataFrame:
    whole = [(*row, *[None] * (len(SCHEMA) - len(row))) for row in rows]
    return pl.DataFrame(whole, schema=SCHEMA, orient="row")


def report_of(made: CleanPlan, chunks: list[list[list[Any]]]) -> GateReport:
    """Take chunks, part by part, the way of a run."""
    profiles: list[Profile] = []
    unique = made.gate.promises.unique
    keys: dict[str, list[pl.DataFrame]] = {key: [] for key, _ in unique}
    ledger = BatchLedger()
    for number, chunk in enumerate(chunks):
        starts = itertools.accumulate((len(part) for part in chunk), initial=0)
        parts = [
            clean_part(made, frame(part), number, start)
            for part, start in zip(chunk or [[]], starts, strict=False)
        ]
        for place, (key, _) in enumerate(unique):
            keys[key] += [part.promised.keys[place] for part in parts]
        profile = made.gate.profile(
            number, [part.rows for part in parts], [part.tallies for part in parts],
            promised=made.gate.promises.merged([part.promised for part in parts]),
        )  # fmt: skip
        profiles.append(Profile.model_validate_json(profile.model_dump_json()))
        rows = sum(part.rows_in for part in parts)
        ledger = ledger.sum(BatchLedger(extracted=rows, loaded=rows))
    repeated = {key: one.repeated(keys[key]) for key, one in unique}
    return decide(made.gate, profiles[::-1], BatchFacts(ledger, {}, END_US, [], repeated), "load")


@settings(max_examples=150)
@given(
    st.sampled_from(list(METRICS)),
    st.sampled_from(list(HOLDS)),
    st.lists(BOUNDS, min_size=2, max_size=2),
    st.sampled_from(["rows", "percent"]),
    CHUNKS,
)
def test_thresholds_are_those_of_plain_python_however_rows_are_cut(
    metric: str, word: Operator, bounds: list[str], unit: str, chunks: Chunks
) -> None:
    bounds = sorted(bounds, key=Fraction) if "between" in word else bounds[:1]
    unit = "rows" if metric == "row_count" else unit
    rule = quality(metric, f"{word} {' and '.join(bounds)}", unit=unit)

    [found] = report_of(plan(rule), chunks).checks

    rows = [row for chunk in chunks for part in chunk for row in part]
    count = METRICS[metric][1](rows)
    value = Fraction(count)
    if unit == "percent":
        value = Fraction(count * 100, len(rows)) if rows else Fraction(0)
    expected = HOLDS[word](value, *map(Fraction, bounds))
    assert found.outcome == ("passed" if expected else "failed"), found
    assert found.checked_rows == len(rows)
    shown = f"{count} rows" if metric == "row_count" else f"{count} of {len(rows)} rows"
    assert found.measured.startswith(shown)


def test_a_share_is_compared_exactly_not_as_a_rounded_number() -> None:
    rows: list[Row] = [(1, None), (1, "new"), (1, "new")]
    below = quality("null_values", "<= 33.333333333333333333333333333", unit="percent")
    above = quality("null_values", "<= 33.333333333333333333333333334", unit="percent")

    found = report_of(plan(below, above), [[rows]]).checks

    assert [one.outcome for one in found] == ["failed", "passed"]


def test_rows_that_are_rejected_are_counted_and_defaults_are_no_nulls() -> None:
    required = FieldRule(rule="status.required", field="status", kind="required")

    def fields(**changes: Any) -> list[ContractField]:  # noqa: ANN401 - fields
        found = [ContractField(name=name, type=kind) for name, kind in COLUMNS.items()]
        return [found[0], found[1].model_copy(update=changes), *found[2:]]

    rule, rows = quality("null_values", "= 1"), [[[(1, None), (2, "new")]]]

    counted = report_of(plan(rule, fields=fields(rules=[required])), rows).checks
    filled = report_of(plan(rule, fields=fields(default="new")), rows).checks

    assert [one.outcome for one in counted] == ["failed", "passed"]
    assert filled[0].measured == "0 of 2 rows"


def test_severity_blocks_or_warns_and_the_report_names_contract_and_version() -> None:
    warned = report_of(plan(quality("row_count", "> 5", severity="warn")), [[[(1, "new")]]])
    blocked = report_of(plan(quality("row_count", "> 5")), [[[(1, "new")]]])

    assert (warned.outcome, blocked.outcome) == ("warned", "blocked")
    assert blocked.checks[0].title == "orders 1.2.0: my.row_count"
    assert "orders 1.2.0: my.row_count" in quality_page(blocked)
    assert blocked.checks[0].expected == "> 5 rows"


def test_samples_show_rows_that_a_threshold_counted() -> None:
    rules = [quality("invalid_values", "< 1"), quality("duplicate_values", "< 1")]
    chunks: Chunks = [[[(1, "new"), (1, "bad")], [(1, "bad")]], [[(2, "paid")]]]

    invalid, repeated = report_of(plan(*rules), chunks).checks

    assert [(one.chunk, one.row) for one in invalid.samples] == [(0, 1), (0, 2), (1, 0)]
    assert "got `bad`" in invalid.samples[0].reason
    assert [(one.chunk, one.row) for one in repeated.samples] == [(0, 1)]
    assert invalid.expected == (
        "< 1 rows where `status` is not one of new, paid or not text that matches `^..w`"
    )


@settings(max_examples=30)
@given(CHUNKS)
def test_queries_are_those_of_duckdb(chunks: Chunks) -> None:
    queries = [
        "select count(*) from {object} where {property} is null",
        "SELECT count(*) AS n FROM shop.orders WHERE orders.status = 'bad' OR id > 1;",
        "select sum(id) filter (where status = 'new' or id = 0) + count(id) from orders "
        "where id < 2",
        "select count(distinct status) from ${table} where ${column} <> 'n/a'",
        "count_if(id > 1) * 2",
        "select bool_or(id = 2) from orders",
    ]
    rules = [
        quality("sql", "> 1", query=text, fields=["status"], rule=f"q{n}")
        for n, text in enumerate(queries)
    ]

    found = report_of(plan(*rules), chunks).checks

    orders = frame([row for chunk in chunks for part in chunk for row in part])
    with duckdb.connect() as database:
        database.execute("create schema shop")
        database.register("plain", orders)
        database.execute("create table orders as from plain")
        database.execute("create table shop.orders as from plain")
        for one, text in zip(found, queries, strict=True):
            query = text.replace("${table}", "orders").replace("${column}", "status")
            query = query.replace("{object}", "orders").replace("{property}", "status")
            # Of no rows DuckDB counts null; here it is 0, as of `count(*) filter`.
            query = query.replace("count_if(id > 1)", "count(*) filter (where id > 1)")
            query = query if "from" in query.lower() else f"select {query} from orders"
            row = database.execute(query).fetchone()
            assert row is not None
            value = row[0]
            assert one.measured == ("null" if value is None else str(value).lower()), one
            assert one.outcome == ("passed" if value is not None and value > 1 else "failed"), one


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("select count(*) from users", "expected the dataset itself, `{object}`, got `users`"),
        ("select count(*) from orders group by id", "expected `select` of one value"),
        ("select count(*) from orders o join p on true", "expected `select` of one value"),
        ("select count(*) from orders where id in (select 1)", "expected `select` of one value"),
        ("select count(*), 1 from orders", "expected `select` of one value"),
        ("select count(*) from {object} where {property} is null", "of a property only"),
        (
            "select percentile(id, 0.5) from orders",
            "`PERCENTILE(id, 0.5)`: expected an expression over",
        ),
        ("select min(status) from orders", "expected a number, or true or false"),
        ("select count(*) from orders where nothing > 1", "nothing"),
        ("select 1 from orders", "expected an expression over aggregates"),
        ("delete from orders", "expected an expression over aggregates"),
        ("exec dbo.check;;", "got a mistake"),
    ],
)
def test_query_that_cannot_run_is_an_error_that_says_what_to_do(query: str, told: str) -> None:
    rule = quality("sql", "= 0", query=query, severity="warn")

    report = report_of(plan(rule), [[[(1, "new")]]])

    assert report.outcome == "blocked"
    assert report.checks[0].outcome == "error"
    assert told in report.checks[0].message
    assert "make the rule `type: custom`" in report.checks[0].message


def test_rule_that_does_not_fit_the_columns_is_an_error() -> None:
    rule = quality("invalid_values", "< 5", fields=["id"], counted=[
        FieldRule(rule="r", field="id", kind="pattern", values=["x"])])  # fmt: skip

    [found] = report_of(plan(rule), [[[(1, "new")]]]).checks

    assert found.outcome == "error"
    assert "type `int64?`" in found.message


def test_rules_for_people_are_listed_and_count_for_nothing() -> None:
    told = QualityRule(rule="note", metric="text", description="Ask the shop")

    report = report_of(plan(told), [[[(1, "new")]]])

    assert (report.outcome, report.score) == ("passed", 100)
    [found] = report.checks
    assert (found.outcome, found.message) == ("skipped", "for people, not run: Ask the shop")
    assert "for people, not run" in quality_page(report)


def level(element: str, name: str = "latency", **options: Any) -> ServiceLevel:  # noqa: ANN401 - fields
    given = {"property": name, "duration_ms": 3_600_000, "element": element, **options}
    return ServiceLevel.model_validate(given)


@pytest.mark.parametrize(("older_us", "outcome"), [(0, "passed"), (1, "failed")])
@pytest.mark.parametrize("element", ["at", "orders.at"])
def test_latency_is_held_against_the_end_of_the_interval(
    element: str, older_us: int, outcome: str
) -> None:
    newest = END - timedelta(hours=1, microseconds=older_us)
    rows: list[list[list[Any]]]
    rows = [[[(1, "new", None, newest - timedelta(days=1))], [(2, "new", None, newest)]], [[]]]

    report = report_of(plan(levels=[level(element)]), rows)

    [found] = report.checks
    assert (found.title, found.check, found.severity, found.outcome) == (
        "orders 1.2.0: latency(at)", "freshness", "warn", outcome,
    )  # fmt: skip


def test_service_levels_that_say_nothing_of_a_field_of_time() -> None:
    levels = [
        level("status", "freshness"), level("other.at, at"), level("at", "retention"), level(""),
        level("at", "latency", duration_ms=None),
    ]  # fmt: skip

    report = report_of(plan(levels=levels), [[[(1, "new", None, END)]]])

    assert [(one.name, one.outcome, one.severity) for one in report.checks] == [
        ("freshness(status)", "failed", "warn"),
        ("latency(other.at)", "failed", "warn"),
        ("latency(at)", "passed", "warn"),
    ]
    assert "not checked" in report.checks[0].message
