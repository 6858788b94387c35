"""The stack from outside: start it, stop it, look at it. A stack is its data directory."""

import contextlib
import errno
import fcntl
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from common.errors import StorageFullError, UsageError
from common.settings import Settings
from common.stack_record import STACK_RECORD
from devstack.crew import ask_for_processes
from devstack.launch import (
    OnProgress,
    Progress,
    StackStartError,
    add_workers,
    forget_supervisor,
    settings_digest,
    spawn_supervisor,
    stop_supervisor,
    wait_for_crew,
    wait_until_up,
)
from devstack.orphan import stop_orphans
from devstack.plan import SERVICE_NAMES, outside_addresses, without_own_addresses
from devstack.process import find_process, is_alive
from devstack.record import ServiceRecord, StackRecord, read_record, write_record
from devstack.supervisor import disk_full

__all__ = [
    "OnProgress",
    "Progress",
    "StackStartError",
    "down",
    "embedded_addresses",
    "is_running",
    "scale",
    "services",
    "up",
    "with_embedded_addresses",
]

_SPACE_BYTES = 512 * 1024 * 1024
_LITTLE_BYTES = 64 * 1024 * 1024


def embedded_addresses(data_dir: Path) -> dict[str, str]:
    """Give the addresses of the embedded services under the names of the settings that they fill.

    They stay after `down`; empty when no stack was ever started there.
    """
    record = read_record(data_dir)
    return record.addresses if record else {}


def with_embedded_addresses(settings: Settings) -> Settings:
    """Fill the addresses that the settings leave open from the stack's record."""
    sections: dict[str, dict[str, object]] = {}
    for name, address in embedded_addresses(settings.data_dir).items():
        section, key = name.split(".")
        if getattr(getattr(settings, section), key) is None:
            value = SecretStr(address) if key == "dsn" else address
            sections.setdefault(section, {})[key] = value
    update = {
        section: getattr(settings, section).model_copy(update=values)
        for section, values in sections.items()
    }
    return settings.model_copy(update=update)


def up(
    settings: Settings, *, workers: bool = True, on_progress: OnProgress | None = None
) -> dict[str, str]:
    """Start the stack, or what is missing of it, and wait until it is up.

    Idempotent, and safe to call from several processes at once.

    Args:
        settings: Services with an address of their own are not started.
        workers: Whether worker processes are wanted; a stack that runs them keeps them.
        on_progress: Called with each change while the stack starts.

    Returns:
        The addresses of the embedded services, as `embedded_addresses` gives them.

    Raises:
        StackStartError: A service did not come up; everything was stopped again.
        UsageError: The data directory cannot be written.
        StorageFullError: The disk has no space left.
        KeyboardInterrupt: Passed on after a start of this call was undone.
    """
    tell = on_progress or (lambda _: None)
    data_dir = settings.data_dir
    _make_data_dir(data_dir)
    with _exclusive(data_dir, tell):
        record = read_record(data_dir) or _new_record(settings)
        own = without_own_addresses(settings, record)
        if is_alive(record.supervisor) and record.state in ("starting", "running"):
            if workers and not record.workers:
                add_workers(record)
            if record.settings_digest != settings_digest(own):
                tell(Progress("", "notice", "the settings changed since the stack started: "
                     "`sluice down` and `sluice up` apply them"))  # fmt: skip
            wait_until_up(data_dir, record, workers=workers, tell=tell, supervisor=None)
            return embedded_addresses(data_dir)
        _clear(settings, record, tell)
        _check_space(data_dir)
        supervisor = spawn_supervisor(own, record, workers=workers)
        try:
            wait_until_up(data_dir, record, workers=workers, tell=tell, supervisor=supervisor)
        except KeyboardInterrupt:
            tell(Progress("", "stopping", "interrupted: stopping what was started"))
            stop_supervisor(settings, supervisor.pid, tell)
            raise
        return embedded_addresses(data_dir)


def scale(settings: Settings, count: int, *, on_progress: OnProgress | None = None) -> None:
    """Change the number of compute workers of a running stack, and wait until it is so.

    A worker that goes finishes what it holds first. The number holds until the stack goes down.

    Raises:
        UsageError: The stack does not run here, or the number is out of bounds.
        StackStartError: The stack ended meanwhile.
    """
    tell = on_progress or (lambda _: None)
    if not is_running(settings):
        raise UsageError(
            f"stack in `{settings.data_dir}`: expected one that runs, got none; run `sluice up`"
        )
    with _exclusive(settings.data_dir, tell):
        record = read_record(settings.data_dir)
        if record is not None:
            ask_for_processes(settings, record, count)
            wait_for_crew(settings.data_dir, count, tell)


