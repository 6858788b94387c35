"""What hangs instead of dying: a broker, and a writer that wakes up too late."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from common.settings import Settings
from devstack import stack as devstack
from tests.recovery.test_outage import PART, Flow
from tests.stack_rig import wait_for

pytestmark = pytest.mark.recovery


@contextlib.contextmanager
def hung(pid: int | None) -> Iterator[None]:
    """Stop a process as a debugger or a swapping machine would, and let it go on at the end."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # the supervisor replaces what hangs long
            os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(120)
async def test_broker_that_hangs_is_waited_for(stack: Settings) -> None:
    # So long that the broker is fenced and has another leader epoch afterwards, which once paused
    # the stream as an error that no retry helps.
    flow = Flow(stack, "hang")
    await flow.append()
    await flow.stream.start(until_latest=False)
    await flow.caught_up()
    with hung(devstack.services(stack)["kafka"].pid):
        status = await flow.until("waiting for records: ServiceUnavailableError: Kafka")
        assert status.state == "running"
    await flow.append()
    await flow.caught_up()
    await flow.check()


@pytest.mark.timeout(150)
async def test_writer_that_wakes_up_after_another_wrote_its_flush_changes_nothing(
    stack: Settings,
) -> None:
    flow = Flow(stack, "zombie")
    await flow.append()
    await flow.stream.start(until_latest=False)
    await flow.caught_up()
    services = devstack.services(stack)
    with contextlib.ExitStack() as frozen:
        with hung(services["clickhouse"].pid):
            await flow.append()
            await flow.stream.until(lambda s: s.sinks[0].pending > 0 and s.pending_flushes > 0)
            frozen.enter_context(hung(services["worker-stream"].pid))
        with second_worker(stack):
            await flow.append()
            total = flow.parts * PART
            await wait_for(
                flow.patiently_shown,
                lambda s: (
                    s is not None
                    and (s.ledger.consumed, s.pending_flushes) == (total, 0)
                    and not s.reason
                ),
            )
    await flow.check()


@contextlib.contextmanager
def second_worker(settings: Settings) -> Iterator[None]:
    """Run one more worker of the light queue, which takes over what the other holds."""
    environment = {
        **os.environ,
        "SLUICE_PROJECT_DIR": str(settings.project_dir),
        "SLUICE_DATA_DIR": str(settings.data_dir),
    }
    command = [sys.executable, "-P", "-m", "workers", "--queues", "stream", "--name", "heir"]
    with subprocess.Popen(command, env=environment, cwd=settings.project_dir) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait()
