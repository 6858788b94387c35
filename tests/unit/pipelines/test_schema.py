import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from pipelines.load import CATALOG_DIR, KINDS
from pipelines.schema import schema_of, schema_path, schema_text
from tests.unit.pipelines.stream_file import write


def _validate(path: Path) -> None:
    content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    schema = json.loads(schema_path(content["kind"]).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(content)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_published_schema_is_up_to_date(kind: str) -> None:
    assert schema_path(kind).read_text(encoding="utf-8") == schema_text(kind)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_schema_is_a_schema(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema_of(kind))


@pytest.mark.parametrize("path", sorted(CATALOG_DIR.glob("*.yaml")), ids=lambda path: path.stem)
def test_catalog_fits_the_schema(path: Path) -> None:
    _validate(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: sales", "nam: sales"),
        ("name: sales", "name: Sales"),
        ("kind: stream", "kind: etl"),
        ("category: string", "category: strng"),
        ("{field: ts}", "{field: ts, out_of_orderness: 2}"),
        ("{tumbling: 1m}", "{tumblng: 1m}"),
        ("{tumbling: 1m}", "{tumbling: 1m, session: 1m}"),
        ("clickhouse:", "clickhous:"),
        ("  - clickhouse: {table: sales_1m}", "  []"),
        ("sinks:", "trigger: {max_records: 0}\nsinks:"),
        ("sinks:", "emit: finl\nsinks:"),
    ],
)
def test_schema_refuses_a_mistake(old: str, new: str, tmp_path: Path) -> None:
    _validate(write(tmp_path))
    with pytest.raises(jsonschema.ValidationError):
        _validate(write(tmp_path, (old, new)))
