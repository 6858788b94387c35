import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from common.stack_record import STACK_ID_VARIABLE
from devstack.orphan import find_orphans, stop_orphans
from devstack.process import find_marked, find_process, identify, is_alive, stop_processes
from devstack.record import ProcessRecord, ServiceRecord, StackRecord

pytestmark = pytest.mark.unit

_WAIT = "import sys; print('ready', flush=True); sys.stdin.read()"
_STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_WAIT}"
_PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {_WAIT!r}]).wait()"


@contextmanager
def _running(code: str, mark: str = "") -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, STACK_ID_VARIABLE: mark},
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_own_process_is_alive_by_its_identity() -> None:
    identity = identify(os.getpid())

    assert identity is not None
    assert is_alive(identity)


def test_process_of_the_same_pid_and_another_start_is_a_stranger() -> None:
    identity = identify(os.getpid())
    assert identity is not None

    assert not is_alive(ProcessRecord(pid=identity.pid, started=identity.started - 60))


def test_zombie_is_not_alive() -> None:
    with _running(_WAIT) as process:
        identity = identify(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert psutil.pid_exists(process.pid)
        assert find_process(identity) is None


def test_process_that_ignores_sigterm_is_killed() -> None:
    with _running(_STUBBORN) as process:
        identity = identify(process.pid)
        stop_processes([psutil.Process(process.pid)], timeout_s=0.2)

        assert not is_alive(identity)


def test_children_that_stay_are_killed_with_their_parent() -> None:
    with _running(_PARENT) as process:
        children = psutil.Process(process.pid).children()
        assert len(children) == 1
        stop_processes([psutil.Process(process.pid)], timeout_s=0.2)

        assert not children[0].is_running() or children[0].status() == psutil.STATUS_ZOMBIE


def test_only_processes_with_the_mark_are_found() -> None:
    with _running(_WAIT, "stack-one") as one, _running(_WAIT, "stack-two"):
        assert [found.pid for found in find_marked("stack-one")] == [one.pid]


def test_orphans_are_found_by_record_and_by_mark_and_stopped() -> None:
    with _running(_WAIT, "other") as recorded, _running(_WAIT, "mine") as marked:
        identity = identify(recorded.pid)
        assert identity is not None
        record = StackRecord(stack_id="mine", project_dir="/")
        record.services["kafka"] = ServiceRecord(pid=identity.pid, started=identity.started)

        assert set(find_orphans(record)) == {recorded.pid, marked.pid}
        assert stop_orphans(record, lambda _: None) == 2
        assert find_orphans(record) == {}
        assert not is_alive(identity)
        assert record.services["kafka"].pid is None


def test_stranger_with_a_recorded_pid_is_left_alone() -> None:
    with _running(_WAIT, "stranger") as stranger:
        record = StackRecord(stack_id="mine", project_dir="/")
        record.services["kafka"] = ServiceRecord(pid=stranger.pid, started=1.0)

        assert stop_orphans(record, lambda _: None) == 0
        assert stranger.poll() is None


def test_marks_are_read_from_the_environment_of_this_platform(tmp_path: Path) -> None:
    with _running(_WAIT, str(tmp_path)) as process:
        assert psutil.Process(process.pid).environ()[STACK_ID_VARIABLE] == str(tmp_path)
