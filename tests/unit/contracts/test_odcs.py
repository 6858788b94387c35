from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from common.errors import ContractSpecError, UnknownNameError
from contracts.contract import Comparison, Contract, FieldRule, UniqueKey
from contracts.field_type_parse import parse_field_type
from contracts.load import CATALOG_DIR, contract_files, contract_for, find_contract
from contracts.odcs import check_contract, load_contract
from contracts.odcs_type import physical_type, type_of
from contracts.problem import report
from contracts.schema import SCHEMA_PATH, contract_schema, contract_schema_text
from tests.unit.contracts.contract_file import write


def problems(folder: Path, *changes: tuple[str, str]) -> list[str]:
    return [
        f"{one.line}:{one.column} {one.claim}" for one in check_contract(write(folder, *changes))[1]
    ]


def test_contract_says_what_its_file_says(tmp_path: Path) -> None:
    contract = load_contract(write(tmp_path))

    assert (contract.name, contract.version, contract.owner) == ("orders", "1.2.0", "shop")
    assert {field.name: field.type for field in contract.fields} == {
        "order_id": "int64",
        "placed_at": "timestamp",
        "amount": "decimal(12,2)",
        "status": "string?",
        "note": "string?",
    }
    assert [key.model_dump() for key in contract.unique] == [
        UniqueKey(
            rule="primary_key", fields=["order_id"], severity="block", primary=True
        ).model_dump()
    ]
    assert contract.primary_key == ["order_id"]
    assert contract.defaults == {"status": "new"}
    assert [rule.rule for rule in contract.rules] == [
        "order_id.required",
        "placed_at.required",
        "amount.required",
        "amount.minimum",
        "status.invalid_values",
    ]
    assert contract.rules[-1] == FieldRule(
        rule="status.invalid_values", field="status", kind="one_of", values=["new", "paid"]
    )
    [quality] = contract.quality
    assert (quality.metric, str(quality.comparison), quality.severity) == (
        "row_count",
        "> 10",
        "block",
    )
    assert contract.service_levels[0].duration_ms == 4 * 86_400_000


def test_contract_survives_the_trip_through_json(tmp_path: Path) -> None:
    contract = load_contract(write(tmp_path))

    assert Contract.model_validate_json(contract.model_dump_json()) == contract


@pytest.mark.parametrize(
    ("old", "new", "claim"),
    [
        ("status: active", "statsu: active", "5:1 statsu: unknown option, expected one of"),
        ("logicalType: integer", "logicalTyp: integer", "did you mean `logicalType`?"),
        ("minimum: 0.01", "minimun: 0.01", "did you mean `minimum`?"),
        ("version: 1.2.0", "version: 1.2", "expected a version such as 1.4.0, got `1.2`"),
        ("kind: DataContract", "kind: Contract", "2:7 kind: expected `DataContract`"),
        ("v3.1.0", "v2.2.2", "1:13 apiVersion: expected one of v3.1.0"),
        ("decimal(12,2)", "decimal", "expected digits in all and after the point"),
        ("decimal(12,2)", "decimal(39,2)", "p of 1 to 38"),
        ("decimal(12,2)", "text", "minimum: expected no such rule for a field of type `string`"),
        ("minimum: 0.01", "minimum: 0.001", "expected a number that decimal(12,2) holds"),
        ("minimum: 0.01", "pattern: a", "pattern: expected no such rule"),
        ("logicalType: timestamp", "logicalType: time", "got a time of the day"),
        ("logicalType: timestamp", "logicalType: array", "type of the elements in `items`"),
        ("logicalType: timestamp", "physicalType: geography", "got `geography`"),
        ("name: note", "name: status", "expected each name once"),
        ("value: new", "value: old", "default: expected one of new, paid, got `old`"),
        ("value: new", "value: [new]", "default: expected one value"),
        ("mustBe: 0", "mustBe: none", "mustBe: expected a number, got `none`"),
        ("mustBe: 0", "mustBee: 0", "did you mean `mustBe`?"),
        ("mustBe: 0", "unit: rows", "expected exactly one of mustBe"),
        ("mustBe: 0", "{mustBe: 0, severity: eror}", "expected YAML"),
        ("mustBe: 0", "mustBe: 0\n            severity: eror", "did you mean `error`?"),
        ("metric: rowCount", "metric: nullValues", "in the `quality` of a property"),
        ("metric: rowCount", "metric: duplicateValues", "expected `properties`, got none"),
        ("metric: rowCount", "description: many", "expected a `metric`, or `type: sql`"),
        ("metric: rowCount", "type: sql", "expected the query"),
        ("mustBeGreaterThan: 10", "mustBeBetween: [3, 1]", "the smaller first"),
        ("mustBeGreaterThan: 10", "mustBe: .inf", "expected a number, got `.inf`"),
        ("mustBeGreaterThan: 10", "mustBe: 1e99", "expected a number, got `1e99`"),
        ("mustBeGreaterThan: 10", "mustBe: 9\n        unit: percent", "expected rows with `rowC"),
        ("mustBeGreaterThan: 10", "mustBe: 9\n        severity: quarantine", "block or warn"),
        ("mustBe: 0", "mustBe: 9\n            severity: quarantine", "expected block or warn"),
        ("primaryKey: true", "primaryKey: true\n        primaryKeyPosition: 2", "from 1 to 1"),
        ("required: true", "primaryKeyPosition: 1", "only beside `primaryKey: true`"),
        ("value: 4, unit: d", "value: soon, unit: d", "expected a whole number of `d`"),
        ("[{username: ann", "[{user: ann", "did you mean `username`?"),
    ],
)
def test_mistake_is_told_with_its_place(old: str, new: str, claim: str, tmp_path: Path) -> None:
    told = problems(tmp_path, (old, new))

    assert any(claim in one for one in told), told
    assert len(told) == 1 or "mustBee" in new, told


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        ("version: 1.2.0", "version: one"),
        ("minimum: 0.01", "minimum: x"),
        ("latency, value: 4", "latency, value: x"),
        ("metric: rowCount", "metric: rowCont"),
    )

    assert len(told) == 4, told


