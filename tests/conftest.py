"""The embedded stack and an S3 server, each started once per run for all tests that need it."""

import http.client
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr

from common.settings import ClickHouseSettings, ObjectStoreSettings, Settings, WorkerSettings
from devstack import stack as devstack

# A busy machine is no failure: how long an example takes is not what these tests claim.
hypothesis_settings.register_profile("sluice", deadline=None)
hypothesis_settings.load_profile("sluice")


@pytest.fixture(scope="session")
def stack() -> Iterator[Settings]:
    """Start a stack of its own on free ports, with two compute workers; gives its settings."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-tests-"))
    folder.chmod(0o755)
    settings = Settings(
        project_dir=folder, data_dir=folder / ".sluice", worker=WorkerSettings(processes=2)
    )
    try:
        devstack.up(settings)
        yield devstack.with_embedded_addresses(settings)
    finally:
        devstack.down(settings, delete_data=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_address(stack: Settings) -> str:
    """Give `host:port` of the broker."""
    return stack.kafka.bootstrap_servers or ""


@pytest.fixture(scope="session")
def clickhouse_settings(stack: Settings) -> ClickHouseSettings:
    """Give the settings of the embedded ClickHouse."""
    return stack.clickhouse


@pytest.fixture(scope="session")
def postgres_dsn(stack: Settings) -> str:
    """Give the DSN of the embedded PostgreSQL."""
    return stack.postgres.dsn.get_secret_value() if stack.postgres.dsn else ""


@pytest.fixture(scope="session")
def timescale_dsn(stack: Settings) -> str:
    """Give the DSN of the embedded TimescaleDB."""
    return stack.timescaledb.dsn.get_secret_value() if stack.timescaledb.dsn else ""


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
    """Start an S3 server with the bucket `sluice-test`; gives where it is."""
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
