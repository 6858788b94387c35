"""Services of the test stack that are killed, and stay away until said so."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator

from common.settings import Settings
from devstack import stack as devstack
from devstack.process import is_alive
from devstack.record import ServiceRecord, read_record
from tests.stack_rig import wait_for


@contextlib.asynccontextmanager
async def away(settings: Settings, *services: str) -> AsyncIterator[None]:
    """Kill services and hold them down; at the end all are started again and healthy."""
    record = read_record(settings.data_dir)
    assert record is not None
    assert record.supervisor is not None
    os.kill(record.supervisor.pid, signal.SIGSTOP)
    killed = {name: record.services[name] for name in services}
    try:
        for entry in killed.values():
            assert entry.pid is not None
            os.kill(entry.pid, signal.SIGKILL)
        yield
    finally:
        os.kill(record.supervisor.pid, signal.SIGCONT)
        await wait_until_healthy(settings, killed)


async def wait_until_healthy(settings: Settings, before: dict[str, ServiceRecord]) -> None:
    """Wait until every part of the stack runs, those named in `before` as new processes."""

    async def services() -> dict[str, ServiceRecord]:
        return devstack.services(settings)

    def healthy(found: dict[str, ServiceRecord]) -> bool:
        states = {entry.state for entry in found.values()} <= {"running", "settled"}
        return states and all(
            found[name].pid != entry.pid and is_alive(found[name].process)
            for name, entry in before.items()
        )

    await wait_for(services, healthy)
