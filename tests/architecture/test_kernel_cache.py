"""Machine code on disk never outlives the source that it was made of.

numba compares the file of the cached function only. A cached kernel that uses a name of another
module of the project must therefore close over a fingerprint of that module; one without a cache of
its own counts as part of those that call it.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("streaming", "batch", "connectors", "devstack")


@dataclass
class Kernels:
    """The kernels of a module.

    Attributes:
        imported: Name to the module of the project that it comes from.
        bodies: All kernels, cached or not.
        cached: Cached kernels, and the factory that each is made in.
        fingerprints: Factory to the modules whose fingerprint it is called with.
    """

    imported: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, ast.FunctionDef] = field(default_factory=dict)
    cached: dict[str, str | None] = field(default_factory=dict)
    fingerprints: dict[str, set[str]] = field(default_factory=dict)


def names_in(function: ast.FunctionDef) -> set[str]:
    loaded = (node for part in function.body for node in ast.walk(part))
    return {node.id for node in loaded if isinstance(node, ast.Name)}


def is_kernel(function: ast.FunctionDef) -> bool:
    text = " ".join(map(ast.unparse, function.decorator_list))
    return text in ("inlined", "called", "entry", "intrinsic") or text.startswith("njit")


def is_cached(function: ast.FunctionDef) -> bool:
    text = " ".join(map(ast.unparse, function.decorator_list))
    return text == "entry" or "cache=True" in text


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(LAYERS):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = (ROOT / name.replace(".", "/")).with_suffix(".py").exists()
                yield alias.asname or alias.name, name if is_module else node.module


def fingerprints(tree: ast.Module, imported: dict[str, str]) -> Iterator[tuple[str, set[str]]]:
    constants = {
        ast.unparse(target): statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    }
    for value in constants.values():
        if isinstance(value, ast.Call) and len(value.args) == 1:
            source = constants.get(ast.unparse(value.args[0]), value.args[0])
            if isinstance(source, ast.Call) and ast.unparse(source.func) == "fingerprint":
                yield ast.unparse(value.func), {imported[ast.unparse(one)] for one in source.args}


def read(module: str) -> Kernels:
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text())
    found = Kernels(imported=dict(imports(tree)))
    found.fingerprints = dict(fingerprints(tree, found.imported))
    for outer in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        for function in (node for node in ast.walk(outer) if isinstance(node, ast.FunctionDef)):
            if is_kernel(function):
                found.bodies[function.name] = function
                if is_cached(function):
                    found.cached[function.name] = outer.name if outer is not function else None
    return found


def modules_behind(module: str, kernel: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Give the other modules that go into a kernel's machine code."""
    if (module, kernel) in seen:
        return
    seen.add((module, kernel))
    kernels = read(module)
    if kernel not in kernels.bodies:
        return
    for name in names_in(kernels.bodies[kernel]):
        if name in kernels.imported:
            yield kernels.imported[name]
            yield from modules_behind(kernels.imported[name], name, seen)
        elif name in kernels.bodies:
            yield from modules_behind(module, name, seen)


def cached_kernels() -> Iterator[tuple[str, str]]:
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            text = path.read_text()
            if "njit" in text or "json_jit import" in text:
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                for name in read(module).cached:
                    yield module, name


@pytest.mark.parametrize(("module", "kernel"), list(cached_kernels()))
def test_cached_kernel_closes_over_all_modules_that_it_is_made_of(module: str, kernel: str) -> None:
    kernels = read(module)
    behind = set(modules_behind(module, kernel, set())) - {module}
    factory = kernels.cached[kernel]
    covered = kernels.fingerprints.get(factory, set()) if factory else set()
    assert behind <= covered, "give the kernel's factory a fingerprint of these modules"
    if behind:
        assert "source" in names_in(kernels.bodies[kernel]), "the body must use what it closes over"


_COMPILED = """
import sys
from numba.core.dispatcher import Dispatcher
from workers.process import warm_up
warm_up()
for name, module in list(sys.modules.items()):
    for kernel in list(vars(module).values()):
        if isinstance(kernel, Dispatcher) and kernel.py_func.__module__ == name:
            if kernel.signatures:
                print(f"{name} {kernel.py_func.__name__}")
"""


def test_a_worker_has_every_kernel_before_it_takes_work() -> None:
    """The first chunk of a batch waited for those of its source and target."""
    wanted = set()
    for module, kernel in cached_kernels():
        if module.startswith("devstack"):
            continue
        kernels = read(module)
        parts = {name for body in kernels.bodies.values() for name in names_in(body)}
        if kernel not in parts and module != "connectors.kafka_crc":  # a part of `kafka_encode`
            wanted.add(f"{module} {kernel}")
    command = [sys.executable, "-c", _COMPILED]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert wanted <= set(found.stdout.splitlines())
