"""The supervisor of a stack: starts its services and workers, keeps them up, stops them in order.

`python -m devstack.supervisor --project DIR` takes the settings from environment and `sluice.toml`.
SIGTERM stops everything, SIGUSR1 adds the workers, SIGUSR2 changes their number. It holds a lock
as long as it lives, which the kernel frees when it dies.
"""

import argparse
import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from common.errors import FatalError, SluiceError
from common.settings import Settings
from common.settings_load import load_settings
from devstack.child import Child, StartRefusedError
from devstack.crew import forget_wanted, wanted_processes
from devstack.orphan import stop_orphans
from devstack.plan import (
    outside_addresses,
    plan_postgres,
    plan_services,
    point_timescaledb_to_postgres,
    without_own_addresses,
)
from devstack.process import identify
from devstack.record import StackRecord, StackState, read_record, write_record
from devstack.service import Service
from devstack.worker_service import worker_services

DIGEST_VARIABLE = "_SLUICE_STACK_SETTINGS"
_SAVE_AGAIN_S = 1.0
_SETTLES_ONCE = "timescaledb"


class Supervisor:
    """Runs one stack from start to stop.

    Args:
        settings: Without the stack's own addresses.
        record: Record of the stack; this object is the only one that writes it.
        workers: Whether worker processes are wanted at the start.
    """

    def __init__(self, settings: Settings, record: StackRecord, *, workers: bool) -> None:
        self._settings = settings
        self._record = record
        self._record.workers = workers
        self._record.outside = sorted(outside_addresses(settings))
        self._children: dict[str, Child] = {}
        self._saving: asyncio.TimerHandle | None = None
        self._unsaved = False
        self._stop = asyncio.Event()
        self._workers_wanted = asyncio.Event()
        self._crew_changed = asyncio.Event()
        if workers:
            self._workers_wanted.set()

    async def run(self) -> None:
        """Start, serve until SIGTERM, stop.

        Raises:
            SluiceError: A service did not come up at its first start; by then all is stopped.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._workers_wanted.set)
        loop.add_signal_handler(signal.SIGUSR2, self._change_crew)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        work = asyncio.create_task(self._start())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                await stopped
        finally:
            stopped.cancel()
            work.cancel()
            await asyncio.gather(work, stopped, return_exceptions=True)
            await self._stop_children()

    async def _start(self) -> None:
        self._set_state("starting")
        forget_wanted(self._settings)
        settled = self._record.timescaledb_kind is not None
        services = await asyncio.to_thread(plan_services, self._settings, self._record)
        for name in list(self._record.services):
            if name.startswith("worker-"):
                del self._record.services[name]
        self.save()
        try:
            async with asyncio.TaskGroup() as group:
                for service in services:
                    group.create_task(self._start_service(service))
        except ExceptionGroup as failures:
            if not settled:
                # Only a start that succeeds settles anything: this one may have lacked the network.
                self._record.timescaledb_kind = None
            raise failures.exceptions[0] from failures
        self._set_state("running")
        await self._workers_wanted.wait()
        await self._start_workers()
        while True:
            await self._crew_changed.wait()
            self._crew_changed.clear()
            await self._fit_crew()

    async def _start_service(self, service: Service) -> None:
        child = self._adopt(service)
        try:
            await child.start()
        except StartRefusedError as refusal:
            if service.name != _SETTLES_ONCE or self._record.timescaledb_kind is not None:
                raise
            await self._settle_on_postgres(refusal)
        else:
            if service.name == _SETTLES_ONCE and self._record.timescaledb_kind is None:
                self._record.timescaledb_kind = "timescaledb"
                self.save()

    async def _settle_on_postgres(self, refusal: StartRefusedError) -> None:
        """Choose plain PostgreSQL for the sink, once and for this stack."""
        del self._children[_SETTLES_ONCE]
        self._record.timescaledb_kind = "postgres"
        text = (
            f"TimescaleDB cannot run on this machine ({refusal.reason}): "
            "this stack uses plain PostgreSQL for that sink from now on"
        )
        self._record.notices.append(text)
        say(text)
        if "postgres" not in self._children:
            await self._start_service(plan_postgres(self._settings, self._record))
        point_timescaledb_to_postgres(self._settings, self._record)
        self.save()

    async def _start_workers(self) -> None:
        self._record.workers = True
        for service in worker_services(self._settings, wanted_processes(self._settings)):
            self._adopt(service).start_later()

    def _change_crew(self) -> None:
        self._workers_wanted.set()
        self._crew_changed.set()

    async def _fit_crew(self) -> None:
        """Start the workers that are missing, and stop those that are too many.

        Those finish what they hold first.
        """
        wanted = {
            service.name: service
            for service in worker_services(self._settings, wanted_processes(self._settings))
        }
        for name in wanted.keys() - self._children.keys():
            self._adopt(wanted[name]).start_later()
        spare = [
            child
            for name, child in self._children.items()
            if child.service.is_worker and name not in wanted
        ]
        await asyncio.gather(*(child.stop() for child in spare))
        for child in spare:
            del self._children[child.service.name]
            del self._record.services[child.service.name]
        self.save()

    def _adopt(self, service: Service) -> Child:
        entry = self._record.service(service.name)
        entry.restarts = 0
        child = Child(
            service,
            entry,
            self._settings.data_dir / "logs",
            self._record.stack_id,
            self.save,
            say,
        )
        self._children[service.name] = child
        return child

    async def _stop_children(self) -> None:
        """Stop the workers first, so that they can hand back what they hold, then the services."""
        self._set_state("stopping")
        for is_worker in (True, False):
            group = [
                child for child in self._children.values() if child.service.is_worker is is_worker
            ]
            await asyncio.gather(*(child.stop() for child in group), return_exceptions=True)

    def _set_state(self, state: StackState) -> None:
        self._record.state = state
        self.save()

    def save(self) -> None:
        """Write the record, with the entries of aliases made equal to their service."""
        for child in self._children.values():
            for alias in child.service.aliases:
                mirror = child.record.model_dump(exclude={"address", "port", "extra_port"})
                entry = self._record.service(alias)
                for key, value in mirror.items():
                    setattr(entry, key, value)
        try:
            write_record(self._settings.data_dir, self._record)
        except OSError as error:
            if self._record.state == "starting":
                raise
            self._save_later(error)
        else:
            self._unsaved = False

    def _save_later(self, error: OSError) -> None:
        """Go on supervising while the disk takes nothing; the record is written once it does."""
        if self._saving is None:
            if not self._unsaved:
                self._unsaved = True
                say(f"the stack's record cannot be written ({error}); it is tried again by itself")
            self._saving = asyncio.get_running_loop().call_later(_SAVE_AGAIN_S, self._save_again)

    def _save_again(self) -> None:
        self._saving = None
        self.save()


def say(text: str) -> None:
    """Write a line into the supervisor's log, its standard output; a full disk loses the line."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{now} {text}\n")
        sys.stdout.flush()


