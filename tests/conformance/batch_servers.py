"""Batch targets under test: how each is opened, hooked and looked at."""

import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import cast

import pyarrow as pa
from clickhouse_connect.driver.asyncclient import AsyncClient

from common.errors import ServiceUnavailableError
from common.settings import ClickHouseSettings
from connectors.clickhouse_batch import ClickHouseBatchTarget
from connectors.clickhouse_client import ClickHouseConnection
from connectors.lake_batch import LakeBatchTarget
from connectors.object_store import ObstoreStore
from tests.conformance.batch_case import BatchCase, Hook

BATCH_KINDS = ("clickhouse", "lake")


class _HookedClient:
    """The changing half of a client behind a hook; the rest is the client's own."""

    def __init__(self, inner: AsyncClient, hook: Hook) -> None:
        self._inner = inner
        self._hook = hook
        self._count = 0
        self.query = inner.query
        self.query_arrow = inner.query_arrow
        self.close = inner.close

    async def command(self, statement: str) -> object:
        """Execute a statement."""
        await self._next()
        return await self._inner.command(statement)

    async def insert_arrow(self, name: str, rows: pa.Table, settings: dict[str, object]) -> None:
        """Insert rows."""
        await self._next()
        await self._inner.insert_arrow(name, rows, settings=settings)

    async def _next(self) -> None:
        self._count += 1
        await self._hook(self._count - 1)


class _HookedConnection(ClickHouseConnection):
    """A connection whose client awaits a hook before each statement and insert."""

    def __init__(self, settings: ClickHouseSettings, hook: Hook) -> None:
        super().__init__(settings)
        self._hook = hook
        self._counted: _HookedClient | None = None

    async def client(self) -> AsyncClient:
        """Give one and the same client, so that it goes on counting."""
        if self._counted is None:
            self._counted = _HookedClient(await super().client(), self._hook)
        return cast("AsyncClient", self._counted)


async def clickhouse_case(url: str, name: str) -> AsyncIterator[BatchCase]:
    """Give the case of ClickHouse."""
    settings = ClickHouseSettings(url=url)
    connection = ClickHouseConnection(settings)
    opened = [connection]

    def hooked(hook: Hook) -> ClickHouseBatchTarget:
        opened.append(_HookedConnection(settings, hook))
        return ClickHouseBatchTarget(opened[-1])

    async def catalogue() -> dict[str, str]:
        client = await connection.client()
        tables = await client.query(
            "SELECT name, engine, create_table_query FROM system.tables "
            "WHERE database = currentDatabase() AND "
            f"(startsWith(name, '{name}') OR startsWith(name, 'sluice_stage_'))"
        )
        found = {}
        for table, engine, query in tables.result_rows:
            source = f"`{table}`" + (" FINAL" if engine.startswith("Replacing") else "")
            content = await client.query(f"SELECT count(), sum(cityHash64(*)) FROM {source}")
            found[table] = f"{query} {content.result_rows}"
        return found

    yield BatchCase("clickhouse", ClickHouseBatchTarget(connection), catalogue, hooked, name)
    for one in opened:
        await one.close()


class _HookedStore(ObstoreStore):
    """A store that awaits a hook before each object that it makes or deletes."""

    def __init__(self, url: str, hook: Hook) -> None:
        super().__init__(url)
        self._hook = hook
        self._count = 0

    async def create(self, key: str, content: bytes) -> bool:
        """Create an object."""
        await self._next()
        return await super().create(key, content)

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects."""
        await self._next()
        await super().delete(keys)

    async def _next(self) -> None:
        self._count += 1
        try:
            await self._hook(self._count - 1)
        except OSError as error:
            raise ServiceUnavailableError("object store", self.url, str(error)) from error


async def lake_case(url: str, name: str) -> AsyncIterator[BatchCase]:
    """Give the case of the lake."""
    store = ObstoreStore(url)

    def hooked(hook: Hook) -> LakeBatchTarget:
        return LakeBatchTarget(_HookedStore(url, hook))

    async def catalogue() -> dict[str, str]:
        found = {}
        for key in await store.keys(""):
            found[key] = hashlib.sha256(await store.read(key) or b"").hexdigest()
        return found

    yield BatchCase("lake", LakeBatchTarget(store), catalogue, hooked, name)
