"""The embedded Temporal server with its Web UI and a database file."""

import os
import shutil
import sys
from pathlib import Path

from common.errors import FatalError
from devstack.port import HOST
from devstack.probe import probe_http, probe_tcp
from devstack.service import Report, Service
from devstack.tool import run_tool

# The defaults guard a shared cluster; this one serves a single user and must not be throttled.
_DYNAMIC_CONFIG = {
    "frontend.rps": "100000",
    "frontend.namespaceRPS": "100000",
    "frontend.namespaceBurstRatio": "2",
    "frontend.persistenceMaxQPS": "100000",
    "history.rps": "100000",
    "history.persistenceMaxQPS": "100000",
    "matching.rps": "100000",
    "matching.persistenceMaxQPS": "100000",
}


def find_temporal() -> Path:
    """Find the `temporal` program of this environment, else one on the PATH.

    Raises:
        FatalError: There is none.
    """
    beside = Path(sys.executable).with_name("temporal")
    found = beside if beside.is_file() else shutil.which("temporal")
    if found is None:
        raise FatalError(
            f"temporal: expected its program at `{beside}` or on the PATH, got none; "
            "install the environment again"
        )
    return Path(found)


def temporal_service(
    data_dir: Path, *, port: int, ui_port: int, namespace: str, retention_days: int
) -> Service:
    """Describe the Temporal server of a stack; its database lives in `<data_dir>/temporal`.

    Args:
        data_dir: Folder of the stack.
        port: Port of the frontend.
        ui_port: Port of the Web UI, served by the same process.
        namespace: Made at the start if it is not there.
        retention_days: Set on the namespace after every start.
    """
    database = data_dir / "temporal" / "temporal.db"
    address = f"{HOST}:{port}"

    async def prepare(_report: Report) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)

    def command() -> list[str]:
        options = [
            f"--dynamic-config-value={key}={value}" for key, value in _DYNAMIC_CONFIG.items()
        ]
        return [
            str(find_temporal()), "server", "start-dev", "--headless=false", "--ip", HOST,
            "--port", str(port), "--ui-port", str(ui_port), "--db-filename", str(database),
            "--namespace", namespace, "--log-level", "warn", "--ui-disable-news-fetch", *options,
        ]  # fmt: skip

    async def probe(_started: float) -> str | None:
        return await probe_tcp(port) or await probe_http(ui_port, "/")

    async def after_start() -> None:
        await run_tool(
            "retention of the temporal namespace",
            [
                find_temporal(), "operator", "namespace", "update", "--namespace", namespace,
                "--retention", f"{retention_days}d", "--address", address,
            ],
            environment=dict(os.environ),
            timeout_s=30,
        )  # fmt: skip

    return Service(
        "temporal",
        command,
        probe,
        prepare,
        after_start,
        aliases=("temporal-ui",),
        stop_timeout_s=15,
    )
