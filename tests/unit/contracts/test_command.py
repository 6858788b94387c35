import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from starter.main import run
from tests.unit.contracts.contract_file import write


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sluice.toml").write_text("", encoding="utf-8")
    (tmp_path / "contracts").mkdir()
    monkeypatch.chdir(tmp_path)


def test_list_shows_project_and_catalog_and_names_a_broken_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "contracts")
    write(tmp_path / "contracts", ("version: 1.2.0", "version: x"), name="items.odcs.yaml")

    assert run(["contract", "list", "-o", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["sales"]["from"] == "catalog"
    assert rows["orders"]["from"].endswith("contracts/orders.yaml")
    assert (rows["orders"]["version"], rows["orders"]["owner"]) == ("1.2.0", "shop")
    assert rows["items"]["description"] == "1 problem, see `sluice contract validate items`"

    assert run(["contract", "list"]) == 0
    assert "1 problem, see `sluice contract validate items`" in capsys.readouterr().out


def test_show_says_fields_rules_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["contract", "show", "sales"]) == 0
    shown = YAML(typ="safe").load(capsys.readouterr().out)
    assert run(["contract", "show", "sales", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == shown

    amount = next(field for field in shown["fields"] if field["name"] == "amount")
    assert amount["type"] == "decimal(12,2)"
    assert amount["rules"][-1] == {
        "rule": "amount.minimum",
        "kind": "minimum",
        "values": ["0"],
        "severity": "quarantine",
    }
    assert shown["unique"] == [{"rule": "event_once", "fields": ["event_id"], "severity": "block"}]


def test_validate_tells_how_many_are_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path)

    assert run(["contract", "validate", "sales", str(path)]) == 0
    assert capsys.readouterr().out == "2 contracts ok\n"


def test_validate_collects_the_problems_of_all_files_and_leaves_with_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write(tmp_path, ("version: 1.2.0", "version: x"))
    two = write(tmp_path, ("decimal(12,2)", "decimal"), name="two.yaml")

    assert run(["contract", "validate", str(one), str(two)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[-1] == "2 problems, nothing started"
    assert "orders.yaml:4:10" in lines[0]
    assert "two.yaml:18:23" in lines[1]


def test_unknown_name_leaves_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["contract", "show", "salse"]) == 2
    assert "did you mean `sales`?" in capsys.readouterr().err


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["contract", "schema"]) == 0
    assert "apiVersion" in json.loads(capsys.readouterr().out)["properties"]


RULE = "      - metric: rowCount\n"
QUERY = "      - {{type: sql, query: '{}', mustBeLessThan: 9}}\n" + RULE


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("select count(*) from {object} where", "something is missing beside it"),
        ("sum(amout)", "no column `amout`"),
        ("select count(*) from {object} where amount > (select 1)", "expected `select` of one"),
        ("select sum(amount) from parcels", "expected the dataset itself, `{object}`, got"),
        ("max(note)", "expected a number, or true or false, got a value of type"),
    ],
)
def test_validate_tells_where_a_query_stands_that_could_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], query: str, told: str
) -> None:
    # They were right for `validate`, and blocked every run.
    path = write(tmp_path, (RULE, QUERY.format(query)))

    assert run(["contract", "validate", str(path)]) == 2
    (problem, _, count) = capsys.readouterr().err.rstrip().rpartition("\n")
    assert count == "1 problem, nothing started"
    assert problem.startswith(f"{path}:32:28  schema[0].quality[0].query: `")
    assert told in problem
    assert problem.endswith("over aggregates, or make the rule `type: custom`")


@pytest.mark.parametrize(
    "query", ["sum(amount)", "select count(*) from {object} where note is null", "max(amount) < 5;"]
)
def test_validate_takes_a_query_that_can_run(tmp_path: Path, query: str) -> None:
    assert run(["contract", "validate", str(write(tmp_path, (RULE, QUERY.format(query))))]) == 0
