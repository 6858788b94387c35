"""Processes of a stack whose supervisor died: found by identity or mark, and stopped."""

from collections.abc import Callable

import psutil

from devstack.process import find_marked, find_process, stop_processes
from devstack.record import StackRecord

_WORKER_STOP_S = 10.0
_SERVICE_STOP_S = 15.0


def find_orphans(record: StackRecord) -> dict[int, tuple[str, psutil.Process]]:
    """Find living processes of the stack: name and process by pid, without the caller's own."""
    found: dict[int, tuple[str, psutil.Process]] = {}
    for name, entry in record.services.items():
        process = find_process(entry.process)
        if process is not None:
            found.setdefault(process.pid, (name, process))
    arguments = [f"{record.postgres_home}/cluster"] if record.postgres_home else []
    marked = find_marked(record.stack_id, arguments)
    own = {process.pid for process in marked} | set(found)
    for process in marked:
        # A child of one of these is its parent's to stop; it is killed if it stays.
        if process.pid not in found and _parent_pid(process) not in own:
            found[process.pid] = ("an unrecorded process", process)
    return found


def _parent_pid(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0


def stop_orphans(record: StackRecord, say: Callable[[str], None]) -> int:
    """Stop what is left of the stack, workers first; gives how many processes there were.

    Updates the record in place: afterwards no service has a process.
    """
    orphans = find_orphans(record)
    workers = [one for name, one in orphans.values() if name.startswith("worker-")]
    services = [one for name, one in orphans.values() if not name.startswith("worker-")]
    for name, process in orphans.values():
        say(f"stopping {name} (process {process.pid}) that a dead supervisor left")
    stop_processes(workers, timeout_s=_WORKER_STOP_S)
    stop_processes(services, timeout_s=_SERVICE_STOP_S)
    for entry in record.services.values():
        entry.pid = entry.started = entry.ready_at = None
        if entry.state != "settled":
            entry.state, entry.detail = "stopped", ""
    return len(orphans)