def test_refusal_names_file_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path, ("kind: DataContract", "kind: Dataset"))

    with pytest.raises(ContractSpecError, match=r"orders\.yaml:2:7  kind: expected"):
        load_contract(path)


_WORDS = st.sampled_from(
    [
        "string",
        "int32",
        "int64",
        "float64",
        "bool",
        "timestamp_ms",
        "timestamp",
        "timestamp(6)",
        "date",
        "uuid",
        "json",
    ]
) | st.tuples(st.integers(1, 38), st.integers(0, 38)).filter(lambda ps: ps[1] <= ps[0]).map(
    lambda ps: f"decimal({ps[0]},{ps[1]})"
)
FIELD_TYPES = _WORDS | _WORDS.map(lambda word: f"list<{word}>")


@given(FIELD_TYPES, st.booleans())
def test_own_field_types_come_back_as_written(text: str, required: bool) -> None:
    kind = type_of({"physicalType": text, "logicalType": "string", "required": required})

    assert str(kind) == (text if required else f"{text}?")


@pytest.mark.parametrize(
    ("physical", "kind"),
    [
        ("VARCHAR(255)", "string"),
        ("character varying(20)", "string"),
        ("BIGINT", "int64"),
        ("int", "int64"),
        ("smallint", "int32"),
        ("NUMERIC( 12, 2 )", "decimal(12,2)"),
        ("number(9)", "decimal(9,0)"),
        ("double precision", "float64"),
        ("timestamp(3) with time zone", "timestamp"),
        ("timestamp without time zone", "timestamp"),
        ("DateTime64(3, 'UTC')", "timestamp"),
        ("DateTime64(6, 'UTC')", "timestamp(6)"),
        ("timestamp(6) with time zone", "timestamp(6)"),
        ("jsonb", "json"),
        ("text[]", "list<string>"),
        ("Array(Nullable(Int64))", "list<int64>"),
        ("LowCardinality(String)", "string"),
        ("UInt64", "decimal(20,0)"),
    ],
)
def test_physical_type_of_a_database_is_known(physical: str, kind: str) -> None:
    assert physical_type(physical) == parse_field_type(kind)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"logicalType": "string"}, "string?"),
        ({"logicalType": "string", "logicalTypeOptions": {"format": "uuid"}}, "uuid?"),
        ({"logicalType": "string", "logicalTypeOptions": {"format": "email"}}, "string?"),
        ({"logicalType": "integer"}, "int64?"),
        ({"logicalType": "integer", "logicalTypeOptions": {"format": "u64"}}, "decimal(20,0)?"),
        ({"logicalType": "number"}, "float64?"),
        ({"logicalType": "boolean", "primaryKey": True}, "bool"),
        ({"logicalType": "object", "required": True}, "json"),
        ({"logicalType": "number", "physicalType": "int"}, "int64?"),
        ({"logicalType": "date", "physicalType": "geography"}, "date?"),
        ({"logicalType": "array", "items": {"logicalType": "integer"}}, "list<int64?>?"),
        (
            {"logicalType": "array", "items": {"logicalType": "date", "required": True}},
            "list<date>?",
        ),
    ],
)
def test_logical_type_decides_where_no_physical_type_does(
    values: dict[str, object], kind: str
) -> None:
    assert str(type_of(values)) == kind


