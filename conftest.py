"""Marks tests by their folder, and keeps tests that share a stack on one worker process."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
PURE = {"unit", "workflows", "replay", "architecture"}
WITH_SERVICES = {"conformance", "integration", "recovery", "e2e"}

# The commands of the environment, such as `temporal-test-server`, are found without activating it.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the marker of its folder; doctests count as unit tests.

    Tests with services run one after the other on one worker, because they share a stack and its
    memory; a module with services of its own names another group with
    `pytestmark = pytest.mark.xdist_group("kafka")`.
    """
    for item in items:
        folder = _folder(item.path)
        if folder in PURE | WITH_SERVICES:
            item.add_marker(folder)
        if folder in WITH_SERVICES and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("stack"))


def _folder(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "tests" and len(parts) > 2 else "unit"
