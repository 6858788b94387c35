"""Columns of an ETL file: from its contract where the source has no types, known to its targets."""

from pathlib import Path

import pytest

from tests.unit.pipelines.etl_file import check

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
schema:
  - name: orders
    properties:
      - {name: order_id, logicalType: integer, required: true}
      - {name: amount, logicalType: number, required: true}
"""
HEAD = "kind: etl\nname: orders\ncontract: orders\nsource:\n"
FILES = HEAD + "  files: {url: orders.csv, format: csv}\n"


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "orders.yaml").write_text(CONTRACT, encoding="utf-8")
    return tmp_path


def test_contract_gives_the_columns_of_a_source_without_types(contract: Path) -> None:
    steps = "transform:\n  - where: order_id > 0\n  - where: amout > 1\n"
    _, problems = check(contract, steps, head=FILES)
    assert len(problems) == 1
    assert problems[0].startswith("8 transform[1].where: `amout > 1`: no column `amout`; did you")


def test_source_with_types_may_have_columns_that_the_contract_does_not_name(
    contract: Path,
) -> None:
    steps = "transform:\n  - where: other > 0\n"
    assert check(contract, steps, head=HEAD + "  postgres: {table: orders}\n")[1] == []


def test_contract_that_is_not_there_is_told_at_its_name(tmp_path: Path) -> None:
    _, problems = check(tmp_path, head=FILES.replace("contract: orders", "contract: parcels"))
    assert [one.split(": ")[0] for one in problems] == ["3 contract"]


def test_query_of_the_contract_that_could_not_run_is_told_at_its_name(contract: Path) -> None:
    # It was told by the run, which it blocked.
    path = contract / "contracts" / "orders.yaml"
    rules = "    quality:\n      - {name: no_loss, type: sql, query: sum(lost), mustBe: 0}\n"
    path.write_text(path.read_text(encoding="utf-8") + rules, encoding="utf-8")
    for source in ("  files: {url: orders.csv, format: csv}\n", "  postgres: {table: orders}\n"):
        _, problems = check(contract, head=HEAD + source)
        assert [one.split(", fields")[0] for one in problems] == [
            "3 contract: quality rule `no_loss` of `orders`: `SUM(lost)`: no column `lost`",
        ]  # fmt: skip


def test_columns_that_a_target_goes_by_must_be_left_by_the_steps(tmp_path: Path) -> None:
    steps = "transform:\n  - rename: {order_id: id}\n"
    lake = "  - lake: {path: a, mode: merge, key: [id, order_id], partition_by: changd}\n"
    _, problems = check(tmp_path, steps, targets="targets:\n" + lake)
    assert [one.partition(" after")[0] for one in problems] == [
        "14 targets[0].lake.key[1]: no column `order_id`",
        "14 targets[0].lake.partition_by: no column `changd`",
    ]


def test_an_option_named_null_needs_no_quotes(tmp_path: Path) -> None:
    # The option `null` of CSV was refused as written in the documentation: YAML reads the word as
    # a null, and a null was no name.
    head = HEAD.replace("contract: orders\n", "")
    files = "  files: {url: a.csv, format: csv, null: [NA]}\n  fields: {order_id: int64}\n"
    found, problems = check(tmp_path, head=head + files)
    assert problems == []
    assert found["source"]["files"]["null"] == ["NA"]


def test_a_folded_query_is_one_line(tmp_path: Path) -> None:
    # The parser leaves a control character where it joins lines, which PostgreSQL refused.
    head = HEAD.replace("contract: orders\n", "")
    query = (
        "  postgres:\n    query: >-\n      SELECT order_id\n      FROM orders\n    key: order_id\n"
    )
    found, problems = check(tmp_path, head=head + query)
    assert problems == []
    assert found["source"]["postgres"]["query"] == "SELECT order_id FROM orders"
