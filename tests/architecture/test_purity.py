"""Clocks, I/O and randomness in what Temporal's sandbox lets pass would break replays."""

import ast
import re
import sys
from collections.abc import Iterator

import grimp
import pytest

from tests.architecture.source import Module, dotted_uses, imported_names, modules, packages
from workflows.sandbox import PASSED_THROUGH

IMPURE = re.compile(
    r"""
    (time\.(time|monotonic|perf_counter|process_time|thread_time|clock_\w+|sleep|localtime|gmtime)(_ns)?$
    |datetime\.datetime\.(now|utcnow|today)$ | datetime\.date\.today$
    |random\. | secrets\. | uuid\.uuid[14]$ | os\.urandom$ | os\.getpid$ | numpy\.random\.
    |os\.(environ|getenv|remove|unlink|rename|replace|mkdir|makedirs|listdir|scandir|stat)\b
    |os\.(system|open)\b
    |socket\. | subprocess\. | shutil\. | tempfile\. | urllib\.request\.
    |threading\.(Thread|Timer)$
    |pathlib\.Path\.(cwd|home)$
    |(open|input|print|breakpoint|hash|id)$)
    """,
    re.VERBOSE,
)
"""Names that read a clock, draw randomness or touch the world; `hash` differs by process."""

FILE_METHODS = {"read_text", "write_text", "read_bytes", "write_bytes", "unlink", "mkdir", "touch"}

ALLOWED = {
    "common.settings_load": "settings are read from the environment when a process starts",
    "common.settings_source": "settings are read from sluice.toml when a process starts",
    "common.stack_record": "the stack's record is read when a process starts",
    "common.log": "logging is set up when a process starts",
    "contracts.document": "files of pipelines and contracts are read by the command line",
    "pipelines.load": "pipeline files are read by the command line",
    "pipelines.reference_file": "reference files are read by the command line",
    "pipelines.python_function": "own functions are loaded by the command line and by activities",
}
"""Modules of the passed packages that do I/O; no workflow may reach them."""


def impure_uses(module: Module) -> Iterator[str]:
    for name, node in dotted_uses(module.tree):
        if IMPURE.match(name):
            yield f"{module.relative_path}:{node.lineno} {name}"
    for part in ast.walk(module.tree):
        if isinstance(part, ast.Attribute) and part.attr in FILE_METHODS:
            yield f"{module.relative_path}:{part.lineno} .{part.attr}"


def reached_by_workflows() -> set[str]:
    graph = grimp.build_graph(*packages(), cache_dir=None)
    return graph.find_upstream_modules("workflows", as_package=True)


def parsed(source: str) -> Module:
    path = modules("common")[0].path
    return Module("sample", path, source, ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "from time import monotonic_ns as m\nm()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime as dt\ndt.datetime.now(dt.UTC)",
        "import numpy as np\nnp.random.default_rng()",
        "import random\nrandom.random()",
        "from uuid import uuid4\nuuid4()",
        "open('x')",
        "path.read_text()",
        "hash('x')",
    ],
)
def test_purity_check_finds_what_is_impure(source: str) -> None:
    assert list(impure_uses(parsed(source)))


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)",
        "import io\nio.BytesIO(b'')",
        "from uuid import UUID\nUUID(int=0)",
        "timestamp.time()",
        "import time\nx: time.struct_time",
    ],
)
def test_purity_check_lets_pure_code_pass(source: str) -> None:
    assert list(impure_uses(parsed(source))) == []


def test_engine_and_contracts_read_no_clock_and_do_no_io() -> None:
    checked = modules("batch", "common", "contracts", "pipelines", "streaming", "workflows")
    found = [use for module in checked if module.name not in ALLOWED for use in impure_uses(module)]

    assert found == []


def test_exceptions_of_the_purity_check_are_modules_that_exist() -> None:
    assert set(ALLOWED) <= {module.name for module in modules("common", "contracts", "pipelines")}


def test_workflows_reach_only_pure_modules() -> None:
    reached = reached_by_workflows()
    ours = [module for module in modules(*packages()) if module.name in reached]

    assert reached & set(ALLOWED) == set()
    assert [use for module in ours for use in impure_uses(module)] == []


def test_sandbox_passes_every_package_that_workflows_reach() -> None:
    reached = {name.split(".")[0] for name in reached_by_workflows()} & set(packages())

    assert reached <= set(PASSED_THROUGH) | {"workflows"}


def test_sandbox_passes_every_library_that_workflows_reach() -> None:
    reached = reached_by_workflows()
    inside = [
        m for m in modules(*packages()) if m.name in reached or m.name.startswith("workflows")
    ]
    libraries = {
        origin.split(".")[0] for module in inside for origin in imported_names(module.tree).values()
    }
    outside = libraries - set(packages()) - set(sys.stdlib_module_names)

    assert outside >= {"polars", "pydantic", "temporalio"}
    assert outside <= set(PASSED_THROUGH) | {"temporalio"}


def test_sandbox_does_not_pass_workflows() -> None:
    assert "workflows" not in PASSED_THROUGH
