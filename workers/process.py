"""The life of a worker process: connect, warm up, work, stop gracefully."""

import asyncio
import contextlib
import signal
from collections.abc import Sequence

import structlog
from temporalio.client import Client

from batch import csv_scan
from common.errors import ServiceUnavailableError
from common.names import STREAM_COMPUTE_QUEUE
from common.settings import Settings
from connectors import kafka_batch, kafka_encode, postgres_copy_out
from connectors.temporal import connect, register_search_attributes
from pipelines.python_function import use_project
from streaming import decode
from workers.queue import open_worker
from workers.wiring import open_clients

log = structlog.get_logger(__name__)

CONNECT_PAUSE_S = 1.0


async def serve(settings: Settings, queues: Sequence[str], name: str) -> None:
    """Work on task queues until a signal says stop.

    Args:
        settings: Where everything is.
        queues: Names of task queues.
        name: Name of this process; `<data_dir>/run/<name>.ready` appears when it polls.
    """
    stopping = _stop_event()
    ready = settings.data_dir / "run" / f"{name}.ready"
    ready.unlink(missing_ok=True)
    if STREAM_COMPUTE_QUEUE in queues:
        await asyncio.to_thread(warm_up)
    use_project(settings.project_dir)
    client = await _connected(settings, stopping)
    if client is None:
        return
    clients = open_clients(settings)
    async with contextlib.AsyncExitStack() as running:
        for queue in queues:
            await running.enter_async_context(open_worker(queue, client, clients, settings.worker))
        ready.parent.mkdir(parents=True, exist_ok=True)
        ready.write_text(name)
        log.info("worker ready", name=name, queues=list(queues))
        await stopping.wait()
        log.info("worker stops", name=name)
        ready.unlink(missing_ok=True)
    await clients.close()


def warm_up() -> None:
    """Compile the kernels, or load them from the cache, before the first task is taken."""
    kafka_batch.warm_up()
    kafka_encode.warm_up()
    decode.warm_up()
    csv_scan.warm_up()
    postgres_copy_out.warm_up()


def _stop_event() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def _connected(settings: Settings, stopping: asyncio.Event) -> Client | None:
    """Connect, and go on trying while the server is away; None when told to stop meanwhile."""
    while not stopping.is_set():
        try:
            client = await connect(settings.temporal)
            await register_search_attributes(client)
        except ServiceUnavailableError as error:
            log.warning("waiting for Temporal", error=str(error))
        else:
            return client
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopping.wait(), CONNECT_PAUSE_S)
    return None
