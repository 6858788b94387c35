"""Checks of rows against plain Python; a record that breaks one goes whole, with all reasons."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.gate_report import MOST_SAMPLES
from batch.profile import added_tallies
from batch.row_check import compile_contract, compile_row_checks, reference_values
from batch.transform import Cleaned, compile_batch
from common.errors import UsageError
from contracts.contract import FieldRule
from contracts.field_dtype import polars_type
from contracts.field_type_parse import parse_field_type
from pipelines.etl_build import build_check, build_etl_step

TYPES = {
    name: parse_field_type(text)
    for name, text in {
        "id": "int64?", "n": "int32?", "amount": "decimal(12,2)?", "text": "string?",
        "tags": "list<string>?",
    }.items()
}  # fmt: skip
SCHEMA = {name: polars_type(kind) for name, kind in TYPES.items()}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.none() | st.integers(0, 4),
            "n": st.none() | st.sampled_from([0, 1, 5, 2**31 - 1]),
            "amount": st.none() | st.sampled_from([Decimal("-0.01"), Decimal(0), Decimal("9.99")]),
            "text": st.none() | st.sampled_from(["", "ab", "äöü", "xaby"]),
            "tags": st.just(None),
        }
    ),
    max_size=20,
)
Holds = Callable[[dict[str, Any]], bool]
CHECKS: list[tuple[dict[str, Any], Holds]] = [
    ({"check": "not_null", "field": "id"}, lambda row: row["id"] is not None),
    (
        {"check": "range", "field": "amount", "min": "0", "max": "9.98"},
        lambda row: row["amount"] is None or 0 <= row["amount"] <= Decimal("9.98"),
    ),
    (
        {"check": "length", "field": "text", "min": "2", "max": "3"},
        lambda row: row["text"] is None or 2 <= len(row["text"]) <= 3,
    ),
    (
        {"check": "pattern", "field": "text", "pattern": "ab|x"},
        lambda row: row["text"] is None or bool(re.fullmatch("ab|x", row["text"])),
    ),
    (
        {"check": "enum", "field": "n", "values": ["1", "5"]},
        lambda row: row["n"] is None or row["n"] in {1, 5},
    ),
    (
        {"check": "row", "expression": "n + 1 > 1 or id = 3"},
        lambda row: row["n"] in {None, 1, 5} or (row["n"] == 0 and row["id"] in {3, None}),
    ),
    (
        {"check": "referential", "field": "id", "reference": {"file": "ids.csv", "field": "key"}},
        lambda row: row["id"] is None or row["id"] in {1, 2},
    ),
]  # fmt: skip


def cleaned(rows: list[dict[str, Any]], *steps: dict[str, Any]) -> Cleaned:
    compiled = compile_batch(TYPES, [build_etl_step(step) for step in steps])
    return compiled.apply(pl.DataFrame(rows, schema=SCHEMA, orient="row"))


@settings(max_examples=40)
@given(ROWS, st.lists(st.tuples(st.sampled_from(CHECKS), st.sampled_from(["block", "quarantine"])),
                      max_size=3))  # fmt: skip
def test_rows_that_break_a_check_are_those_of_plain_python(
    rows: list[dict[str, Any]], chosen: list[tuple[tuple[dict[str, Any], Holds], str]]
) -> None:
    built = [build_check(options | {"severity": severity}) for (options, _), severity in chosen]
    allowed = reference_values("ids.csv", b"key\n1\n2\n", "key", TYPES["id"])
    references = dict.fromkeys(range(len(built)), allowed)
    left, tallies = compile_row_checks(built, TYPES, references).apply(cleaned(rows), chunk=4)
    broken = [
        {place for place, row in enumerate(rows) if not holds(row)} for (_, holds), _ in chosen
    ]
    assert [tally.failed for tally in tallies] == [len(places) for places in broken]
    assert [tally.checked for tally in tallies] == [len(rows)] * len(chosen)
    for tally, places in zip(tallies, broken, strict=True):
        assert [one.row for one in tally.samples] == sorted(places)[:MOST_SAMPLES]
    gone = set[int]().union(
        *(p for p, (_, severity) in zip(broken, chosen, strict=True) if severity == "quarantine")
    )
    assert set(left.rejected["_row"]) == gone
    assert left.rows["_row"].to_list() == [n for n in range(len(rows)) if n not in gone]
    assert left.rows_in + left.expanded == left.rows.height + left.filtered + left.rejected.height


def test_record_goes_whole_with_every_reason_and_is_counted_once() -> None:
    rows = [{"id": 1, "n": 0, "tags": ["a", "b", "x"]}, {"id": 2, "n": 5, "tags": ["a"]}]
    checks = [
        build_check({"check": "enum", "field": "tag", "values": ["a"], "severity": "quarantine"}),
        build_check({"check": "range", "field": "n", "min": "1", "severity": "quarantine"}),
    ]
    step = {"expand": {"tag": "unnest(tags)"}}
    types = TYPES | {"tag": parse_field_type("string")}
    left, tallies = compile_row_checks(checks, types, {}).apply(cleaned(rows, step), 0)
    assert left.rows["id"].to_list() == [2]
    assert (left.rows_in, left.expanded, left.filtered) == (2, 0, 0)
    assert left.rejected.rows() == [
        (
            0, "enum(tag)", "tag",
            "`tag`: expected one of a, got `b`; `n`: expected at least 1, got `0`",
        )
    ]  # fmt: skip
    assert [tally.failed for tally in tallies] == [2, 3]


def test_rules_of_a_contract_are_checked_alike() -> None:
    rules = [
        FieldRule(rule="n.required", field="n", kind="required", severity="block"),
        FieldRule(rule="n.minimum", field="n", kind="minimum", values=["1"]),
    ]
    compiled = compile_contract(rules, TYPES)
    left, tallies = compiled.apply(cleaned([{"n": 0}, {"n": None}, {"n": 7}]), 0)
    assert left.rejected.select("_row", "check", "field").rows() == [(0, "contract", "n")]
    assert [(tally.rule, tally.failed) for tally in tallies] == [
        ("contract:n.required", 1), ("contract:n.minimum", 1),
    ]  # fmt: skip


def test_rules_before_the_steps_and_the_steps_are_counted_as_one() -> None:
    rules = [FieldRule(rule="n.minimum", field="n", kind="minimum", values=["1"])]
    rows = [{"n": 0, "id": 1}, {"n": 2**31 - 1, "id": 1}, {"n": 4, "id": 0}, {"n": 4, "id": 9}]
    steps: list[dict[str, Any]] = [{"where": "id > 0"}, {"derive": {"m": "n + 1"}}]
    first, _ = compile_contract(rules, TYPES).apply(cleaned(rows), 0)
    compiled = compile_batch(TYPES, [build_etl_step(step) for step in steps])
    both = compiled.run(first.rows).after(first)
    assert both.rows.select("_row", "m").rows() == [(3, 5)]
    assert both.rejected.select("_row", "check").rows() == [(0, "contract"), (1, "step")]
    assert (both.rows_in, both.filtered, both.expanded) == (4, 1, 0)


def test_samples_of_chunks_are_the_first_ones_and_values_are_shortened() -> None:
    check = build_check({"check": "length", "field": "text", "max": "3"})
    compiled = compile_row_checks([check], TYPES, {})
    parts = [compiled.apply(cleaned([{"text": "y" * 999}] * 15), chunk)[1] for chunk in (0, 1)]
    (tally,) = added_tallies(parts)
    assert (tally.failed, tally.checked, len(tally.samples)) == (30, 30, MOST_SAMPLES)
    assert [one.chunk for one in tally.samples] == [0] * 15 + [1] * 5
    assert len(tally.samples[0].reason) < 120


def test_referential_check_without_its_reference_is_refused() -> None:
    reference = {"file": "ids.csv", "field": "key"}
    check = build_check({"check": "referential", "field": "id", "reference": reference})
    with pytest.raises(UsageError, match="expected its reference to be loaded"):
        compile_row_checks([check], TYPES, {})
