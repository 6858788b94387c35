from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipelines.etl import EtlSpec
from pipelines.load import CATALOG_DIR, KINDS, load_pipeline
from pipelines.stream import StreamSpec

_SPECS = {path.stem: load_pipeline(path) for path in sorted(CATALOG_DIR.glob("*.yaml"))}
_STREAMS = {name: spec for name, spec in _SPECS.items() if isinstance(spec, StreamSpec)}
_BATCHES = {name: spec for name, spec in _SPECS.items() if isinstance(spec, EtlSpec)}


def test_catalog_holds_the_pipelines_of_the_demo() -> None:
    assert _SPECS.keys() >= {"sales-1m", "flights-1h", "orders-daily"}


@pytest.mark.parametrize("name", _SPECS)
def test_catalog_pipeline_is_named_as_its_file_and_says_what_it_gives(name: str) -> None:
    assert _SPECS[name].name == name
    assert _SPECS[name].description


@pytest.mark.parametrize("name", _STREAMS)
def test_catalog_stream_keeps_rows_of_any_age(name: str) -> None:
    assert [sink.retention_ms for sink in _STREAMS[name].sinks] == [None, None]


@pytest.mark.parametrize("name", _BATCHES)
def test_catalog_batch_needs_no_connection_of_the_project(name: str) -> None:
    spec = _BATCHES[name]
    assert [target.connection for target in spec.targets] == [None] * len(spec.targets)
    assert getattr(spec.source, "connection", None) is None


@pytest.mark.parametrize("name", _SPECS)
def test_catalog_pipeline_is_the_same_after_it_was_written(name: str, tmp_path: Path) -> None:
    spec = _SPECS[name]
    kind = KINDS[spec.kind]
    for folder in ("reference", "reports"):
        (tmp_path / folder).symlink_to(CATALOG_DIR / folder)
    path = tmp_path / f"{name}.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(kind.render(spec), file)
    assert load_pipeline(path) == spec
