"""Batch targets under test: how each is opened, hooked and looked at."""

import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

import asyncpg
import pyarrow as pa
from clickhouse_connect.driver.asyncclient import AsyncClient

from common.errors import ServiceUnavailableError
from common.settings import ClickHouseSettings
from connectors.clickhouse_batch import ClickHouseBatchTarget
from connectors.clickhouse_client import ClickHouseConnection
from connectors.lake_batch import LakeBatchTarget
from connectors.object_store import ObstoreStore
from connectors.postgres_batch import PostgresBatchTarget
from connectors.timescale_batch import TimescaleBatchTarget
from tests.conformance.batch_case import BatchCase, Hook

BATCH_KINDS = ("clickhouse", "lake", "postgres", "timescaledb")


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

    others = await _staging_in_clickhouse(connection)

    async def catalogue() -> dict[str, str]:
        client = await connection.client()
        tables = await client.query(
            "SELECT name, engine, create_table_query FROM system.tables "
            "WHERE database = currentDatabase() AND "
            f"(startsWith(name, '{name}') OR startsWith(name, 'sluice_stage_'))"
        )
        found = {}
        for table, engine, query in tables.result_rows:
            if table in others:
                continue
            source = f"`{table}`" + (" FINAL" if engine.startswith("Replacing") else "")
            content = await client.query(f"SELECT count(), sum(cityHash64(*)) FROM {source}")
            found[table] = f"{query} {content.result_rows}"
        return found

    yield BatchCase("clickhouse", ClickHouseBatchTarget(connection), catalogue, hooked, name)
    for one in opened:
        await one.close()


async def _staging_in_clickhouse(connection: ClickHouseConnection) -> set[str]:
    """Name the staging that tests of crashes left on this server."""
    client = await connection.client()
    found = await client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() "
        "AND startsWith(name, 'sluice_stage_')"
    )
    return {str(row[0]) for row in found.result_rows}


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


class _HookedSession(asyncpg.Connection):  # type: ignore[misc]  # the driver has no types
    """A connection that awaits a hook before each statement that may change something.

    Within a transaction of the embedded TimescaleDB nobody else is served, so there the hook is
    awaited outside of transactions only.
    """

    hook: Hook
    alone = False
    count = 0

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the driver's own signature
        """Execute a statement."""
        await self._next()
        return await super().execute(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the driver's own signature
        """Execute a statement that tells what it did."""
        await self._next()
        return await super().fetchrow(query, *args, **options)

    async def copy_to_table(self, table_name: str, **options: Any) -> Any:  # noqa: ANN401 - the driver's own signature
        """Copy rows."""
        await self._next()
        return await super().copy_to_table(table_name, **options)

    async def _next(self) -> None:
        if self.alone and self.is_in_transaction():
            return
        kind = type(self)
        kind.count += 1
        try:
            await kind.hook(kind.count - 1)
        except OSError:
            self.terminate()
            raise


_TABLES = """
SELECT c.relname::text AS name, concat_ws(' ', c.relkind, obj_description(c.oid, 'pg_class'),
    (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull), ', '
        ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
        AND NOT attisdropped),
    (SELECT string_agg(pg_get_indexdef(indexrelid), ', ' ORDER BY 1) FROM pg_index
        WHERE indrelid = c.oid)) AS shape
FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'v')
    AND (starts_with(c.relname, $1) OR starts_with(c.relname, 'sluice_stage_'))
"""


async def postgres_case(dsn: str, name: str, kind: str) -> AsyncIterator[BatchCase]:
    """Give the case of PostgreSQL, or of TimescaleDB."""
    of_kind = {"postgres": PostgresBatchTarget, "timescaledb": TimescaleBatchTarget}[kind]
    opened: list[PostgresBatchTarget] = [of_kind(dsn)]
    connection = await asyncpg.connect(dsn, statement_cache_size=0)

    def hooked(hook: Hook) -> PostgresBatchTarget:
        class Session(_HookedSession):
            alone = kind == "timescaledb"

        Session.hook = staticmethod(hook)

        class Hooked(of_kind):  # type: ignore[misc, valid-type]  # the class under test
            connection_class = Session
            idle_ms = 200

        opened.append(Hooked(dsn))
        return opened[-1]

    # Tests of crashes leave staging on the server, which is none of this case.
    left = await connection.fetch(_TABLES, name)
    others = {row["name"] for row in left if row["name"].startswith("sluice_stage_")}

    async def catalogue() -> dict[str, str]:
        found = {}
        for table in await connection.fetch(_TABLES, name):
            if table["name"] in others:
                continue
            content = await connection.fetchval(
                "SELECT coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '') FROM "
                f'"{table["name"]}" AS t'
            )
            found[table["name"]] = (
                f"{table['shape']} {hashlib.sha256(content.encode()).hexdigest()}"
            )
        return found

    yield BatchCase(kind, opened[0], catalogue, hooked, name)
    for one in opened:
        await one.close()
    await connection.close(timeout=5)
