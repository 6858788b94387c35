"""The supervisor's process from outside: spawned, followed, stopped."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, SecretStr

from common.errors import FatalError
from common.settings import Settings
from common.stack_record import STACK_ID_VARIABLE
from devstack.crew import crew_is
from devstack.process import find_process, is_alive, stop_processes
from devstack.record import StackRecord, read_record, write_record
from devstack.supervisor import DIGEST_VARIABLE

_POLL_EVERY_S = 0.05
_REAP_S = 2.0
_supervisors: dict[Path, "subprocess.Popen[bytes]"] = {}
"""Supervisors that this process started, by data directory; a dropped handle would warn."""


@dataclass(frozen=True)
class Progress:
    """A change of one part while the stack starts or stops; without a service, of the whole."""

    service: str
    state: str
    detail: str = ""


OnProgress = Callable[[Progress], None]


class StackStartError(FatalError):
    """The stack did not come up; its text is the cause that the supervisor recorded."""


def spawn_supervisor(
    settings: Settings, record: StackRecord, *, workers: bool
) -> "subprocess.Popen[bytes]":
    """Start the supervisor as a process of its own session, with its log as output."""
    environment = {**os.environ, **settings_environment(settings)}
    environment[STACK_ID_VARIABLE] = record.stack_id
    environment[DIGEST_VARIABLE] = settings_digest(settings)
    root = str(Path(__file__).resolve().parents[1])
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment["PYTHONPATH"] = os.pathsep.join([root, *(one for one in paths if one != root)])
    command = [
        sys.executable,
        "-P",
        "-m",
        "devstack.supervisor",
        "--project",
        str(settings.project_dir),
    ]
    record.state, record.error, record.supervisor = "starting", None, None
    write_record(settings.data_dir, record)
    with (settings.data_dir / "logs" / "supervisor.log").open("ab") as log:
        supervisor = subprocess.Popen(
            command if workers else [*command, "--no-workers"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=settings.project_dir,
            start_new_session=True,
        )
    forget_supervisor(settings.data_dir)
    _supervisors[settings.data_dir] = supervisor
    return supervisor


def settings_environment(settings: Settings) -> dict[str, str]:
    """Write settings as environment variables of a process; secrets are in clear."""
    found = {
        "SLUICE_PROJECT_DIR": str(settings.project_dir),
        "SLUICE_DATA_DIR": str(settings.data_dir),
    }
    for section in type(settings).model_fields:
        part = getattr(settings, section)
        if isinstance(part, BaseModel):
            for key in type(part).model_fields:
                value = getattr(part, key)
                if value is not None and value != type(part).model_fields[key].default:
                    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                    found[f"SLUICE_{section}__{key}".upper()] = text
    return found


def settings_digest(settings: Settings) -> str:
    """Give a fingerprint of settings."""
    text = "\n".join(
        f"{key}={value}" for key, value in sorted(settings_environment(settings).items())
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def add_workers(record: StackRecord) -> None:
    """Ask a running supervisor to run the workers as well."""
    process = find_process(record.supervisor)
    if process is not None:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGUSR1)


def wait_until_up(
    data_dir: Path,
    record: StackRecord,
    *,
    workers: bool,
    tell: OnProgress,
    supervisor: "subprocess.Popen[bytes] | None",
) -> None:
    """Follow the record until the stack runs; every part's own time limit bounds the wait."""
    seen: dict[str, tuple[str, str]] = {}
    said = 0
    while True:
        ended = supervisor.poll() is not None if supervisor else not is_alive(record.supervisor)
        record = read_record(data_dir) or record
        for name, entry in record.services.items():
            now = (entry.state, entry.detail)
            if seen.get(name) != now and (name in seen or entry.state != "stopped"):
                tell(Progress(name, *now))
            seen[name] = now
        for notice in record.notices[said:]:
            tell(Progress("", "notice", notice))
        said = max(said, len(record.notices))
        if ended:
            log = data_dir / "logs" / "supervisor.log"
            raise StackStartError(
                record.error
                or f"supervisor: expected it to start the stack, got its end; see `{log}`"
            )
        if record.state == "running" and (not workers or _workers_settled(record)):
            return
        time.sleep(_POLL_EVERY_S)


def _workers_settled(record: StackRecord) -> bool:
    """Say whether each worker is ready, or has failed and is being started again."""
    if not record.workers:
        return False
    states = [entry.state for name, entry in record.services.items() if name.startswith("worker-")]
    begun = all(state not in ("stopped", "preparing", "starting") for state in states)
    return bool(states) and begun  # a moment after the services run, no worker is on record yet


def wait_for_crew(data_dir: Path, count: int, tell: OnProgress) -> None:
    """Follow the record until so many compute workers are there.

    Raises:
        StackStartError: The supervisor ended meanwhile.
    """
    seen: dict[str, str] = {}
    while True:
        record = read_record(data_dir)
        if record is None or not is_alive(record.supervisor):
            raise StackStartError("supervisor: expected it to run, got its end; run `sluice up`")
        for name, entry in record.services.items():
            if seen.get(name) != entry.state and name.startswith("worker-"):
                if name in seen or entry.state != "running":
                    tell(Progress(name, entry.state, entry.detail))
                seen[name] = entry.state
        if crew_is(record, count):
            return
        time.sleep(_POLL_EVERY_S)


def forget_supervisor(data_dir: Path) -> None:
    """Let go of the handle of a supervisor that has ended, if this process started it."""
    handle = _supervisors.pop(data_dir, None)
    if handle is None:
        return
    try:
        handle.wait(_REAP_S)  # one that was just killed may not have ended yet
    except subprocess.TimeoutExpired:
        _supervisors[data_dir / str(handle.pid)] = handle


def stop_supervisor(settings: Settings, pid: int, tell: OnProgress) -> None:
    """Ask the supervisor to stop everything and follow it; kill it when it takes too long."""
    try:
        process = psutil.Process(pid)
        process.terminate()
    except psutil.Error:
        return
    deadline = time.monotonic() + settings.worker.graceful_stop_s + 60
    seen: dict[str, str] = {}
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        record = read_record(settings.data_dir)
        for name, entry in (record.services if record else {}).items():
            if entry.state == "stopped" and seen.get(name, "stopped") != "stopped":
                tell(Progress(name, "stopped"))
            seen[name] = entry.state
        if time.monotonic() > deadline:
            stop_processes([process], timeout_s=0.0)
        with contextlib.suppress(psutil.TimeoutExpired, psutil.Error):
            process.wait(timeout=_POLL_EVERY_S)
