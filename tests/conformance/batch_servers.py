"""Batch targets under test: how each is opened, hooked and looked at."""

from collections.abc import AsyncIterator
from typing import cast

import pyarrow as pa
from clickhouse_connect.driver.asyncclient import AsyncClient

from common.settings import ClickHouseSettings
from connectors.clickhouse_batch import ClickHouseBatchTarget
from connectors.clickhouse_client import ClickHouseConnection
from tests.conformance.batch_case import BatchCase, Hook

BATCH_KINDS = ("clickhouse",)


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
