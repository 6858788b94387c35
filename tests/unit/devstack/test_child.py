import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from devstack.child import Child, StartFailedError, StartRefusedError, last_line
from devstack.record import ServiceRecord
from devstack.service import Service

pytestmark = pytest.mark.unit

_SERVE = "import sys, pathlib, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
_STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_SERVE}"


class Bench:
    """Children of one test, with a condition that is told of every change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self._changed = asyncio.Event()
        self._children: list[Child] = []

    def child(self, code: str, **options: object) -> Child:
        ready = self.folder / "ready"

        async def prepare(_: object) -> None:
            ready.unlink(missing_ok=True)

        async def probe(_: float) -> str | None:
            return None if ready.exists() else "not ready"

        service = Service("part", lambda: [sys.executable, "-c", code, str(ready)], probe, prepare)
        for name, value in options.items():
            setattr(service, name, value)
        record = ServiceRecord()
        child = Child(
            service, record, self.folder, "unit-test", self._changed.set, self.said.append
        )
        self._children.append(child)
        return child

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        for child in self._children:
            await child.stop()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    one = Bench(tmp_path)
    yield one
    await one.close()


async def test_child_is_running_with_its_process_after_start(bench: Bench) -> None:
    child = bench.child(_SERVE)
    await child.start()

    assert child.record.state == "running"
    assert child.record.pid is not None
    assert psutil.Process(child.record.pid).environ()["SLUICE_STACK_ID"] == "unit-test"


async def test_killed_child_is_started_again_and_counted(bench: Bench) -> None:
    child = bench.child(_SERVE)
    await child.start()
    first = child.record.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await bench.until(lambda: child.record.restarts == 1 and child.record.state == "running")

    assert child.record.pid != first
    assert any("killed by signal 9" in line for line in bench.said)


async def test_stopped_child_leaves_no_process(bench: Bench) -> None:
    child = bench.child(_SERVE)
    await child.start()
    pid = child.record.pid
    assert pid is not None
    await child.stop()

    assert not psutil.pid_exists(pid)
    assert (child.record.state, child.record.pid) == ("stopped", None)


async def test_child_that_ignores_its_signal_is_killed(bench: Bench) -> None:
    child = bench.child(_STUBBORN, stop_timeout_s=0.2)
    await child.start()
    pid = child.record.pid
    assert pid is not None
    await child.stop()

    assert not psutil.pid_exists(pid)
    assert "part did not stop in time: killed" in bench.said


async def test_first_start_that_ends_fails_with_the_last_line_of_its_log(bench: Bench) -> None:
    child = bench.child("import sys; sys.exit('no space left for me')")

    with pytest.raises(
        StartFailedError, match=r"ended with exit code 1: no space left for me; see"
    ):
        await child.start()

    assert child.record.state == "failed"


async def test_first_start_that_never_answers_fails_with_the_reason(bench: Bench) -> None:
    child = bench.child("import time; time.sleep(600)", start_timeout_s=0.2)

    with pytest.raises(StartFailedError, match=r"no sign of health within 0 s \(not ready\)"):
        await child.start()

    assert child.record.pid is None


async def test_refusal_is_told_apart_by_its_exit_code(bench: Bench) -> None:
    child = bench.child("import sys; print('no wasm'); sys.exit(3)", refusal_code=3)

    with pytest.raises(StartRefusedError, match="cannot run on this machine: no wasm"):
        await child.start()


async def test_worker_that_fails_at_first_is_tried_again(bench: Bench) -> None:
    marker = bench.folder / "tried"
    code = (
        f"import pathlib; tried = pathlib.Path({str(marker)!r})\n"
        "if not tried.exists():\n    tried.touch()\n    raise SystemExit('not yet')\n" + _SERVE
    )
    child = bench.child(code)
    child.start_later()
    await bench.until(lambda: child.record.state == "running")

    assert child.record.restarts == 1


def test_last_line_skips_empty_lines_of_a_large_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("x" * 100_000 + "\nthe end\n\n \n", encoding="utf-8")

    assert last_line(log) == "the end"
    assert last_line(tmp_path / "none.log") == "no log"
