"""Other loaders over the same table, where the environment says that they are installed.

Each is in a virtual environment of its own; the variable names its Python. Nothing of it is
needed here.
"""

import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.etl_table import Table
from benchmarks.line import say
from benchmarks.machine import SAMPLE_S

PEER_S = 1_800
_DLT = """
import dlt, sys
from dlt.sources.sql_database import sql_table
source, target, table, dataset, name = sys.argv[1:]
rows = sql_table(credentials=source, table=table, backend="connectorx", chunk_size=100_000,
                 reflection_level="full_with_precision").with_name(name)
made = dlt.pipeline("bench", destination=dlt.destinations.postgres(target), dataset_name=dataset)
made.run(rows, write_disposition="append", loader_file_format="csv")
"""


@dataclass(frozen=True)
class Peer:
    """A loader that is installed.

    Attributes:
        variable: Environment variable that names its interpreter.
    """

    name: str
    variable: str

    @property
    def python(self) -> Path | None:
        """Its interpreter, if the environment names one."""
        found = os.environ.get(self.variable)
        return Path(found).absolute() if found else None


PEERS = (
    Peer("dlt", "SLUICE_BENCH_DLT_PYTHON"),
    Peer("sling", "SLUICE_BENCH_SLING_PYTHON"),
    Peer("ingestr", "SLUICE_BENCH_INGESTR_PYTHON"),
)


def find_peers() -> list[Peer]:
    """Give the peers that are there; says of the others how they are named."""
    for peer in PEERS:
        if peer.python is None:
            say(f"{peer.name} is left out: {peer.variable} names no Python that has it")
    return [peer for peer in PEERS if peer.python is not None]


async def run_peer(peer: Peer, table: Table, target: str) -> int:
    """Let a peer load the table as `public.<target>`; gives its largest resident memory in bytes.

    Raises:
        ValueError: It failed.
    """
    with tempfile.TemporaryDirectory(prefix="sluice-peer-") as home:
        command = _command(peer, table, target)
        kept = {"PATH": os.environ.get("PATH", ""), "HOME": home}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=home, env=kept | _environment(peer, table),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        sampler = asyncio.create_task(_peak(process.pid))
        output, _ = await asyncio.wait_for(process.communicate(), PEER_S)
        peak_bytes = await sampler
    if process.returncode:
        raise ValueError(f"{peer.name}: expected it to load the table, got {output[-2000:]!r}")
    return peak_bytes


def _command(peer: Peer, table: Table, target: str) -> list[str]:
    python = str(peer.python)
    beside = Path(python).parent / peer.name
    if peer.name == "dlt":
        return [python, "-c", _DLT, table.dsn, table.dsn, table.name, "public", target]
    if peer.name == "sling":
        return [
            str(beside), "run", "--src-conn", "BENCH", "--src-stream", f"public.{table.name}",
            "--tgt-conn", "BENCH", "--tgt-object", f"public.{target}", "--mode", "full-refresh",
        ]  # fmt: skip
    return [
        str(beside), "ingest", "--yes", "--source-uri", table.dsn, "--source-table",
        f"public.{table.name}", "--dest-uri", table.dsn, "--dest-table", f"public.{target}",
    ]  # fmt: skip


def _environment(peer: Peer, table: Table) -> dict[str, str]:
    if peer.name == "sling":
        return {"BENCH": f"{table.dsn}?sslmode=disable"}
    return {"RUNTIME__DLTHUB_TELEMETRY": "false", "DISABLE_TELEMETRY": "true"}


async def _peak(pid: int) -> int:
    """Watch a process and its children until it ends."""
    peak = 0
    try:
        process = psutil.Process(pid)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in family))
            await asyncio.sleep(SAMPLE_S)
    except psutil.NoSuchProcess:
        pass
    return peak
