import ast
import importlib
import re
import tokenize
import typing
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path

from common.payloads import Model
from tests.architecture.source import Module, dotted_uses, imported_names, modules, packages
from workflows import policies
from workflows.policies import Policy

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "misc", "data", "info", "handler"}
ACTIVITY_NAME = re.compile(r"^[a-z]+(\.[a-z]+(_[a-z]+)*)$")
WORKFLOW_NAME = re.compile(r"^[a-z]+(-[a-z]+)*$")
EXPLAINED = {
    "noqa": re.compile(r"# noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*\s+\S.{2,}"),
    "type: ignore": re.compile(r"# type: ignore\[[a-z-]+(, ?[a-z-]+)*\]\s+\S.{2,}"),
}


def everything() -> tuple[Module, ...]:
    return modules(*packages(), "tests", "benchmarks", "bin")


def calls(module: Module) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call with the resolved dotted name of what is called."""
    names = {id(node): name for name, node in dotted_uses(module.tree)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and id(node.func) in names:
            yield names[id(node.func)], node


def constant(module: Module, node: ast.expr) -> str | None:
    """Give the text of a literal, or of a module constant also when it was imported."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if not isinstance(node, ast.Name):
        return None
    origin = imported_names(module.tree).get(node.id, f"{module.name}.{node.id}")
    holder, _, name = origin.rpartition(".")
    for other in modules(*packages()):
        if other.name == holder:
            for statement in other.tree.body:
                if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
                    targets = [one.id for one in statement.targets if isinstance(one, ast.Name)]
                    if name in targets:
                        return str(statement.value.value)
    return None


def type_names(decorator: str) -> Iterator[tuple[str, str | None]]:
    """Yield where each workflow or activity is defined, and its fixed type name."""
    for module in modules("activities", "workflows"):
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for one in node.decorator_list:
                target = one.func if isinstance(one, ast.Call) else one
                if ast.unparse(target) == decorator:
                    keywords = one.keywords if isinstance(one, ast.Call) else []
                    value = next((word.value for word in keywords if word.arg == "name"), None)
                    fixed = None if value is None else constant(module, value)
                    yield f"{module.relative_path}:{node.lineno} {node.name}", fixed


def test_modules_have_at_most_400_lines() -> None:
    too_long = {m.relative_path: len(m.text.splitlines()) for m in everything()}

    assert {path: count for path, count in too_long.items() if count > 400} == {}


def test_modules_are_named_after_a_noun() -> None:
    assert [m.relative_path for m in everything() if m.path.stem in VAGUE_NAMES] == []


def test_no_module_postpones_its_annotations() -> None:
    found = [m.relative_path for m in everything() if "annotations" in imported_names(m.tree)]

    assert found == []


def test_every_activity_has_a_fixed_type_name() -> None:
    found = dict(type_names("activity.defn"))

    assert found
    assert {k: v for k, v in found.items() if v is None or not ACTIVITY_NAME.match(v)} == {}
    assert len(set(found.values())) == len(found)


def test_every_workflow_has_a_fixed_type_name() -> None:
    found = dict(type_names("workflow.defn"))

    assert found
    assert {k: v for k, v in found.items() if v is None or not WORKFLOW_NAME.match(v)} == {}
    assert len(set(found.values())) == len(found)


def test_every_call_of_an_activity_states_its_timeout_and_retry_policy() -> None:
    seen, wrong = 0, []
    for module in modules("workflows"):
        for name, call in calls(module):
            if re.search(r"workflow\.(execute|start)_(local_)?activity(_method|_class)?$", name):
                seen += 1
                stated = {word.arg for word in call.keywords}
                if not {"start_to_close_timeout", "retry_policy"} <= stated:
                    wrong.append(f"{module.relative_path}:{call.lineno}")

    assert seen
    assert wrong == []


