import json
from pathlib import Path

import pytest

from starter.main import run
from tests.unit.pipelines.stream_file import write


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sluice.toml").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def test_validate_tells_how_many_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pipelines", "validate", "sales-1m", "flights-1h"]) == 0
    assert capsys.readouterr().out == "2 pipelines ok\n"


def test_validate_collects_the_problems_of_all_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, ("{tumbling: 1m}", "{tumblng: 1m}"), ("sum(amount)", "sum(amout)"))
    assert run(["pipelines", "validate", "sales-1m", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1] == "2 problems, nothing started"


def test_unknown_name_leaves_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pipelines", "validate", "sale-1m"]) == 2
    assert "did you mean `sales-1m`?" in capsys.readouterr().err


def test_list_shows_project_and_catalog(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pipelines").mkdir()
    write(tmp_path / "pipelines")
    assert run(["pipelines", "list", "-o", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["sales-1m"]["from"] == "catalog"
    assert rows["sales"]["from"].endswith("pipelines/sales.yaml")
    assert rows["sales"]["kind"] == "stream"


def test_list_names_a_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pipelines").mkdir()
    write(tmp_path / "pipelines", ("name: sales", "nam: sales"))
    assert run(["pipelines", "list"]) == 0
    assert "1 problem, see `sluice pipelines validate sales`" in capsys.readouterr().out


def test_show_writes_what_validates_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pipelines", "show", "sales-1m"]) == 0
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert run(["pipelines", "validate", "./again.yaml"]) == 0


def test_show_as_json_has_the_words_of_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pipelines", "show", "sales-1m", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["window"] == {"tumbling": "1m"}


def test_schema_of_an_unknown_kind_leaves_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pipelines", "schema", "streem"]) == 2
    assert "did you mean `stream`?" in capsys.readouterr().err


def test_list_goes_on_over_a_file_that_is_no_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "broken.yaml").write_bytes(b"\xff\xfe\x00")
    assert run(["pipelines", "list"]) == 0
    assert "1 problem, see `sluice pipelines validate broken`" in capsys.readouterr().out
