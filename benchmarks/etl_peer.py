"""Other loaders over the same table, each in a virtual environment of its own.

Nothing of them is needed here. The environments are made in a folder that the command line names,
with the newest versions that pip installs whole: later ones of some fetch their program from
elsewhere when they are first used.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.etl_table import Table
from benchmarks.line import say
from benchmarks.machine import SAMPLE_S

PEER_S = 1_800
_INSTALL_S = 900
_DLT = """
import dlt, sys
from dlt.sources.sql_database import sql_table
source, target, table, dataset, name = sys.argv[1:]
rows = sql_table(credentials=source, table=table, backend="connectorx", chunk_size=100_000,
                 reflection_level="full_with_precision").with_name(name)
made = dlt.pipeline("bench", destination=dlt.destinations.postgres(target), dataset_name=dataset,
                    pipelines_dir="pipelines")
made.run(rows, write_disposition="append", loader_file_format="parquet")
"""
"""As Parquet through ADBC: as CSV it writes every row anew, for most of its time. In a folder of
this run: in its own it finds what an earlier one left, and loads that first.
"""


@dataclass(frozen=True)
class Peer:
    """A loader.

    Attributes:
        requirements: What pip installs.
        python: Its interpreter.
    """

    name: str
    requirements: tuple[str, ...]
    python: Path = Path()


PEERS = (
    Peer(
        "dlt",
        (
            "dlt[postgres]==1.31.0", "connectorx==0.4.6", "sqlalchemy<2.1", "psycopg2-binary",
            "pyarrow", "pandas", "adbc-driver-postgresql", "adbc-driver-manager",
        ),
    ),
    Peer("sling", ("sling==1.3.5",)),
    Peer("ingestr", ("ingestr==0.15.9",)),
)  # fmt: skip


def find_peers(folder: Path | None) -> list[Peer]:
    """Give the peers of a folder, made where they are missing; one that pip cannot make is not.

    Args:
        folder: Holds an environment for each; None leaves them out.
    """
    if folder is None:
        say("other loaders are left out: --peers names no folder for them")
        return []
    found = []
    for peer in PEERS:
        home = folder / peer.name
        done = home / "installed"
        wanted = "\n".join(peer.requirements)
        if (not done.exists() or done.read_text() != wanted) and not _install(peer, home):
            continue
        done.write_text(wanted)
        found.append(Peer(peer.name, peer.requirements, home / "bin" / "python"))
    return found


def _install(peer: Peer, home: Path) -> bool:
    say(f"{peer.name} is installed in {home}")
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *peer.requirements]
    for command in ([sys.executable, "-m", "venv", str(home)], pip):
        done = subprocess.run(command, check=False, capture_output=True, timeout=_INSTALL_S)
        if done.returncode:
            say(f"{peer.name} is left out: {done.stderr.decode()[-500:]}")
            return False
    return True


class PeerFailedError(Exception):
    """A peer has not loaded the table."""


async def run_peer(peer: Peer, table: Table, target: str) -> int:
    """Let a peer load the table as `public.<target>`; gives its largest resident memory in bytes.

    Raises:
        PeerFailedError: It failed, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="sluice-peer-") as home:
        command = _command(peer, table, target)
        kept = {"PATH": os.environ.get("PATH", ""), "HOME": home}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=home, env=kept | _environment(peer, table),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        sampler = asyncio.create_task(_peak(process.pid))
        try:
            output, _ = await asyncio.wait_for(process.communicate(), PEER_S)
        except TimeoutError:
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                one.kill()
            await process.wait()
            raise PeerFailedError(f"{peer.name}: stopped after {PEER_S} s") from None
        finally:
            peak_bytes = await sampler
    if process.returncode:
        raise PeerFailedError(f"{peer.name}: {output[-2000:].decode(errors='replace')}")
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
