"""Worker processes of one command: planned, started, revived after a crash, stopped gracefully."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field

from common.errors import UnknownNameError
from common.names import ETL_COMPUTE_QUEUE, ETL_QUEUE, STREAM_COMPUTE_QUEUE, STREAM_QUEUE
from common.near_miss import near_miss
from common.settings import Settings
from starter.output import say

QUEUES = (STREAM_QUEUE, STREAM_COMPUTE_QUEUE, ETL_QUEUE, ETL_COMPUTE_QUEUE)
COMPUTE_SUFFIX = "-compute"
STOP_MARGIN_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
INTERRUPTED = 130


@dataclass(frozen=True)
class ProcessPlan:
    """A worker process: its name, unique on the machine, and its queue."""

    name: str
    queue: str


def plan_processes(
    queues: str, count: int | None, processors: int, owner: int
) -> list[ProcessPlan]:
    """Spread queues over processes.

    Args:
        queues: Names separated by commas.
        count: Processes of each compute queue, or of each queue where none is a compute queue; None
            is one per processor for compute queues, else one.
        processors: Processors of this machine.
        owner: Number that tells these processes from those of another command.

    Raises:
        UnknownNameError: There is no such queue.
    """
    names = [name.strip() for name in queues.split(",") if name.strip()]
    for name in names or [queues]:
        if name not in QUEUES:
            raise UnknownNameError(
                f"queue `{name}`: expected one of {', '.join(QUEUES)}{near_miss(name, QUEUES)}"
            )
    has_compute = any(name.endswith(COMPUTE_SUFFIX) for name in names)
    plans = []
    for queue in dict.fromkeys(names):
        if queue.endswith(COMPUTE_SUFFIX):
            processes = count or processors
        else:
            processes = 1 if has_compute else count or 1
        plans += [ProcessPlan(f"{queue}-{owner}-{n}", queue) for n in range(1, processes + 1)]
    return plans


async def supervise(plans: list[ProcessPlan], settings: Settings) -> int:
    """Run the processes until a signal says stop; gives the exit code.

    A process that ends by itself before it was ready (wrong settings, say) ends all; one that ends
    later is started again.
    """
    crew = _Crew(plans, settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, crew.stop, number)
    say(f"starting {len(plans)} worker processes; Ctrl-C stops them")
    await asyncio.gather(*(crew.keep(plan) for plan in plans))
    if crew.failed:
        return 1
    return INTERRUPTED if crew.stop_signal == signal.SIGINT else 0


@dataclass
class _Crew:
    plans: list[ProcessPlan]
    settings: Settings
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    stop_signal: int | None = None
    failed: bool = False
    running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    def stop(self, number: int) -> None:
        """Ask all to end; asked again, end them at once."""
        if self.stopping.is_set():
            for process in self.running.values():
                process.kill()
            return
        self.stop_signal = number
        self.stopping.set()
        if self.running:
            say(f"stopping {len(self.running)} worker processes; they finish what they hold")

    async def keep(self, plan: ProcessPlan) -> None:
        pause_s = FIRST_PAUSE_S
        while not self.stopping.is_set():
            began = asyncio.get_running_loop().time()
            process = await self._start(plan)
            code = await self._until_ended(process)
            if self.stopping.is_set():
                return
            ready = self.settings.data_dir / "run" / f"{plan.name}.ready"
            if not ready.exists():
                say(f"worker {plan.name} ended with {_ending(code)} before it was ready; giving up")
                self.failed = True
                self.stopping.set()
                return
            ready.unlink(missing_ok=True)
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            say(f"worker {plan.name} ended with {_ending(code)}; starting it again")
            await self._pause(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _start(self, plan: ProcessPlan) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "workers", "--queues", plan.queue, "--name", plan.name,
            stdin=asyncio.subprocess.DEVNULL,
            cwd=self.settings.project_dir,
            env={**os.environ, "POLARS_MAX_THREADS": "1"},
        )  # fmt: skip
        self.running[plan.name] = process
        process_ended = asyncio.ensure_future(process.wait())
        process_ended.add_done_callback(lambda _: self.running.pop(plan.name, None))
        return process

    async def _until_ended(self, process: asyncio.subprocess.Process) -> int:
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            process.terminate()
            patience_s = self.settings.worker.graceful_stop_s + STOP_MARGIN_S
            await asyncio.wait([ended], timeout=patience_s)
            if not ended.done():
                process.kill()
        return await ended

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
