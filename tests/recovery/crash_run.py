"""Streams in a namespace of their own, where every worker is one that the test starts."""

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.service import RPCError

from common.settings import Settings
from connectors.temporal import connect, register_search_attributes
from devstack.launch import settings_environment
from streaming.status import StreamResult
from tests.recovery.crash_moment import Manner
from tests.stack_rig import StreamOnStack, wait_for

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Death:
    """A worker, and the moment at which and manner in which it ends."""

    moment: str
    nth: int
    manner: Manner = "killed"


async def apart(settings: Settings) -> Settings:
    """Make a namespace where no worker of the stack polls; gives the settings that name it."""
    name = f"crash-{uuid.uuid4().hex[:8]}"
    client = await connect(settings.temporal)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=name, workflow_execution_retention_period=Duration(seconds=86_400)
        )
    )
    temporal = settings.temporal.model_copy(update={"namespace": name})
    there = settings.model_copy(update={"temporal": temporal})

    async def known() -> bool:
        with contextlib.suppress(RPCError):
            await register_search_attributes(await connect(temporal))
            return True
        return False

    await wait_for(known, bool)
    return there


@contextlib.asynccontextmanager
async def mortal_worker(
    settings: Settings, death: Death, key_rows: int = 0, name: str | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a worker that ends at a moment, and is killed at the end if it lives.

    One that was told to stop has to end by itself, with code 0.
    """
    environment = {
        **os.environ, **settings_environment(settings), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    name = name or f"mortal-{uuid.uuid4().hex[:8]}"
    log = settings.data_dir / "logs" / f"{name}.log"
    with log.open("wb") as output:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "tests.recovery.crash_worker", death.moment,
            str(death.nth), name, death.manner, str(key_rows), env=environment,
            cwd=settings.project_dir,
            stdout=output, stderr=output,
        )  # fmt: skip
    ready = settings.data_dir / "run" / f"{name}.ready"
    try:
        # A query that no worker takes within ten seconds fails; a busy machine starts one slower.
        async def begun() -> bool:
            return worker.returncode is not None or await asyncio.to_thread(ready.exists)

        await wait_for(begun, bool)
        yield worker
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    if worker.returncode != (-signal.SIGKILL if death.manner == "killed" else 0):
        text = log.read_text()[-3000:]
        pytest.fail(f"{death}: ended by itself with code {worker.returncode}:\n{text}")


async def run_through(
    stream: StreamOnStack, deaths: Sequence[Death], key_rows: int = 0
) -> tuple[StreamResult, int]:
    """Let one worker after the other do the stream's work until its death, the last one to the end.

    Args:
        stream: The stream, already asked to start.
        deaths: When each worker dies.
        key_rows: Rows above which the state is cut into key ranges; 0 is the engine's bound.

    Returns:
        What the stream came to, and how many of the deaths were died before it ended.
    """
    ended = asyncio.ensure_future(stream.handle.result())
    died = 0
    for death in deaths:
        async with mortal_worker(stream.settings, death, key_rows) as worker:
            death_of_worker = asyncio.ensure_future(worker.wait())
            await asyncio.wait([ended, death_of_worker], return_when="FIRST_COMPLETED")
            if not death_of_worker.done():
                death_of_worker.cancel()
                return await ended, died
            died += 1
    async with mortal_worker(stream.settings, Death("never", 0), key_rows):
        return await ended, died
