"""Mistakes in the steps of a batch: found before anything runs, with their line."""

from pathlib import Path

import pytest

from contracts.field_type_parse import parse_field_type
from pipelines.etl_transform_check import check_steps
from tests.unit.pipelines.etl_file import ORDERS, build, check

POSTGRES = """\
kind: etl
name: orders
source:
  postgres: {table: orders}
"""
STEPS = """\
transform:
  - where: amount > 0
  - derive: {year: extract(year from changed)}
  - expand: {tag: unnest(tags)}
  - join: {file: countries.csv, on: country, take: [region]}
  - rename: {order_id: id, amount: order_id}
  - cast: {order_id: "decimal(10,1)", country: string}
  - drop: [tags]
  - aggregate: {group_by: [region, year], columns: {total: sum(order_id)}}
  - select: [total, year]
"""


@pytest.fixture
def countries(tmp_path: Path) -> Path:
    (tmp_path / "countries.csv").write_text("country,region\nde,eu\n", encoding="utf-8")
    return tmp_path


def test_steps_that_fit_are_built_and_type_the_columns(countries: Path) -> None:
    spec = build(countries, STEPS)
    types, problems = check_steps(
        {name: parse_field_type(text) for name, text in spec.fields.items()}, spec.transform
    )
    assert problems == []
    assert {name: str(kind) for name, kind in types.items()} == {
        "total": "decimal(38,1)?", "year": "int64",
    }  # fmt: skip
    assert spec.transform[3].enrich is not None
    assert spec.transform[3].enrich.content is not None


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("where: amout > 0", "transform[0].where: `amout > 0`: no column `amout`; did you mean"),
        ("where: amount", "transform[0].where: `amount`: expected a condition"),
        (
            "derive: {x: amount + country}",
            "transform[0].derive.x: `amount + country`: expected num",
        ),
        ("derive: {amount: order_id}", "transform[0].derive.amount: expected a new name"),
        ("select: [order_id, order_id]", "transform[0].select[1]: expected each column once"),
        ("select: [ordr_id]", "transform[0].select[0]: no column `ordr_id` at this step; did you"),
        ("drop: [nothing]", "transform[0].drop[0]: no column `nothing` at this step"),
        (
            "drop: [order_id, amount, country, changed, tags]",
            "transform[0].drop: expected at least one column to stay",
        ),
        ("rename: {amount: country}", "transform[0].rename.amount: expected a name of its own"),
        ("rename: {amount: _row}", "transform[0].rename.amount: expected a name that begins with"),
        ("cast: {changed: date}", "transform[0].cast.changed: expected a cast of `timestamp(6)`"),
        ("cast: {tags: string}", "transform[0].cast.tags: expected a cast of `list<string>?`"),
        (
            "aggregate: {columns: {x: first(amount)}}",
            "transform[0].aggregate.columns.x: `first(amount)`: expected an aggregate that any",
        ),
        (
            "aggregate: {group_by: [tags], columns: {x: count(*)}}",
            "transform[0].aggregate.group_by[0]: expected a type that keys can have",
        ),
        (
            "aggregate: {group_by: [country], columns: {country: count(*)}}",
            "transform[0].aggregate.columns.country: expected a name of its own",
        ),
        (
            "join: {file: countries.csv, on: {amount: country}, take: [region]}",
            "transform[0].join.file: reference file",
        ),
        (
            "join: {file: none.csv, on: country, take: [region]}",
            "transform[0].join.file: reference file `none.csv`: expected a file",
        ),
        (
            "join: {file: 'https://example.org/countries.csv', on: country, take: [region]}",
            "transform[0].join.file: reference file: expected a path from the folder of",
        ),
        (
            "join: {file: countries.csv, on: land, take: [region]}",
            "transform[0].join.on: no column or derived column",
        ),
    ],
)
def test_mistake_is_told_with_its_line(countries: Path, step: str, problem: str) -> None:
    _, problems = check(countries, f"transform:\n  - {step}\n")
    assert len(problems) == 1
    line, _, text = problems[0].partition(" ")
    assert text.replace("no field", "no column").startswith(
        problem.replace("no field", "no column")
    )
    assert int(line) == ORDERS.count("\n") + 2


def test_column_that_went_or_whose_step_is_wrong_is_told_once(countries: Path) -> None:
    _, problems = check(
        countries,
        "transform:\n  - derive: {x: amout * 2, y: x + 1}\n  - drop: [amount]\n"
        "  - where: amount > 0\n  - select: [y, x]\n",
    )
    assert [problem.split(":")[0] for problem in problems] == [
        "12 transform[0].derive.x", "14 transform[2].where",
    ]  # fmt: skip


def test_second_aggregate_is_refused_with_its_line(countries: Path) -> None:
    grouped = "  - aggregate: {columns: {n: count(*)}}\n"
    _, problems = check(countries, "transform:\n", grouped, grouped)
    assert [one.split(",")[0] for one in problems][:1] == [
        "13 transform[1].aggregate: expected one `aggregate`"
    ]


def test_steps_over_columns_that_only_the_source_knows_are_checked_when_it_has_told(
    countries: Path,
) -> None:
    spec = build(countries, STEPS, head=POSTGRES)
    known = {
        name: parse_field_type(text)
        for name, text in {
            "order_id": "int64", "amount": "string", "country": "string?",
            "changed": "timestamp(6)", "tags": "list<string>",
        }.items()
    }  # fmt: skip
    assert check_steps(known | {"amount": parse_field_type("int64")}, spec.transform)[1] == []
    types, problems = check_steps(known, spec.transform)
    assert [path for path, _ in problems] == ["transform[0].where"]
    assert "amount" not in types
    del known["country"]
    assert [path for path, _ in check_steps(known, spec.transform)[1]] == [
        "transform[0].where", "transform[3].join.on.country", "transform[5].cast.country",
    ]  # fmt: skip


def test_what_needs_no_types_is_checked_before_the_source_is_asked(countries: Path) -> None:
    _, problems = check(
        countries,
        "transform:\n  - where: amount >\n"
        "  - derive: {x: {python: nowhere.f, args: [a], returns: int64}}\n"
        "  - join: {file: none.csv, on: country, take: [region]}\n",
        head=POSTGRES,
    )
    assert [problem.split(":")[0] for problem in problems] == [
        "6 transform[0].where", "7 transform[1].derive.x.python", "8 transform[2].join.file",
    ]  # fmt: skip
