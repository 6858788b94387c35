"""The embedded ClickHouse and TimescaleDB: Python modules that run a server in the foreground."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from devstack.port import HOST
from devstack.probe import probe_http, probe_postgres
from devstack.service import Report, Service

CANNOT_RUN_HERE = 3
"""Exit code of a server that this machine cannot run, whatever is tried."""


def clickhouse_service(data_dir: Path, *, port: int) -> Service:
    """Describe the ClickHouse server of a stack; its tables live in `<data_dir>/clickhouse`."""

    async def probe(_started: float) -> str | None:
        return await probe_http(port, "/ping")

    return Service(
        "clickhouse",
        _command("devstack.clickhouse_server", port, data_dir / "clickhouse"),
        probe,
        _prepare(data_dir / "clickhouse"),
        stop_timeout_s=30,
    )


def timescaledb_service(data_dir: Path, *, port: int) -> Service:
    """Describe the TimescaleDB server of a stack; its data lives in `<data_dir>/timescaledb`."""

    async def probe(_started: float) -> str | None:
        return await probe_postgres(timescaledb_dsn(port))

    return Service(
        "timescaledb",
        _command("devstack.timescale", port, data_dir / "timescaledb"),
        probe,
        _prepare(data_dir / "timescaledb"),
        start_timeout_s=300,  # the first start of all fetches its packages
        stop_timeout_s=30,
        refusal_code=CANNOT_RUN_HERE,
    )


def timescaledb_dsn(port: int) -> str:
    """Compose the address; the server takes any user without a password."""
    return f"postgresql://postgres@{HOST}:{port}/postgres"


def _command(module: str, port: int, data: Path) -> Callable[[], list[str]]:
    return lambda: [
        sys.executable, "-P", "-m", module, "--host", HOST, "--port", str(port), "--data", str(data)
    ]  # fmt: skip


def _prepare(folder: Path) -> Callable[[Report], Awaitable[None]]:
    async def prepare(_report: Report) -> None:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)

    return prepare
