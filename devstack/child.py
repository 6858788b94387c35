"""One supervised child: started, watched, started again after a crash, stopped."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from common.errors import FatalError, ServiceUnavailableError
from common.stack_record import STACK_ID_VARIABLE
from devstack.process import identify, with_descendants
from devstack.record import ServiceRecord, ServiceState
from devstack.service import Service
from devstack.tool import account_arguments

_FIRST_BACKOFF_S = 0.5
_LAST_BACKOFF_S = 30.0
_STEADY_S = 60.0
"""A child that ran for so long is started again without a long wait."""
_CHECK_EVERY_S = 5.0
_HUNG_S = 60.0
"""A child that lives but does not answer for so long is started again."""
_POLL_EVERY_S = 0.05
_LOG_LIMIT_BYTES = 20_000_000


class StartRefusedError(FatalError):
    """A service says that this machine cannot run it."""

    def __init__(self, service: str, reason: str) -> None:
        self.service = service
        self.reason = reason
        super().__init__(f"{service}: cannot run on this machine: {reason}")


class StartFailedError(FatalError):
    """A service did not come up at its first start."""

    def __init__(self, service: str, cause: str, log: Path) -> None:
        self.service = service
        self.cause = cause
        super().__init__(
            f"{service}: expected it to start, got: {cause}; "
            f"see `{log}`, then run `sluice up` again"
        )


class Child:
    """Runs a service until it is stopped; keeps its record up to date.

    Args:
        service: What to run.
        record: Entry that is kept up to date.
        logs: Folder of the log files.
        stack_id: Mark for the child's environment.
        on_change: Called after every change of the record.
        say: Writes a line into the supervisor's log.
    """

    def __init__(
        self,
        service: Service,
        record: ServiceRecord,
        logs: Path,
        stack_id: str,
        on_change: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self.service = service
        self.record = record
        self.log = logs / f"{service.name}.log"
        self._stack_id = stack_id
        self._on_change = on_change
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the service and return when it is healthy; from then on it is watched.

        Raises:
            StartRefusedError: It cannot run on this machine.
            StartFailedError: It ended or did not answer in time.
        """
        try:
            await self._launch()
        except BaseException as error:
            await self._end()
            if isinstance(error, Exception):
                self._set("failed", str(error))
            raise
        self._task = asyncio.create_task(self._watch(), name=self.service.name)

    def start_later(self, delay_s: float = 0.0) -> None:
        """Start the service in the background and keep trying."""
        self._task = asyncio.create_task(self._keep_trying(delay_s), name=self.service.name)

    async def stop(self) -> None:
        """Stop watching and stop the process; SIGKILL when it does not go in time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._end()
        self._set("stopped", "")

    async def _keep_trying(self, delay_s: float) -> None:
        await self._recover(delay_s)
        await self._watch()

    async def _watch(self) -> None:
        backoff = _FIRST_BACKOFF_S
        while True:
            healthy_since = time.monotonic()
            reason = await self._until_trouble()
            await self._end()
            if time.monotonic() - healthy_since >= _STEADY_S:
                backoff = _FIRST_BACKOFF_S
            self.record.restarts += 1
            self._say(f"{self.service.name} {reason}; starting it again in {backoff:g} s")
            self._set("restarting", reason)
            backoff = await self._recover(backoff)

    async def _recover(self, backoff: float) -> float:
        """Wait and launch until it is healthy; gives the wait before the next try."""
        while True:
            await asyncio.sleep(backoff)
            backoff = min(max(backoff, _FIRST_BACKOFF_S) * 2, _LAST_BACKOFF_S)
            try:
                await self._launch()
            except (FatalError, ServiceUnavailableError, OSError) as error:
                await self._end()
                self.record.restarts += 1
                self._say(f"{error}; trying again in {backoff:g} s")
                cause = error.cause if isinstance(error, StartFailedError) else str(error)
                self._set("restarting", cause)
            else:
                return backoff

    async def _launch(self) -> None:
        service = self.service
        self._set("preparing", "")
        if service.prepare is not None:
            await service.prepare(lambda text: self._set("preparing", text))
        _rotate(self.log)
        command = await asyncio.to_thread(service.command)
        environment = {**(service.environment or os.environ), STACK_ID_VARIABLE: self._stack_id}
        with self.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=service.working_dir,
                start_new_session=True,
                **account_arguments(service.account),
            )
        self._process = process
        identity = identify(process.pid)
        self.record.pid = process.pid
        self.record.started = identity.started if identity else time.time()
        self._set("starting", "")
        await self._until_healthy(process, self.record.started)
        if service.after_start is not None:
            await service.after_start()
        self.record.ready_at = time.time()
        self._say(f"{service.name} runs as process {process.pid}")
        self._set("running", "")

    async def _until_healthy(self, process: asyncio.subprocess.Process, started: float) -> None:
        deadline = time.monotonic() + self.service.start_timeout_s
        reason: str | None = "it was not asked yet"
        while reason is not None:
            await asyncio.sleep(_POLL_EVERY_S)
            if process.returncode is not None:
                self._refuse(process.returncode)
            reason = await self.service.probe(started)
            if reason and time.monotonic() > deadline:
                waited = f"no sign of health within {self.service.start_timeout_s:.0f} s"
                raise StartFailedError(self.service.name, f"{waited} ({reason})", self.log)
        if process.returncode is not None:
            self._refuse(process.returncode)

    def _refuse(self, code: int) -> None:
        last = last_line(self.log)
        if code == self.service.refusal_code:
            raise StartRefusedError(self.service.name, last)
        raise StartFailedError(self.service.name, f"{describe_exit(code)}: {last}", self.log)

    async def _until_trouble(self) -> str:
        """Watch the process; gives the reason why it has to be started again."""
        process = self._process
        if process is None:
            return "is not there"
        healthy_at = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_EVERY_S):
                    return describe_exit(await process.wait())
            reason = await self.service.probe(self.record.started or 0.0)
            if reason is None:
                healthy_at = time.monotonic()
            elif time.monotonic() - healthy_at > _HUNG_S:
                return f"gave no healthy answer for {_HUNG_S:.0f} s ({reason})"
            state: ServiceState = "unhealthy" if reason else "running"
            if (state, reason or "") != (self.record.state, self.record.detail):
                self._say(f"{self.service.name} is {state}{f': {reason}' if reason else ''}")
                self._set(state, reason or "")

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        tree: list[psutil.Process] = []
        if process.returncode is None:
            with contextlib.suppress(psutil.Error):
                tree = with_descendants([psutil.Process(process.pid)])
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(self.service.stop_signal)
            try:
                async with asyncio.timeout(self.service.stop_timeout_s):
                    await process.wait()
            except TimeoutError:
                self._say(f"{self.service.name} did not stop in time: killed")
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for left in tree:
            with contextlib.suppress(psutil.Error):
                left.kill()
        self._process = None
        self.record.pid = self.record.started = self.record.ready_at = None

    def _set(self, state: ServiceState, detail: str) -> None:
        self.record.state, self.record.detail = state, detail
        self._on_change()


def describe_exit(code: int) -> str:
    """Say in words how a process ended; asyncio gives a signal as a negative code."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def last_line(log: Path) -> str:
    """Give the last line of a log that is not empty; the log may be large."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - 8192, 0))
            lines = [
                line for line in file.read().decode(errors="replace").splitlines() if line.strip()
            ]
    except OSError:
        return "no log"
    return lines[-1].strip() if lines else "nothing in its log"


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
