"""Servers that the sinks are tested against, once a session, on free ports."""

import asyncio
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import clickhouse_connect
import pytest

from common.settings import ClickHouseSettings, KafkaSettings
from connectors.clickhouse import ClickHouseSink
from connectors.kafka_flush_sink import KafkaFlushSink
from connectors.lake import LakeSink
from connectors.postgres import PostgresSink
from connectors.timescale import TimescaleSink
from devstack.postgres import postgres_account, postgres_service, settle_home
from devstack.postgres import postgres_dsn as postgres_dsn_of
from devstack.service import Service
from tests.conformance.batch_case import BatchCase
from tests.conformance.batch_servers import (
    BATCH_KINDS,
    clickhouse_case,
    lake_case,
    postgres_case,
)
from tests.conformance.sink_case import SinkCase

_START_LIMIT_S = 50


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(
                f"server did not start (exit code {process.poll()}): {log.read_text()[-2000:]}"
            )
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Path]:
    """A directory that an unprivileged uid can reach too."""
    path = Path(tempfile.mkdtemp(prefix="sluice-sinks-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _run_module(module: str, server_dir: Path) -> Iterator[int]:
    port, log = _free_port(), server_dir / f"{module}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                module,
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--data",
                str(server_dir / module),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until(lambda: _answers(port), process, log)
        yield port
    finally:
        _stop(process)


@pytest.fixture(scope="session")
def clickhouse_settings(server_dir: Path) -> Iterator[ClickHouseSettings]:
    for port in _run_module("devstack.clickhouse_server", server_dir):
        yield ClickHouseSettings(url=f"http://127.0.0.1:{port}")


@pytest.fixture(scope="session")
def timescale_dsn(server_dir: Path) -> Iterator[str]:
    if "SLUICE_TEST_TIMESCALE_DSN" in os.environ:
        yield os.environ["SLUICE_TEST_TIMESCALE_DSN"]
        return
    if importlib.util.find_spec("devstack.timescale") is None:
        pytest.skip("lacks devstack.timescale")
    for port in _run_module("devstack.timescale", server_dir):
        yield f"postgresql://postgres:postgres@127.0.0.1:{port}/postgres"


async def _prepare(service: Service) -> None:
    assert service.prepare is not None
    await service.prepare(lambda _: None)


async def _after_start(service: Service) -> None:
    assert service.after_start is not None
    await service.after_start()


@pytest.fixture(scope="session")
def postgres_server(server_dir: Path) -> Iterator[str]:
    port, log = _free_port(), server_dir / "postgres.log"
    service = postgres_service(
        settle_home(server_dir, None, postgres_account()), port=port, password="test"
    )
    asyncio.run(_prepare(service))
    account = service.account
    with log.open("wb") as output:
        process = subprocess.Popen(
            service.command(),
            stdout=output,
            stderr=subprocess.STDOUT,
            env=service.environment,
            cwd=service.working_dir,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    try:
        _wait_until(lambda: "ready to accept connections" in log.read_text(), process, log)
        asyncio.run(_after_start(service))
        yield postgres_dsn_of(port, "test")
    finally:
        _stop(process)


@pytest.fixture(scope="session")
def postgres_dsn(postgres_server: str) -> str:
    return postgres_server


class CopyingSink(PostgresSink):
    """Copies a chunk of any size; tests write small ones."""

    copy_rows = 0


@pytest.fixture(
    params=["clickhouse", "postgres", "postgres-copied", "timescaledb", "kafka", "lake"]
)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Kind and address of one server; a fixture without a loop, since starting PostgreSQL needs its
    own.
    """
    if request.param == "clickhouse":
        settings: ClickHouseSettings = request.getfixturevalue("clickhouse_settings")
        return request.param, settings.url or ""
    if request.param == "lake":
        return request.param, (tmp_path / "lake").as_uri()
    if request.param == "kafka":
        return request.param, request.getfixturevalue("kafka_address")
    fixture = "postgres_dsn" if request.param.startswith("postgres") else "timescale_dsn"
    return request.param, request.getfixturevalue(fixture)


def _kafka(address: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=address)


@pytest.fixture
async def case(server: tuple[str, str]) -> AsyncIterator[SinkCase]:
    kind, dsn = server
    if kind == "clickhouse":
        clickhouse = ClickHouseSink(ClickHouseSettings(url=dsn))
        client = await clickhouse_connect.get_async_client(dsn=dsn)

        async def execute_clickhouse(statement: str) -> None:
            await client.command(statement)

        yield SinkCase(kind, clickhouse, execute_clickhouse)
        await client.close()
        await clickhouse.close()
        return
    if kind in ("kafka", "lake"):

        async def refuse(statement: str) -> None:
            raise AssertionError(f"{kind} has no statements: {statement}")

        plain = LakeSink(dsn) if kind == "lake" else KafkaFlushSink(_kafka(dsn))
        yield SinkCase(kind, plain, refuse)
        await plain.close()
        return
    sinks = {"postgres": PostgresSink, "postgres-copied": CopyingSink}
    sink = sinks.get(kind, TimescaleSink)(dsn)

    async def execute_postgres(statement: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close(timeout=5)

    yield SinkCase(kind.removesuffix("-copied"), sink, execute_postgres)
    await sink.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A table name of this test's own."""
    return f"t{zlib.crc32(request.node.nodeid.encode()):08x}"


@pytest.fixture(params=BATCH_KINDS)
def batch_server(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Kind and address of one batch target."""
    if request.param == "lake":
        return request.param, (tmp_path / "lake").as_uri()
    if request.param in ("postgres", "timescaledb"):
        fixture = "postgres_dsn" if request.param == "postgres" else "timescale_dsn"
        return request.param, request.getfixturevalue(fixture)
    settings: ClickHouseSettings = request.getfixturevalue("clickhouse_settings")
    return request.param, settings.url or ""


@pytest.fixture
async def batch_case(batch_server: tuple[str, str], name: str) -> AsyncIterator[BatchCase]:
    kind, address = batch_server
    if kind in ("postgres", "timescaledb"):
        async for case in postgres_case(address, name, kind):
            yield case
        return
    cases = {"clickhouse": clickhouse_case, "lake": lake_case}
    async for case in cases[kind](address, name):
        yield case
