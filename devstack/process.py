"""Processes by identity: pid and start time, so that a reused pid is never taken for ours."""

import contextlib
import os
import signal
from collections.abc import Iterable

import psutil

from common.stack_record import STACK_ID_VARIABLE
from devstack.record import ProcessRecord

_START_TOLERANCE_S = 1.0


def identify(pid: int) -> ProcessRecord | None:
    """Give the identity of a running process; None when it is gone."""
    try:
        return ProcessRecord(pid=pid, started=psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def find_process(identity: ProcessRecord | None) -> psutil.Process | None:
    """Find the living process of that identity; a zombie or another of the same pid is none."""
    if identity is None:
        return None
    try:
        process = psutil.Process(identity.pid)
        if abs(process.create_time() - identity.started) > _START_TOLERANCE_S:
            return None
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return process


def is_alive(identity: ProcessRecord | None) -> bool:
    """Say whether the process of that identity still runs."""
    return find_process(identity) is not None


def find_marked(stack_id: str, arguments: Iterable[str] = ()) -> list[psutil.Process]:
    """Find processes of a stack by the mark in their environment or by an argument only it uses.

    The calling process and its ancestors are left out, whatever they carry.

    Args:
        stack_id: Value of the mark.
        arguments: Command line arguments, such as a data directory, that prove the same.
    """
    own = {os.getpid()} | {parent.pid for parent in psutil.Process().parents()}
    known = set(arguments)
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            marked = process.environ().get(STACK_ID_VARIABLE) == stack_id
            if (marked or known.intersection(process.cmdline())) and (
                process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


def with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """List processes and all that they started, each once."""
    found: dict[int, psutil.Process] = {}
    for process in processes:
        found[process.pid] = process
        with contextlib.suppress(psutil.Error):
            for child in process.children(recursive=True):
                found.setdefault(child.pid, child)
    return list(found.values())


def stop_processes(
    processes: Iterable[psutil.Process], *, timeout_s: float, first: int = signal.SIGTERM
) -> None:
    """Stop processes and their descendants: a signal first, SIGKILL for what is left afterwards.

    Args:
        processes: Roots; each gets `first`, their descendants are only killed if they stay.
        timeout_s: Seconds between the signal and SIGKILL.
        first: Signal that asks to stop.
    """
    roots = list(processes)
    everything = with_descendants(roots)
    for process in roots:
        with contextlib.suppress(psutil.Error):
            process.send_signal(first)
    _, left = psutil.wait_procs(everything, timeout=timeout_s)
    for process in with_descendants(left):
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=10)
