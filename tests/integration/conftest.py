"""An S3 server of its own for the tests that need one."""

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from common.settings import ObjectStoreSettings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise RuntimeError(f"no S3 server on port {port}, exit code {process.poll()}")


@pytest.fixture(scope="session")
def s3_settings() -> Iterator[ObjectStoreSettings]:
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_port(port, process)
        _create_bucket(port)
        yield ObjectStoreSettings(
            endpoint=f"http://127.0.0.1:{port}",
            access_key=SecretStr("test"),
            secret_key=SecretStr("test"),
        )
    finally:
        process.kill()
        process.wait()


def _create_bucket(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", "/sluice-test", headers={"Authorization": "AWS test:test"})
    assert connection.getresponse().status == 200
