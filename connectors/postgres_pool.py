"""Connections to one PostgreSQL that are kept for the next use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from connectors.postgres_error import translated


class PostgresPool:
    """Connects at the first use, in the loop that asks, and again when it must.

    Args:
        dsn: `postgresql://user:password@host:port/database`.
        service: What messages call the server.
        wait_s: Longest wait for a free connection; None is for ever.
        options: What `asyncpg.create_pool` takes.
    """

    def __init__(
        self,
        dsn: str,
        service: str,
        *,
        wait_s: float | None = None,
        **options: Any,  # noqa: ANN401 - those of the driver
    ) -> None:
        self._dsn, self._service, self._wait_s = dsn, service, wait_s
        parts = urlsplit(dsn)
        self._address = f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
        self._options = options
        self._pool: asyncpg.Pool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting = asyncio.Lock()

    @asynccontextmanager
    async def session(self, action: str) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection; the driver's errors become ours, which name the action."""
        with translated(action, self._service, self._address):
            pool = await self._connected()
            async with pool.acquire(timeout=self._wait_s) as connection:
                yield connection

    async def _connected(self) -> asyncpg.Pool:
        """Give the pool of the running loop; it opens connections when they are asked for."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._pool, self._connecting = loop, None, asyncio.Lock()
        async with self._connecting:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(self._dsn, min_size=0, **self._options)
            return self._pool

    async def close(self) -> None:
        """Close the connections; the next use opens them again."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
