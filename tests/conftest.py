"""The embedded stack, started once per run for all tests that need services."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from common.settings import ClickHouseSettings, Settings, WorkerSettings
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