def down(
    settings: Settings, *, delete_data: bool = False, on_progress: OnProgress | None = None
) -> int:
    """Stop everything of the stack and wait until no process is left; idempotent.

    Args:
        settings: Their data directory is the stack.
        delete_data: Whether to delete what the services stored and the record as well.
        on_progress: Called with each change while the stack stops.

    Returns:
        How many processes an earlier supervisor had left behind.
    """
    tell = on_progress or (lambda _: None)
    data_dir = settings.data_dir
    if not data_dir.is_dir() or read_record(data_dir) is None:
        return 0
    with _exclusive(data_dir, tell):
        record = read_record(data_dir)
        if record is None:
            return 0
        supervisor = find_process(record.supervisor)
        if supervisor is not None:
            stop_supervisor(settings, supervisor.pid, tell)
            record = read_record(data_dir) or record
        forget_supervisor(data_dir)
        count = _clear(settings, record, tell)
        if delete_data:
            _delete(data_dir, record)
        return count


def services(settings: Settings) -> dict[str, ServiceRecord]:
    """Give every part of the stack with its present state; what runs elsewhere has no port."""
    record = read_record(settings.data_dir)
    found: dict[str, ServiceRecord] = {}
    outside = outside_addresses(without_own_addresses(settings, record))
    if record and is_alive(record.supervisor):
        # These settings may be older than the record, which has the port of a service that moved.
        outside = {name: outside.get(name, "") for name in record.outside}
    for name in SERVICE_NAMES:
        if name in outside:
            found[name] = ServiceRecord(address=outside[name], state="running", detail="outside")
        elif record and name in record.services:
            found[name] = record.services[name]
    if record:
        found |= {n: e for n, e in record.services.items() if n not in found and not (
            n == "temporal-ui" and "temporal" in outside)}  # fmt: skip
    for entry in found.values():
        if entry.detail != "outside" and entry.state != "settled" and not is_alive(entry.process):
            was_up = entry.pid is not None
            entry.pid = entry.started = entry.ready_at = None
            if was_up or not (record and is_alive(record.supervisor)):
                entry.state = "stopped"
    return found


def is_running(settings: Settings) -> bool:
    """Say whether the stack's supervisor lives and all its services were up."""
    record = read_record(settings.data_dir)
    return record is not None and record.state == "running" and is_alive(record.supervisor)


def _make_data_dir(data_dir: Path) -> None:
    try:
        for folder in (data_dir, data_dir / "run", data_dir / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        probe = data_dir / "run" / ".probe"
        probe.write_bytes(b"1")
        probe.unlink()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFullError(disk_full(data_dir)) from error
        raise UsageError(
            f"data directory `{data_dir}`: expected a folder to write to, got: {error.strerror}; "
            "correct its owner or set `data_dir` to another folder"
        ) from error


def space_warning(data_dir: Path) -> str:
    """Say that the disk of a stack is nearly full; empty when it is not."""
    if not data_dir.exists() or (free := shutil.disk_usage(data_dir).free) >= _LITTLE_BYTES:
        return ""
    return (
        f"data directory `{data_dir}`: {free >> 20} MB of space left, services stop on a full "
        "disk; free some space, they go on by themselves"
    )


def _check_space(data_dir: Path) -> None:
    free = shutil.disk_usage(data_dir).free
    if free < _SPACE_BYTES:
        raise StorageFullError(
            f"data directory `{data_dir}`: expected {_SPACE_BYTES >> 20} MB of free space or more, "
            f"got {free >> 20} MB; free some space and run `sluice up` again"
        )


def _new_record(settings: Settings) -> StackRecord:
    record = StackRecord(stack_id=secrets.token_hex(8), project_dir=str(settings.project_dir))
    write_record(settings.data_dir, record)
    return record


@contextlib.contextmanager
def _exclusive(data_dir: Path, tell: OnProgress) -> Iterator[None]:
    """Let one `up` or `down` at a time work on a stack; the kernel frees the lock of a dead one."""
    with (data_dir / "run" / "up.lock").open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(
                Progress("", "waiting", "another `sluice up` or `sluice down` works on this stack")
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clear(settings: Settings, record: StackRecord, tell: OnProgress) -> int:
    """Stop what a dead supervisor left, and say so in the record."""
    count = stop_orphans(record, lambda text: tell(Progress("", "stopping", text)))
    record.supervisor = None
    record.state = "stopped"
    write_record(settings.data_dir, record)
    return count


_FOLDERS = (
    "kafka", "temporal", "clickhouse", "timescaledb", "postgres", "logs", "run",
    "objects", "lake", "reports",
)  # fmt: skip
"""What a stack makes in its data directory. States and records of runs speak of the servers' data,
so they go with it."""


def _delete(data_dir: Path, record: StackRecord) -> None:
    """Delete what this stack stored, by the names it gave, and nothing else in the folder."""
    if record.postgres_home:
        shutil.rmtree(record.postgres_home, ignore_errors=True)
    for name in _FOLDERS:
        shutil.rmtree(data_dir / name, ignore_errors=True)
    (data_dir / STACK_RECORD).unlink(missing_ok=True)
