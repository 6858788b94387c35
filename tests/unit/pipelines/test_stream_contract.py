from pathlib import Path

import pytest
from ruamel.yaml import YAML

from common.errors import PipelineSpecError
from contracts.contract import FieldRule, PinnedContract
from pipelines.load import check_pipeline, load_stream
from pipelines.stream_render import render_stream
from tests.unit.contracts import contract_file

STREAM = """\
kind: stream
name: orders-1m
source:
  kafka: {topic: orders}
  contract: orders
event_time: {field: placed_at}
group_by: [status]
window: {tumbling: 1m}
aggregate: {revenue: sum(amount)}
sinks: [{clickhouse: {table: orders_1m}}]
"""


def stream_file(folder: Path, old: str = "", new: str = "", *changes: tuple[str, str]) -> Path:
    (folder / "contracts").mkdir()
    contract_file.write(folder / "contracts", *changes)
    assert old in STREAM
    path = folder / "orders-1m.yaml"
    path.write_text(STREAM.replace(old, new, 1) if old else STREAM)
    return path


def problems(path: Path) -> list[str]:
    return [f"{one.line}:{one.column} {one.claim}" for one in check_pipeline(path)[1]]


def test_stream_takes_fields_and_rules_from_its_contract(tmp_path: Path) -> None:
    spec = load_stream(stream_file(tmp_path))

    assert spec.fields == {
        "order_id": "int64",
        "placed_at": "timestamp",
        "amount": "decimal(12,2)",
        "status": "string?",
        "note": "string?",
    }
    assert spec.contract == PinnedContract(
        name="orders",
        version="1.2.0",
        defaults={"status": "new"},
        rules=[
            FieldRule(rule="amount.minimum", field="amount", kind="minimum", values=["0.01"]),
            FieldRule(
                rule="status.invalid_values", field="status", kind="one_of", values=["new", "paid"]
            ),
        ],
    )


def test_rules_that_only_warn_make_no_dead_letters(tmp_path: Path) -> None:
    change = ("mustBe: 0", "mustBe: 0\n            severity: warning")
    spec = load_stream(stream_file(tmp_path, "", "", change))

    assert spec.contract is not None
    assert [rule.rule for rule in spec.contract.rules] == ["amount.minimum"]


def test_rendered_stream_names_the_contract_and_reads_the_same(tmp_path: Path) -> None:
    path = stream_file(tmp_path)
    spec = load_stream(path)
    values = render_stream(spec)

    assert values["source"] == {
        "kafka": {"topic": "orders", "format": "json"},
        "contract": "orders",
    }
    with path.open("w") as file:
        YAML().dump(values, file)
    assert load_stream(path) == spec


@pytest.mark.parametrize(
    ("old", "new", "claim"),
    [
        ("contract: orders", "contract: order", "5:13 source.contract: contract `order`: expected"),
        ("contract: orders", "contract: order", "did you mean `orders`?"),
        ("  contract: orders\n", "", "source: expected exactly one of fields, contract, got none"),
        (
            "contract: orders\n",
            "contract: orders\n  fields: {a: string}\n",
            "source: expected exactly one of fields, contract, got fields and contract",
        ),
        ("field: placed_at", "field: note", "got `note` of type `string?`"),
        ("sum(amount)", "sum(amout)", "did you mean `amount`?"),
    ],
)
def test_mistake_is_told_with_its_place(old: str, new: str, claim: str, tmp_path: Path) -> None:
    told = problems(stream_file(tmp_path, old, new))

    assert len(told) == 1
    assert claim in told[0]


def test_broken_contract_is_named_with_its_first_mistake(tmp_path: Path) -> None:
    path = stream_file(tmp_path, "", "", ("minimum: 0.01", "minimun: 0.01"))

    with pytest.raises(PipelineSpecError, match=r"`orders`, the first is .*orders\.yaml:19:30 "):
        load_stream(path)


def test_microseconds_are_refused_in_a_stream(tmp_path: Path) -> None:
    change = ("logicalType: timestamp", "physicalType: timestamp(6)")

    told = problems(stream_file(tmp_path, "", "", change))

    assert len(told) == 1
    assert told[0].endswith("got `placed_at` of type `timestamp(6)`; take `timestamp`")


def test_event_time_with_a_default_is_refused(tmp_path: Path) -> None:
    change = (
        "logicalType: timestamp",
        "logicalType: timestamp\n"
        "        customProperties: [{property: default, value: '2026-05-01T00:00Z'}]",
    )
    told = problems(stream_file(tmp_path, "", "", change))

    assert told == [
        "6:21 event_time.field: expected a field without a default, got `placed_at`, which has one"
    ]