@pytest.mark.parametrize(
    ("comparison", "unit", "severity", "kept"),
    [
        ("mustBe: 0", "rows", "", "quarantine"),
        ("mustBe: 0", "percent", "warning", "warn"),
        ("mustBeLessThan: 1", "rows", "block", "block"),
        ("mustBeLessOrEqualTo: 0", "rows", "error", "quarantine"),
        ("mustBeBetween: [0, 0]", "rows", "critical", "block"),
        ("mustBeLessThan: 1", "percent", "", None),
        ("mustBeLessThan: 2", "rows", "", None),
        ("mustNotBe: 0", "rows", "", None),
    ],
)
def test_quality_that_allows_no_value_is_a_rule_of_rows(
    comparison: str, unit: str, severity: str, kept: str | None, tmp_path: Path
) -> None:
    said = f"{comparison}\n            unit: {unit}"
    said += f"\n            severity: {severity}" if severity else ""
    contract = load_contract(write(tmp_path, ("mustBe: 0", said)))

    rules = [rule.severity for rule in contract.rules if rule.kind == "one_of"]
    assert rules == ([kept] if kept else [])
    assert [one.metric for one in contract.quality] == [
        *([] if kept else ["invalid_values"]),
        "row_count",
    ]


def test_quality_with_a_threshold_says_which_rows_it_counts(tmp_path: Path) -> None:
    said = "mustBeLessThan: 5\n            unit: percent"
    contract = load_contract(
        write(
            tmp_path,
            ("metric: invalidValues", "metric: missingValues"),
            ("{validValues: [new, paid]}", "{missingValues: [null, n/a, '']}"),
            ("mustBe: 0", said),
        )
    )

    missing = contract.quality[0]
    assert (missing.metric, missing.unit, str(missing.comparison)) == (
        "missing_values",
        "percent",
        "< 5",
    )
    assert [(rule.kind, rule.values) for rule in missing.counted] == [
        ("required", []),
        ("none_of", ["n/a", ""]),
    ]


def test_severity_of_a_field_goes_for_its_rules_but_required_is_never_a_warning(
    tmp_path: Path,
) -> None:
    said = "required: true\n        customProperties: [{property: severity, value: warn}]"
    contract = load_contract(
        write(
            tmp_path, ("minimum: 0.01}\n        required: true", f"minimum: 0.01}}\n        {said}")
        )
    )

    assert {rule.rule: rule.severity for rule in contract.rules if rule.field == "amount"} == {
        "amount.required": "quarantine",
        "amount.minimum": "warn",
    }


@pytest.mark.parametrize(
    ("operator", "bounds", "inside"),
    [
        ("=", ["2"], [2]),
        ("<>", ["2"], [1, 3, 4]),
        (">", ["2"], [3, 4]),
        (">=", ["2"], [2, 3, 4]),
        ("<", ["2.5"], [1, 2]),
        ("<=", ["2.0"], [1, 2]),
        ("between", ["2", "3"], [2, 3]),
        ("not between", ["2", "3"], [1, 4]),
    ],
)
def test_comparison_holds_with_its_bounds_inside(
    operator: str, bounds: list[str], inside: list[int]
) -> None:
    comparison = Comparison.model_validate({"operator": operator, "bounds": bounds})

    assert [one for one in (1, 2, 3, 4) if comparison.holds(Decimal(one))] == inside


def test_every_contract_of_the_catalog_is_right() -> None:
    files = [path for path in contract_files(None).values() if path.parent == CATALOG_DIR]

    assert files
    assert [report(check_contract(path)[1]) for path in files] == [report([])] * len(files)


def test_published_schema_is_up_to_date_and_fits_the_catalog() -> None:
    assert SCHEMA_PATH.read_text(encoding="utf-8") == contract_schema_text()
    jsonschema.Draft202012Validator.check_schema(contract_schema())
    for path in contract_files(None).values():
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator(contract_schema()).validate(content)


def test_contract_is_found_beside_the_pipeline_before_the_catalog(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    (tmp_path / "pipelines").mkdir()
    pipeline = tmp_path / "pipelines" / "p.yaml"

    assert contract_for("sales", pipeline).identifier == "sales"
    write(tmp_path / "contracts", name="sales.odcs.yaml")
    assert contract_for("sales", pipeline).identifier == "7f3a"
    assert contract_for("sales", tmp_path / "p.yaml").identifier == "7f3a"
    assert find_contract("sales", tmp_path).name == "sales.odcs.yaml"


def test_unknown_contract_is_told_with_a_near_miss(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean `sales`"):
        contract_for("salse", tmp_path / "p.yaml")
    with pytest.raises(UnknownNameError, match=r"contract file `no/such\.yaml`"):
        find_contract("no/such.yaml", tmp_path)
