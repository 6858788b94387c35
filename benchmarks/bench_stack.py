"""A stack for measuring: of its own in a temporary folder, or one that is kept."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.line import say
from benchmarks.machine import cores_of
from common.settings import Settings, WorkerSettings
from devstack import stack as devstack

READY_S = 60.0


@dataclass(frozen=True)
class BenchStack:
    """A running stack.

    Attributes:
        settings: With the addresses of its services.
        cores: Cores that it may use; empty where that cannot be told.
    """

    settings: Settings
    cores: list[int]

    def pids(self) -> dict[str, int]:
        """Give the process of every part of the stack by name."""
        found = devstack.services(self.settings)
        # The Web UI is a part of Temporal's process.
        return {n: e.pid for n, e in found.items() if e.pid and n != "temporal-ui"}

    def compute_workers(self) -> list[str]:
        """Name the processes that do the heavy work."""
        return [name for name in self.pids() if name.startswith("worker-") and name[7:].isdigit()]


@contextlib.contextmanager
def bench_stack(folder: Path | None, worker: WorkerSettings) -> Iterator[BenchStack]:
    """Start a stack on the cores of this process, or go on with a running one.

    Args:
        folder: Where its data lies; it stays up afterwards, and its workers are restarted so that
            they run the code as it stands. None makes a temporary one that is deleted.
        worker: How many processes do the heavy work, and how; a running stack keeps its own.
    """
    home = folder or Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    settings = Settings(project_dir=home, data_dir=home / ".sluice", worker=worker)
    try:
        reused = devstack.is_running(settings)
        say(f"stack in {home}: {'goes on' if reused else 'starts'}")
        devstack.up(settings)
        full = devstack.with_embedded_addresses(settings)
        stack = BenchStack(full, [])
        if reused:
            _restart_workers(stack)
        broker = stack.pids().get("kafka", os.getpid())
        yield BenchStack(full, cores_of(broker))
    finally:
        if folder is None:
            devstack.down(settings, delete_data=True)
            shutil.rmtree(home, ignore_errors=True)


def _restart_workers(stack: BenchStack) -> None:
    """Ask every worker to end and wait until the supervisor has another one in its place."""
    old = {name: pid for name, pid in stack.pids().items() if name.startswith("worker-")}
    for pid in old.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).terminate()
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        entries = devstack.services(stack.settings)
        if all(
            entries[n].pid not in (None, p) and entries[n].state == "running"
            for n, p in old.items()
        ):
            return
        time.sleep(0.1)
    raise TimeoutError(f"workers {', '.join(old)}: expected new ones within {READY_S:.0f} s")
