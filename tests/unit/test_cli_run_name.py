"""Commands about runs of ETL pipelines, asked for a name that nothing has."""

import asyncio
import json
from pathlib import Path

import pytest

from activities.etl_history import PipelineHistory
from connectors.object_store import ObstoreStore
from starter.main import run

ABOUT_PIPELINES = [("quality", "trend"), ("quarantine", "list")]
ABOUT_RUNS = [
    ("quality", "report"), ("quarantine", "show"), ("quarantine", "release"), ("etl", "show"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sluice.toml").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [*ABOUT_PIPELINES, *ABOUT_RUNS])
def test_name_without_pipeline_is_refused_with_the_known_ones(
    command: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    # `quality trend` and `quarantine list` showed an empty table for a name that was mistyped.
    assert run([*command, "orders-dayly"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "error: pipeline `orders-dayly`: expected a name from `sluice pipelines list` or a path to "
        "a .yaml file, got neither; did you mean `orders-daily`?\n"
    )
    assert run([*command, "x"]) == 2
    assert "got neither; known are flights-1h, flights-load, " in capsys.readouterr().err


@pytest.mark.parametrize("command", [*ABOUT_PIPELINES, *ABOUT_RUNS])
def test_pipeline_of_another_kind_is_refused_with_its_kind(
    command: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "sales-1m"]) == 2
    told = capsys.readouterr().err
    assert "expected `kind: etl`, got `kind: stream`; use `sluice stream`" in told


@pytest.mark.parametrize("command", ABOUT_RUNS)
def test_pipeline_that_has_not_run_says_how_to_run_it(
    command: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "orders-daily"]) == 2
    assert "start one with `sluice etl run orders-daily`" in capsys.readouterr().err


@pytest.mark.parametrize("command", ABOUT_PIPELINES)
def test_pipeline_that_has_runs_or_a_file_needs_no_other(
    project: Path, command: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    store = ObstoreStore(f"file://{project}/.sluice/objects")
    asyncio.run(PipelineHistory(store, "gone").claim("somebody", "2026-05-01"))
    (project / "mine.yaml").write_text(
        "kind: etl\nname: gone\nsource:\n  postgres: {table: a}\n"
        "targets:\n  - postgres: {table: b, mode: append}\n",
        encoding="utf-8",
    )
    for name in ("gone", "mine.yaml", "orders-daily"):
        assert run([*command, name, "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out) == []
