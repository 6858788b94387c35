"""A connection to ClickHouse that is made at its first use, and again on another event loop."""

import asyncio
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.asyncclient import AsyncClient

from common.errors import SettingsError
from common.settings import ClickHouseSettings
from connectors.clickhouse_error import translated


class ClickHouseConnection:
    """One client of a server.

    Args:
        settings: Address, database and account.
        answer_s: Seconds that an answer may take.

    Raises:
        SettingsError: There is no address.
    """

    def __init__(self, settings: ClickHouseSettings, answer_s: int = 120) -> None:
        if settings.url is None:
            raise SettingsError(
                "`clickhouse.url`: expected an address, got none; run `sluice up` or set it"
            )
        self.address = settings.url
        self._settings = settings
        self._answer_s = answer_s
        self._client: AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting = asyncio.Lock()

    async def client(self) -> AsyncClient:
        """Give the client of the running loop, connecting if there is none."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._client, self._connecting = loop, None, asyncio.Lock()
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def close(self) -> None:
        """Close the connections; the next use opens them again."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connect(self) -> AsyncClient:
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise SettingsError(
                f"`clickhouse.url`: expected http://host:port, got {self.address!r}; correct it"
            )
        secure = parts.scheme == "https"
        with translated("connecting", self.address):
            return await clickhouse_connect.get_async_client(
                host=parts.hostname,
                port=parts.port or (8443 if secure else 8123),
                secure=secure,
                database=self._settings.database,
                username=self._settings.username,
                password=self._settings.password.get_secret_value(),
                connect_timeout=5,
                send_receive_timeout=self._answer_s,
                autogenerate_session_id=False,
            )
