"""A project folder with modules of a user's own, found as a worker finds them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import python_function
from pipelines.transform import PythonCall

SCORING = """\
import polars as pl

from ownshop.rules import FACTOR


def score(amount, country):
    if amount.is_null().any():
        raise ValueError(f"no amount in {amount.null_count()} rows")
    return (amount.cast(pl.Float64) * FACTOR).set(country == "xx", None)


def is_good(amount):
    return amount > 1


def whole(amount):
    return amount.cast(pl.Int32)


def short(amount):
    return amount.head(1)


def listed(amount):
    return amount.to_list()


def named(amount):
    return undefined_name + amount


def greedy(amount):
    if len(amount) > 1:
        raise ValueError("only one")
    return amount


def nul(text):
    return text + "\\0"


def boom(amount):
    raise RuntimeError("always")


VALUE = 3
"""
RULES = "FACTOR = 2.0\n"


class Project:
    """Modules `ownshop.scoring` and `ownshop.rules`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ownshop").mkdir()
        self.write("scoring", SCORING)
        self.write("rules", RULES)

    def write(self, module: str, text: str) -> None:
        """Write a module."""
        (self.folder / "ownshop" / f"{module}.py").write_text(text)

    def call(self, name: str, *args: str, returns: str = "float64") -> PythonCall:
        """Call a function of `ownshop.scoring`, with the code that it has now."""
        path = f"ownshop.scoring.{name}"
        code = python_function.code_of(path)
        return PythonCall(python=path, args=list(args), returns=returns, code=code)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Make the project, put its folder at the end of the search path, and forget it afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two versions within one second
    for name in ("_loaded", "_imported"):
        monkeypatch.setattr(python_function, name, {})
    monkeypatch.setattr(python_function, "_projects", set())
    python_function.use_project(tmp_path)
    yield Project(tmp_path)
    for name in [one for one in sys.modules if one.split(".")[0] == "ownshop"]:
        del sys.modules[name]
