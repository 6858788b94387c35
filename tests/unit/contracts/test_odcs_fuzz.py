import copy
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from contracts.contract import Contract
from contracts.load import CATALOG_DIR
from contracts.odcs import check_contract
from contracts.row_check import compile_rules, default_values
from tests.unit.contracts.contract_file import ORDERS

Plain = Any
"""Whatever YAML holds."""

SOURCES = [ORDERS, (CATALOG_DIR / "sales.yaml").read_text(encoding="utf-8")]
JUNK: list[Plain] = [
    None, True, 0, -1, 1.5, "", "x", "mustBe", "1.0.0", [], ["x"], [None], [[]], {}, {"x": 1},
    {"property": "severity", "value": ["warn"]}, {"property": "default", "value": {"a": 1}},
    [{"property": "severity", "value": ["warn"]}], [{"property": "default", "value": None}],
    {"metric": "invalidValues", "arguments": {"validValues": [None, 1, "a"]}, "mustBe": 0},
    {"metric": "missingValues", "arguments": {"missingValues": [None, ""]}, "mustBe": 0},
    {"type": "sql", "query": "select 1", "mustBe": True}, {"pattern": "(?=a)"}, {"minimum": "x"},
    "decimal(99,1)", "array", "object", "time", "list<json>", "2026-05-01", "timestamp(6)",
]  # fmt: skip


def places(node: Plain, path: tuple[Plain, ...] = ()) -> list[tuple[Plain, ...]]:
    found = [path] if path else []
    if not isinstance(node, dict | list):
        return found
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        found += places(value, (*path, key))
    return found


def changed(node: Plain, path: tuple[Plain, ...], junk: Plain, *, drop: bool) -> None:
    for key in path[:-1]:
        node = node[key]
    if drop:
        del node[path[-1]]
    else:
        node[path[-1]] = copy.deepcopy(junk)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SOURCES), st.data())
def test_whatever_a_file_holds_it_is_a_contract_or_a_list_of_problems(
    tmp_path_factory: pytest.TempPathFactory, source: str, data: st.DataObject
) -> None:
    content = YAML(typ="safe").load(source)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(content)))
        junk = data.draw(st.sampled_from(JUNK))
        changed(content, path, junk, drop=data.draw(st.booleans()))
    file = tmp_path_factory.getbasetemp() / "orders.yaml"
    write(file, content)

    contract, problems = check_contract(file)

    assert (contract is None) == bool(problems)
    if contract is not None:
        assert Contract.model_validate_json(contract.model_dump_json()) == contract
        compile_rules(contract.rules, contract.types)
        default_values(contract.defaults, contract.types)


def write(file: Path, content: Plain) -> None:
    text = io.StringIO()
    YAML().dump(content, text)
    file.write_text(text.getvalue(), encoding="utf-8")
