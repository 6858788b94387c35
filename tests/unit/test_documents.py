import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from contracts.odcs import load_contract
from contracts.shape import Options
from pipelines.load import load_stream
from pipelines.report_load import read_report
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

    for option, part in STREAM.options.items():
        assert re.search(rf"`\.?{option}\b|`{option}\.", text), option
        for inner in part.options if isinstance(part, Options) else ():
            assert re.search(rf"`({option})?\.{inner}[`.]", text), f"{option}.{inner}"


_SHOP = """\
kind: stream
name: shop
source:
  kafka: {topic: shop}
  fields:
    event_id: string
    placed_at: timestamp_ms
    status: string
    items: list<string>
event_time: {field: placed_at}
window: {tumbling: 1m}
aggregate: {events: count(*)}
sinks: [{clickhouse: {table: shop}}]
"""


def _blocks(document: Path) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", document.read_text(), re.DOTALL)


def _examples(document: Path) -> list[str]:
    """Whole files; parts of one are completed, and each of several `window` lines is one part."""
    found = []
    for block in _blocks(document):
        part = textwrap.dedent(block)
        if part.startswith("kind: report"):
            continue  # a report, see below
        if part.startswith("kind:"):
            found.append(part)
        elif part.startswith("apiVersion:"):
            continue  # a contract, see below
        elif "python:" not in part and "file:" not in part:
            for one in part.splitlines() if part.startswith("window:") else [part]:
                options = "|".join(re.findall(r"^(\w+):", one, re.MULTILINE))
                rest = re.sub(rf"^({options}):.*\n", "", _SHOP, flags=re.MULTILINE)
                found.append(f"{rest}{one.rstrip()}\n")
    return found


EXAMPLES = [
    pytest.param(example, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, example in enumerate(_examples(document))
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_streams_in_the_documents_are_valid(example: str, tmp_path: Path) -> None:
    name = re.search(r"^name: (.*)$", example, re.MULTILINE)
    assert name is not None
    path = tmp_path / f"{name[1]}.yaml"
    path.write_text(example)

    assert load_stream(path).name == name[1]


CONTRACTS = [
    pytest.param(block, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, block in enumerate(_blocks(document))
    if block.startswith("apiVersion:")
]


REPORTS = [
    pytest.param(block, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, block in enumerate(_blocks(document))
    if block.startswith("kind: report")
]


@pytest.mark.parametrize("example", REPORTS)
def test_reports_in_the_documents_are_valid(example: str, tmp_path: Path) -> None:
    path = tmp_path / "daily-sales.yaml"
    path.write_text(example)
    assert read_report(path).name == "daily-sales"


@pytest.mark.parametrize("example", CONTRACTS)
def test_contracts_in_the_documents_are_valid(example: str, tmp_path: Path) -> None:
    path = tmp_path / "orders.yaml"
    path.write_text(example)

    assert load_contract(path).name == "orders"


def test_links_to_headings_lead_to_one() -> None:
    headings = {
        document: {
            re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL).split("\n")
            if line.startswith("#")
        }
        for document in DOCUMENTS
    }

    for document in DOCUMENTS:
        for page, heading in re.findall(r"\]\(([\w./-]*)#([^)]+)\)", document.read_text()):
            target = (document.parent / page).resolve() if page else document
            assert heading in headings[target], f"{document.name}: {page}#{heading}"


def test_decisions_have_one_number_each_and_are_listed() -> None:
    folder = ROOT / "docs/decisions"
    files = sorted(folder.glob("0*.md"))
    listed = re.findall(
        r"^\| \[(\d{4})\]\((.*?)\)", (folder / "README.md").read_text(), re.MULTILINE
    )

    assert [name for _, name in listed] == [one.name for one in files]
    assert [int(number) for number, _ in listed] == list(range(1, len(files) + 1))
    assert [one.read_text()[:7] for one in files] == [f"# {one.name[:4]}:" for one in files]


def test_readme_names_the_two_commands() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    for command in re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert command in targets
