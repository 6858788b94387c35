"""The source tree as the architecture tests see it: modules, their syntax trees and names."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def packages() -> tuple[str, ...]:
    return tuple(project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


@dataclass(frozen=True)
class Module:
    """One source file; `name` is dotted, as in an import."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def relative_path(self) -> str:
        return str(self.path.relative_to(ROOT))


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Parse every Python file below some folders of the project."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found.append(
                Module(name.removesuffix(".__init__"), path, text, ast.parse(text, str(path)))
            )
    return tuple(found)


def dotted_uses(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield every name that is used, with its import resolved: `dt.now` is `datetime.datetime.now`.

    Only whole chains are given (`a.b.c`, not also `a.b`); names that were not imported stay.
    """
    origin = imported_names(tree)
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
            chain: list[str] = []
            part: ast.expr = node
            while isinstance(part, ast.Attribute):
                chain.append(part.attr)
                part = part.value
                inner.add(id(part))
            if isinstance(part, ast.Name):
                root = origin.get(part.id, part.id)
                yield ".".join([root, *reversed(chain)]), node


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Map each imported local name to the dotted name behind it."""
    origin: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split(".")[0]
                origin[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                origin[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return origin