def test_activities_are_called_in_one_place_and_always_with_a_policy() -> None:
    called = [
        f"{module.relative_path}:{call.lineno}"
        for module in modules("workflows")
        for name, call in calls(module)
        if re.search(r"workflow\.(execute|start)_(local_)?activity(_method|_class)?$", name)
    ]
    unruled = [
        f"{module.relative_path}:{call.lineno}"
        for module in modules("workflows")
        for name, call in calls(module)
        if name.endswith("_insist.run")
        and not any(ast.unparse(one).startswith("policies.") for one in call.args)
    ]

    assert len(called) == 1
    assert called[0].startswith("workflows/insistence.py")
    assert unruled == []


def test_every_policy_bounds_attempts_and_listens_to_the_heart_of_what_takes_long() -> None:
    found = {name: one for name, one in vars(policies).items() if isinstance(one, Policy)}

    assert found
    for name, one in found.items():
        # What looks at a whole batch takes as long as that; its heartbeats tell that it lives.
        whole = one in (policies.SNAPSHOT, policies.AUDIT, policies.PUBLISH)
        assert one.start_to_close <= timedelta(minutes=720 if whole else 10), name
        assert one.retry.maximum_attempts > 0, name
        if one.start_to_close > timedelta(seconds=10):
            assert one.heartbeat is not None, name
            assert one.heartbeat < one.start_to_close, name


def test_workflows_call_only_activities_that_exist() -> None:
    defined = {fixed for _, fixed in type_names("activity.defn")}
    named = {
        str(one.value)
        for module in modules("workflows")
        for name, call in calls(module)
        if name.endswith("_insist.run")
        for one in call.args[1:2]
        if isinstance(one, ast.Constant)
    }

    assert named
    assert named <= defined


def test_inputs_and_results_of_activities_and_workflows_are_single_models() -> None:
    found = []
    for module in modules("activities", "workflows"):
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.AsyncFunctionDef):
                continue
            marks = [ast.unparse(one) for one in node.decorator_list]
            if not any(one.startswith(("activity.defn", "workflow.run")) for one in marks):
                continue
            hints = typing.get_type_hints(resolved(module, node))
            kinds = [hints.get(arg.arg) for arg in node.args.args[1:]] + [hints.get("return")]
            if len(kinds) != 2 or not all(
                isinstance(one, type) and issubclass(one, Model) for one in kinds
            ):
                found.append(f"{module.relative_path}:{node.lineno} {node.name}")

    assert found == []


def resolved(module: Module, node: ast.AsyncFunctionDef) -> object:
    """Find the function behind a method's syntax tree."""
    loaded = importlib.import_module(module.name)
    here = [one for one in vars(loaded).values() if getattr(one, "__module__", "") == module.name]
    holders = [one for one in here if isinstance(one, type)]
    return next(getattr(one, node.name) for one in holders if node.name in vars(one))


def test_tests_sleep_only_between_two_looks_at_a_condition() -> None:
    found = []
    for module in modules("tests"):
        looped = {
            id(inner)
            for loop in ast.walk(module.tree)
            if isinstance(loop, ast.While | ast.For | ast.AsyncFor)
            for inner in ast.walk(loop)
        }
        for name, call in calls(module):
            if name in ("time.sleep", "asyncio.sleep") and id(call) not in looped:
                nothing = isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
                if not nothing:
                    found.append(f"{module.relative_path}:{call.lineno}")

    assert found == []


def test_every_suppressed_finding_names_its_rule_and_reason() -> None:
    found = []
    for module in everything():
        for token in tokenize.generate_tokens(StringIO(module.text).readline):
            if token.type == tokenize.COMMENT:
                for kind, explained in EXPLAINED.items():
                    if f"# {kind}" in token.string and not explained.search(token.string):
                        found.append(f"{module.relative_path}:{token.start[0]} {token.string}")

    assert found == []


def test_source_holds_no_path_of_somebodys_home() -> None:
    pattern = re.compile(r"/(home|Users)/\w+|/root/")
    this = Path(__file__)

    assert [
        m.relative_path for m in everything() if m.path != this and pattern.search(m.text)
    ] == []
