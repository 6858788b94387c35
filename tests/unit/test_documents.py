import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.load import load_stream
from pipelines.stream_shape import STREAM
from starter.main import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_settings_table_in_the_documentation_is_that_of_the_settings() -> None:
    printed = subprocess.run(
        [sys.executable, ROOT / "bin/settings_table.py"], capture_output=True, text=True, check=True
    ).stdout

    assert printed.strip() in (ROOT / "docs/operations.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    paths = re.findall(
        r"`((?:common|contracts|pipelines|streaming|activities|connectors|workflows|workers"
        r"|devstack|starter|tests|docs|bin|deploy)/[\w./-]*)`",
        text,
    )

    assert [one for one in links if not (document.parent / one).exists()] == []
    assert [one for one in paths if not (ROOT / one).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_names_commands_that_exist(document: Path) -> None:
    named = re.findall(r"`(?:\$ )?sluice ([a-z]+)", document.read_text())

    assert set(named) <= set(COMMANDS)


def test_readme_shows_a_stream_that_is_valid(tmp_path: Path) -> None:
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    path = tmp_path / "orders-5m.yaml"
    path.write_text(re.sub(r"^ {3}", "", block[1], flags=re.MULTILINE))

    assert load_stream(path).name == "orders-5m"


def test_stream_page_names_every_option_that_runs() -> None:
    text = (ROOT / "docs/streams.md").read_text()

    for option in STREAM.options:
        assert re.search(rf"`\.?{option}\b|`{option}\.", text), option


def test_readme_names_the_two_commands() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    for command in re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert command in targets
