"""Mistakes in the checks of a gate: found before anything runs, with their line."""

from pathlib import Path

import pytest

from contracts.field_type_parse import parse_field_type
from pipelines.etl_gate_check import gate_problems
from pipelines.etl_render import render_check
from tests.unit.pipelines.etl_file import ORDERS, build, check

POSTGRES = "kind: etl\nname: orders\nsource:\n  postgres: {table: orders}\n"
GATE = """\
gate:
  - {check: not_null, fields: [order_id, country], severity: quarantine}
  - {check: unique, fields: [order_id], severity: quarantine}
  - {check: range, field: amount, min: 0, max: 100.50}
  - {check: range, field: changed, min: 2026-05-01T00:00:00.000001Z}
  - {check: length, field: country, min: 2, max: 2}
  - {check: pattern, field: country, pattern: "[a-z]{2}"}
  - {check: enum, field: country, values: [de, fr]}
  - {check: row, expression: amount > 0 or country is null}
  - {check: referential, field: country, reference: {file: c.csv, field: code}}
  - {check: freshness, field: changed, within: 1d}
  - {check: volume, against: 14 runs, within: 3 sigma, severity: warn}
  - {check: metric, expression: sum(amount) / count(*), min: -5.5}
  - {check: reconciliation, tolerance: 3}
  - {check: sql, expression: sum(amount) > 0 and count(*) > 10}
"""


@pytest.fixture(autouse=True)
def codes(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("code,n\nde,1\n", encoding="utf-8")


def test_gate_with_every_check_passes_and_is_written_as_it_was_read(tmp_path: Path) -> None:
    spec = build(tmp_path, GATE)
    assert len(spec.gate) == 14
    again = [f"  - {render_check(one)}\n" for one in spec.gate]
    assert build(tmp_path, "gate:\n", *again).gate == spec.gate
    reference = spec.gate[8].reference
    assert reference is not None
    assert reference.content is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("check: not_null", ": expected field or fields with `not_null`, got none"),
        ("check: not_null, field: a, fields: [order_id]", ".field: expected `field` or `fields`"),
        ("check: not_null, field: amout", ".field: no column `amout` after the steps; did you"),
        ("check: unique, field: tags", ".field: expected a column of type "),
        ("check: unique, fields: [order_id, order_id]", ".fields[1]: expected each column once"),
        ("check: range, field: amount", ": expected min or max with `range`, got none"),
        ("check: range, field: amount, min: 1.555", ".min: expected a number that decimal(12,2)"),
        ("check: range, field: amount, min: 2, max: 1", ".min: expected at most `max`, 1, got 2"),
        ("check: range, field: country, min: 2", ".field: expected a column of type "),
        ("check: length, field: country, min: x", ".min: expected a whole number"),
        ("check: pattern, field: country, pattern: '('", ".pattern: expected a pattern in the"),
        ("check: enum, field: order_id, values: [1, x]", ".values[1]: expected a whole number"),
        ("check: enum, field: order_id, values: [1], min: 3", ".min: expected with `enum` one of"),
        ("check: row, expression: amount", ".expression: `amount`: expected a condition"),
        ("check: sql, expression: amount > 0", ".expression: `amount > 0`: expected an expression"),
        (
            "check: sql, expression: sum(amount) > order_id",
            ".expression: `sum(amount) > order_id`: expected columns inside of aggregates only",
        ),
        ("check: sql, expression: sum(amout) > 0", ".expression: `SUM(amout)`: no column `amout`"),
        (
            "check: metric, expression: max(country), min: 1",
            ".expression: `max(country)`: expected",
        ),
        ("check: sql, expression: count(*) > 0, severity: quarantine", ".severity: expected block"),
        ("check: volume, within: 1d, against: 3 runs", ".within: expected such as `3 sigma`"),
        ("check: volume, within: 3 sigma", ".against: expected such as `14 runs` beside"),
        ("check: volume, within: 3 sigma, against: 2 runs", ".against: expected at least 3 runs"),
        ("check: volume", ": expected min or max or within with `volume`, got none"),
        ("check: freshness, field: changed, within: 3 sigma", ".within: expected a duration"),
        ("check: freshness, field: amount, within: 1d", ".field: expected a column of type date"),
        (
            "check: referential, field: country, reference: {field: code}",
            ".reference: expected either `file` or `table`",
        ),
        (
            "check: referential, field: country, reference: {file: none.csv, field: code}",
            ".reference.file: reference file `none.csv`: expected a file",
        ),
        (
            "check: referential, field: country, reference: {file: c.csv, field: cod}",
            ".reference.file: reference file `c.csv`: no column `cod`; did you mean",
        ),
        (
            "check: referential, field: order_id, reference: {file: c.csv, field: code}",
            ".reference.file: reference file `c.csv`: expected `int64` in column `code`",
        ),
    ],
)
def test_mistake_is_told_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    _, problems = check(tmp_path, f"gate:\n  - {{{text}}}\n")
    told = [one for one in problems if "`a`" not in one]
    assert len(told) == 1, problems
    line, _, rest = told[0].partition(" ")
    assert rest.startswith(f"gate[0]{problem}")
    assert int(line) == ORDERS.count("\n") + 2


def test_checks_look_at_the_columns_after_the_steps(tmp_path: Path) -> None:
    steps = "transform:\n  - rename: {amount: price}\n  - where: nothing > 0\n"
    _, problems = check(tmp_path, steps, "gate:\n  - {check: range, field: amount, min: 0}\n")
    assert [one.split(":")[0] for one in problems] == ["13 transform[1].where", "15 gate[0].field"]


def test_gate_over_columns_that_only_the_source_knows_is_checked_when_it_has_told(
    tmp_path: Path,
) -> None:
    spec = build(tmp_path, GATE, head=POSTGRES)
    types = {
        "order_id": "int64", "amount": "int32", "country": "string", "changed": "date",
    }  # fmt: skip
    known = {name: parse_field_type(text) for name, text in types.items()}
    assert [path for path, _ in gate_problems(known, spec.gate)] == ["gate[2].max", "gate[3].min"]
