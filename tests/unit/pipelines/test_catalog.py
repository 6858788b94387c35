from pathlib import Path

import pytest

from pipelines.load import CATALOG_DIR, load_stream

_FILES = sorted(CATALOG_DIR.glob("*.yaml"))


def test_catalog_holds_the_pipelines_of_the_demo() -> None:
    assert {path.stem for path in _FILES} >= {"sales-1m", "flights-1h"}


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_catalog_pipeline_loads_and_is_named_as_its_file(path: Path) -> None:
    assert load_stream(path).name == path.stem


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_catalog_pipeline_keeps_rows_of_any_age(path: Path) -> None:
    assert [sink.retention_ms for sink in load_stream(path).sinks] == [None, None]