def supervise(settings: Settings, *, workers: bool) -> int:
    """Run the stack's supervisor; gives the exit code of the process.

    Raises:
        FatalError: No record is there, or another supervisor runs this stack.
    """
    data_dir = settings.data_dir
    record = read_record(data_dir)
    if record is None:
        raise FatalError(f"stack in `{data_dir}`: expected a record, got none; run `sluice up`")
    lock = hold_lock(data_dir / "run" / "supervisor.lock")
    stop_orphans(record, say)
    record.supervisor = identify(os.getpid())
    record.settings_digest = os.environ.get(DIGEST_VARIABLE, "")
    record.error = None
    record.notices = []
    write_record(data_dir, record)
    say(f"supervisor {os.getpid()} starts the stack in {data_dir}")
    code = 0
    own = Supervisor(without_own_addresses(settings, record), record, workers=workers)
    try:
        asyncio.run(own.run())
    except SluiceError as error:
        record.error, code = str(error), 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        record.error, code = disk_full(data_dir), 1
    if record.error:
        say(record.error)
    record.state = "failed" if record.error else "stopped"
    record.supervisor = None
    write_record(data_dir, record)
    say("supervisor ends")
    lock.close()
    return code


def hold_lock(path: Path) -> TextIO:
    """Take the lock of a stack's supervisor.

    Raises:
        FatalError: Another process holds it.
    """
    file = path.open("a", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise FatalError(
            f"stack in `{path.parents[1]}`: expected no other supervisor, got one that runs; "
            "run `sluice down` first"
        ) from error
    return file


def disk_full(data_dir: Path) -> str:
    """Compose the message for a disk without space."""
    return (
        f"data directory `{data_dir}`: expected space to write, got a full disk; "
        "free some space and run `sluice up` again"
    )


def main() -> int:
    """Run the supervisor from the command line."""
    parser = argparse.ArgumentParser(prog="python -m devstack.supervisor")
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--no-workers", action="store_true")
    arguments = parser.parse_args()
    try:
        return supervise(load_settings(arguments.project), workers=not arguments.no_workers)
    except SluiceError as error:
        say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
