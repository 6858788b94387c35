"""The worker processes of a stack: one for workflows, one per core for heavy work."""

import os
import sys

from common.names import ETL_COMPUTE_QUEUE, ETL_QUEUE, STREAM_COMPUTE_QUEUE, STREAM_QUEUE
from common.settings import Settings
from devstack.probe import probe_ready_file
from devstack.service import Report, Service

LIGHT = f"{STREAM_QUEUE},{ETL_QUEUE}"
HEAVY = f"{STREAM_COMPUTE_QUEUE},{ETL_COMPUTE_QUEUE}"


def processor_count() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_services(settings: Settings, processes: int | None = None) -> list[Service]:
    """Describe the workers; they read the settings from environment and stack record.

    Args:
        settings: Of the stack.
        processes: Compute processes; None is as many as the settings say.
    """
    count = processes or settings.worker.processes or processor_count()
    compute = [_worker(settings, f"worker-{n}", HEAVY) for n in range(1, count + 1)]
    return [_worker(settings, "worker-stream", LIGHT), *compute]


def _worker(settings: Settings, name: str, queues: str) -> Service:
    ready_file = settings.data_dir / "run" / f"{name}.ready"

    async def prepare(_report: Report) -> None:
        ready_file.unlink(missing_ok=True)

    async def probe(started: float) -> str | None:
        return probe_ready_file(ready_file, started)

    return Service(
        name,
        lambda: [sys.executable, "-P", "-m", "workers", "--queues", queues, "--name", name],
        probe,
        prepare,
        environment={**os.environ, "POLARS_MAX_THREADS": "1"},
        working_dir=settings.project_dir,
        start_timeout_s=60,
        stop_timeout_s=settings.worker.graceful_stop_s + 5,
        is_worker=True,
    )
