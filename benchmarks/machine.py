"""The machine under the measurement: which cores it may use, what processes take of them."""

import asyncio
import contextlib
import os
import platform
import resource
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SAMPLE_S = 0.1


def pin(cores: int) -> list[int]:
    """Keep this process, and all that it starts from now on, on the first cores it may use.

    Returns:
        The cores; empty where a process cannot be pinned (macOS).
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    chosen = sorted(os.sched_getaffinity(0))[-cores:]
    os.sched_setaffinity(0, chosen)
    return chosen


def cores_of(pid: int) -> list[int]:
    """Give the cores that a process may use; empty where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(pid))


def own_peak_bytes() -> int:
    """Give the largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # `ru_maxrss` of a process that was started by a larger one is the larger one's on Linux.
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


def describe(cores: list[int]) -> str:
    """Describe the machine in one line."""
    where = f"pinned to cores {cores}" if cores else "not pinned, this system cannot"
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {where}, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GB, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


@dataclass
class Usage:
    """What named processes took during a measurement.

    Attributes:
        peak_bytes: Largest resident memory seen, by name.
        cpu_s: Processor time, user and system, by name; children included.
        others_cpu_s: Processor time that the rest of the machine took on its cores.
    """

    peak_bytes: dict[str, int] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    others_cpu_s: float = 0.0

    def peak_of(self, names: Iterable[str]) -> int:
        """Give the largest peak among some processes."""
        return max((self.peak_bytes.get(name, 0) for name in names), default=0)


@contextlib.asynccontextmanager
async def watched(pids: dict[str, int]) -> AsyncIterator[Usage]:
    """Watch processes by name while the body runs; the usage is complete when it ends."""
    usage = Usage()
    trees = {name: psutil.Process(pid) for name, pid in pids.items()}
    before = _all_cpu_s(trees)
    started, busy = time.perf_counter(), _busy_s()
    sampler = asyncio.create_task(_sample(trees, usage))
    try:
        yield usage
    finally:
        sampler.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampler
        usage.seconds = time.perf_counter() - started
        usage.cpu_s = {name: now - before[name] for name, now in _all_cpu_s(trees).items()}
        usage.others_cpu_s = max(0.0, _busy_s() - busy - sum(usage.cpu_s.values()))


async def _sample(trees: dict[str, psutil.Process], usage: Usage) -> None:
    while True:
        for name, process in trees.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                resident = int(process.memory_info().rss)
                usage.peak_bytes[name] = max(resident, usage.peak_bytes.get(name, 0))
        await asyncio.sleep(SAMPLE_S)


def _all_cpu_s(trees: dict[str, psutil.Process]) -> dict[str, float]:
    """Give the processor time of each; what is below another one that is watched counts there.

    A stack that the benchmark has started is below the benchmark.
    """
    roots = {process.pid for process in trees.values()}
    return {name: _cpu_s(process, roots - {process.pid}) for name, process in trees.items()}


def _family(process: psutil.Process, others: set[int]) -> list[psutil.Process]:
    found = [process]
    for child in process.children():
        if child.pid not in others:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += _family(child, others)
    return found


def _cpu_s(process: psutil.Process, others: set[int]) -> float:
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in _family(process, others):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
                # Of children that ended, such as the server processes of closed connections.
                total += getattr(times, "children_user", 0.0)
                total += getattr(times, "children_system", 0.0)
    return total


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))
