"""Waiting for a stream and leaving it: the run goes on, and the message says how to come back."""

import signal
from pathlib import Path

import pytest

from starter.worker_process import QUEUES
from tests.e2e.command import Sluice, interrupt_after_first_line

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

NAME, TOPIC = "watched", "watched-sales"


def test_endless_stream_is_left_and_steered_from_the_command_line(sluice: Sluice) -> None:
    sluice.json("generate", "sales", "--events", "20000", "--topic", TOPIC)
    sluice.write_stream(NAME, TOPIC)
    again = f"`sluice stream status {NAME} --wait`"

    assert again in sluice.refused(6, "stream", "start", NAME, "--wait", "--timeout", "2s")

    process = sluice.start("stream", "status", NAME, "--wait")
    out, err = interrupt_after_first_line(process)
    assert process.returncode == 130
    assert out == ""
    assert again in err
    assert "Traceback" not in err

    told = sluice.refused(2, "stream", "start", NAME)
    assert "runs already" in told
    assert again in told

    assert sluice.ok("stream", "pause", NAME, "--wait") == f"{NAME}  paused\n"
    status = sluice.json("stream", "status", NAME)
    assert (status["state"], status["reason"]) == ("paused", "paused by request")
    sluice.ok("generate", "sales", "--events=500", "--start", "2026-01-02T00:00Z", "--topic", TOPIC)
    assert sluice.ok("stream", "resume", NAME, "--wait") == f"{NAME}  running\n"
    while sluice.json("stream", "status", NAME)["ledger"]["consumed"] < 20_500:
        pass
    status = sluice.json("stream", "status", NAME)
    assert status["open_windows"] > 0

    drained = sluice.ok("stream", "drain", NAME, "--wait")
    assert drained.startswith(f"{NAME}  drained   20,500 events")
    assert "consumed 20,500 = aggregated 20,500" in drained
    assert "has ended" in sluice.refused(1, "stream", "pause", NAME)


def ready_files(sluice: Sluice, owner: int) -> list[Path]:
    folder = sluice.settings.data_dir / "run"
    return [folder / f"{queue}-{owner}-1.ready" for queue in QUEUES]


def test_worker_command_serves_a_namespace_until_sigterm(
    sluice: Sluice, other_namespace: Sluice
) -> None:
    sluice.json("generate", "sales", "--events", "5000", "--topic", "worker-sales")
    other_namespace.write_stream("worked", "worker-sales")
    told = other_namespace.refused(1, "stream", "start", "worked")
    assert "queue `stream`, `stream-compute`: expected a worker, got none" in told
    assert "`sluice worker --queues stream,stream-compute`" in told

    worker = other_namespace.start("worker", "--processes", "1")
    try:
        assert worker.stderr is not None
        while not all(path.exists() for path in ready_files(other_namespace, worker.pid)):
            assert worker.poll() is None
        ended = other_namespace.json("stream", "start", "worked", "--until", "latest", "--wait")
        assert (ended["state"], ended["ledger"]["consumed"]) == ("completed", 5000)
    finally:
        worker.send_signal(signal.SIGTERM)
        _, err = worker.communicate()
    assert worker.returncode == 0
    assert "stopping 4 worker processes" in err
    assert "Traceback" not in err
