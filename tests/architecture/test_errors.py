import ast
import re

from common import errors
from tests.architecture.source import Module, imported_names, modules, packages

DRAWN = re.compile(r"(?:├──|└──|^)\s*(\w+Error)\b", re.MULTILINE)


def ancestry(module: Module) -> dict[str, list[str]]:
    """Map each class of a module to its bases, imports resolved."""
    origin = imported_names(module.tree)
    return {
        node.name: [origin.get(ast.unparse(base), ast.unparse(base)) for base in node.bases]
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }


def test_error_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = set(DRAWN.findall(errors.__doc__ or ""))
    there = {
        name
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, errors.SluiceError)
    }

    assert drawn == there


def test_errors_that_workers_may_raise_are_all_defined_in_one_module() -> None:
    # Which errors are final is listed by class name when a workflow is imported: an error that is
    # defined elsewhere is in the list or not, depending on what was imported before.
    in_workers = set(packages()) - {"devstack", "starter"}
    found = [
        f"{module.relative_path} {name}"
        for module in modules(*sorted(in_workers))
        if module.name != "common.errors"
        for name, bases in ancestry(module).items()
        if any(base.startswith("common.errors.") for base in bases)
    ]

    assert found == []


def test_every_error_is_either_final_or_worth_a_retry() -> None:
    for one in vars(errors).values():
        if isinstance(one, type) and issubclass(one, errors.SluiceError):
            final = issubclass(one, errors.FatalError)
            retried = issubclass(one, errors.RetryableError)
            assert final != retried or one is errors.SluiceError
