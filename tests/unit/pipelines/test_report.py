"""Files of reports: found by name, read, and refused with the place of each mistake."""

from pathlib import Path

import pytest

from common.errors import PipelineSpecError, UnknownNameError
from pipelines.report_load import CATALOG_DIR, load_report, report_files

_GOOD = """
kind: report
name: mine
title: Mine
totals: {rows: count(*)}
"""


def _write(folder: Path, name: str, text: str) -> None:
    (folder / "reports").mkdir(exist_ok=True)
    (folder / "reports" / f"{name}.yaml").write_text(text)


def test_a_report_beside_the_pipeline_goes_before_the_shipped_one(tmp_path: Path) -> None:
    assert load_report("daily-sales", tmp_path).title == "Daily sales"
    _write(tmp_path, "daily-sales", _GOOD.replace("mine", "daily-sales"))
    assert load_report("daily-sales", tmp_path).title == "Mine"


@pytest.mark.parametrize("name", sorted(report_files(CATALOG_DIR)))
def test_a_shipped_report_loads(name: str) -> None:
    assert load_report(name, CATALOG_DIR).name == name


def test_a_name_that_is_not_there_has_a_near_miss(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean `daily-sales`"):
        load_report("daily-sale", tmp_path)


def test_mistakes_are_told_with_their_place(tmp_path: Path) -> None:
    _write(tmp_path, "mine", _GOOD.replace("name: mine", "name: other") + "chart: []\n")
    with pytest.raises(PipelineSpecError, match="2 problems") as refused:
        load_report("mine", tmp_path)
    text = str(refused.value)
    assert "mine.yaml:3:7" in text
    assert "expected `mine`, the name of its file, got `other`" in text
    assert "did you mean `charts`" in text


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "mine", "kind: [")
    with pytest.raises(PipelineSpecError, match="expected YAML"):
        load_report("mine", tmp_path)
