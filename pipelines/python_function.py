"""A user's own functions: found in the project, loaded by import path, known by their code.

The project's folder is at the end of the search path, so nothing of a user shadows what Sluice or
its libraries import.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common.errors import UserFunctionError
from pipelines.transform import PythonCall

Function = Callable[..., Any]

_loaded: dict[tuple[str, str], Function] = {}
_imported: dict[str, str] = {}
"""Packages that functions were loaded from, with the hash of their code."""

_projects: set[Path] = set()
_OURS = frozenset(
    ("activities", "batch", "common", "connectors", "contracts", "devstack", "pipelines", "starter",
     "streaming", "workers", "workflows")
)  # fmt: skip


def use_project(folder: Path) -> None:
    """Let functions be found in a project's folder, after everything else."""
    place = folder.resolve()
    _projects.add(place)
    if str(place) not in sys.path:
        sys.path.append(str(place))


def code_of(path: str) -> str:
    """Hash the Python files of a function's package, or its module when there is no package.

    Raises:
        UserFunctionError: There is no such module.
    """
    digest = hashlib.sha256()
    for name, file in _sources(path):
        content = file.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def load_function(call: PythonCall) -> Function:
    """Import a function whose code is the one that the stream was started with.

    Raises:
        UserFunctionError: There is none, or its code is another one.
    """
    known = _loaded.get((call.python, call.code))
    if known is not None:
        return known
    _check_code(call)
    _forget_other_code(call)
    function = _import(call.python)
    _check_code(call)  # it may have been changed while it was imported
    _imported[call.python.split(".")[0]] = call.code
    _loaded[call.python, call.code] = function
    return function


def check_function(path: str, arguments: int) -> None:
    """Import a function and check that it takes so many arguments; raises `UserFunctionError`."""
    function = _import(path)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return
    try:
        signature.bind(*range(arguments))
    except TypeError as error:
        raise UserFunctionError(
            f"function `{path}`: expected one that takes {arguments} arguments, "
            f"got `{path.rpartition('.')[2]}{signature}`: {error}"
        ) from error


def _check_code(call: PythonCall) -> None:
    found = code_of(call.python)
    if found != call.code:
        raise UserFunctionError(
            f"function `{call.python}`: expected the code that the stream was started with "
            f"({call.code}), got other code ({found}); bring that code back on every worker and "
            "resume, or start with `--fresh` to compute everything again"
        )


def _forget_other_code(call: PythonCall) -> None:
    """Let a package of the project that was imported with other code be imported anew."""
    package = call.python.split(".")[0]
    if _imported.get(package, call.code) == call.code:
        return
    files = [file for _, file in _sources(call.python)]
    if not all(any(file.is_relative_to(folder) for folder in _projects) for file in files):
        raise UserFunctionError(
            f"function `{call.python}`: expected the package `{package}` as it is installed now, "
            "got the one that this worker imported before; restart the workers"
        )
    for name in [one for one in sys.modules if one.split(".")[0] == package]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _sources(path: str) -> Iterator[tuple[str, Path]]:
    package = path.split(".", maxsplit=1)[0]
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError) as error:
        raise _missing(path, str(error)) from error
    if found is None:
        raise _missing(path, f"no module `{package}`")
    folders = found.submodule_search_locations
    if folders is not None:
        for folder in folders:
            for file in sorted(Path(folder).rglob("*.py")):
                yield str(file.relative_to(folder)), file
    elif found.origin is not None and Path(found.origin).is_file():
        yield Path(found.origin).name, Path(found.origin)


def _import(path: str) -> Function:
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # what a user's module does is up to it
        reason = (
            str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        )
        raise _missing(path, reason) from error
    function: object = getattr(module, name, None)
    if not callable(function):
        what = "nothing of that name" if function is None else f"a {type(function).__name__}"
        raise UserFunctionError(
            f"function `{path}`: expected a function `{name}` in {module.__file__ or module_name}, "
            f"got {what}"
        )
    return function


def _missing(path: str, reason: str) -> UserFunctionError:
    package = path.split(".", maxsplit=1)[0]
    hint = "put it into the project's folder, or install it where the workers run"
    if package in _OURS:
        hint = f"`{package}` is a package of Sluice itself, give yours another name"
    return UserFunctionError(
        f"function `{path}`: expected a module to import, got {reason}; {hint}"
    )
