"""Health checks: None when a service answers in its own protocol, else the reason."""

import asyncio
import struct
import time
from pathlib import Path

import asyncpg

from devstack.port import HOST

_TIMEOUT_S = 5.0
_KAFKA_API_VERSIONS = 18


async def probe_tcp(port: int) -> str | None:
    """Connect and leave."""
    answer = await _exchange(port, b"", 0)
    return answer if isinstance(answer, str) else None


async def probe_http(port: int, path: str) -> str | None:
    """Ask for a page and accept any status below 500."""
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode()
    answer = await _exchange(port, request, 12)
    if isinstance(answer, str):
        return answer
    if not answer.startswith(b"HTTP/1."):
        return f"port {port} does not speak HTTP"
    return None if answer[9:10] < b"5" else f"HTTP status {answer[9:12].decode()}"


async def probe_kafka(port: int) -> str | None:
    """Ask the broker for its API versions (Kafka protocol, request 18 version 0)."""
    body = struct.pack(">hhih", _KAFKA_API_VERSIONS, 0, 1, -1)
    answer = await _exchange(port, struct.pack(">i", len(body)) + body, 10)
    if isinstance(answer, str):
        return answer
    _, correlation, error = struct.unpack(">iih", answer)
    if correlation != 1 or error:
        return f"answer with correlation {correlation} and error {error}"
    return None


async def probe_postgres(dsn: str) -> str | None:
    """Open a session and close it."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            connection = await asyncpg.connect(dsn, timeout=_TIMEOUT_S)
            await connection.close(timeout=_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return str(error) or type(error).__name__
    return None


def probe_ready_file(path: Path, not_before: float) -> str | None:
    """Accept a file that was written at or after a time, in seconds since the epoch."""
    try:
        written = path.stat().st_mtime
    except OSError:
        return "has not said that it is ready"
    # File systems may round a time of modification down to the second.
    return None if written >= int(not_before) else "has not said that it is ready"


async def _exchange(port: int, request: bytes, length: int) -> bytes | str:
    """Send a request and read `length` bytes of the answer; a text is the reason of a failure."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(request)
                return await reader.readexactly(length)
            finally:
                writer.close()
    except asyncio.IncompleteReadError:
        return f"port {port} closed the connection"
    except TimeoutError:
        return f"no answer from port {port} within {time.monotonic() - started:.0f} s"
    except OSError as error:
        return f"port {port}: {error.strerror or error}"
