"""Marks tests by their folder, and keeps tests that share a stack on one worker process."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
PURE = {"unit", "workflows", "replay", "architecture"}
GROUPS = {
    "conformance": "services", "integration": "services", "recovery": "recovery", "e2e": "e2e",
}  # fmt: skip

# The commands of the environment, such as `temporal-test-server`, are found without activating it.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each test the marker of its folder; doctests count as unit tests.

    Tests with services run in groups, each one after the other on a worker with a stack of its own,
    since a stack takes processor time and memory also when nothing asks it. A module with services
    of its own names another group with `pytestmark = pytest.mark.xdist_group("kafka")`. xdist reads
    the groups before `pytest_collection_modifyitems` would be called here.
    """
    folder = _folder(item.path)
    if folder in PURE | GROUPS.keys():
        item.add_marker(folder)
    if folder in GROUPS and item.get_closest_marker("xdist_group") is None:
        item.add_marker(pytest.mark.xdist_group(GROUPS[folder]))


def _folder(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "tests" and len(parts) > 2 else "unit"
