"""Sample tables in a real PostgreSQL: all of them or none, and never over somebody's own."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import polars as pl
import pyarrow as pa
import pytest
from pydantic import SecretStr

from common.errors import SettingsError, UsageError
from common.settings import PostgresSettings
from connectors.postgres_copy_out import copy_out
from connectors.postgres_fill import FilledTable, fill_tables
from connectors.postgres_type import type_named
from devstack.sample.orders import (
    OrdersShape,
    customers_table,
    fault_counts,
    orders_batches,
    products_table,
)
from starter.generate_tables import CUSTOMERS, ORDERS, PRODUCTS, write_orders

TABLES = ("customers", "products", "orders")


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(postgres_dsn)
    await opened.execute(f"DROP TABLE IF EXISTS {', '.join(TABLES)}")
    yield opened
    await opened.execute(f"DROP TABLE IF EXISTS {', '.join(TABLES)}")
    await opened.close()


async def _read(
    connection: asyncpg.Connection, table: str, columns: dict[str, str]
) -> pl.DataFrame:
    kinds = [(name, type_named(kind.removesuffix(" NOT NULL"))) for name, kind in columns.items()]
    query = f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1"
    batches = [batch.rows async for batch in copy_out(connection, query, kinds)]
    return pl.DataFrame(pa.Table.from_batches(batches))


async def test_orders_are_in_postgres_as_they_were_made(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    shape, told = OrdersShape(3_000, customers=200, products=100), list[int]()
    where = PostgresSettings(dsn=SecretStr(postgres_dsn))
    summary = await write_orders(where, shape, fresh=False, progress=told.append)
    assert summary.tables == {"customers": 200, "products": 100, "orders": 3_000}
    assert sum(summary.faults.values()) == sum(fault_counts(3_000).values())
    assert told == [3_000]
    made = {
        "customers": (customers_table(shape), CUSTOMERS),
        "products": (products_table(shape), PRODUCTS),
        "orders": (pa.Table.from_batches(list(orders_batches(shape))), ORDERS),
    }
    for table, (rows, columns) in made.items():
        assert (await _read(connection, table, columns)).equals(pl.DataFrame(rows)), table


async def test_a_table_that_is_there_is_kept_unless_it_may_go(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await connection.execute("CREATE TABLE orders (mine integer)")
    where = PostgresSettings(dsn=SecretStr(postgres_dsn))
    with pytest.raises(UsageError, match="table `orders`: expected none of this name"):
        await write_orders(where, OrdersShape(10), fresh=False, progress=lambda _: None)
    assert await connection.fetchval("SELECT to_regclass('customers')") is None
    assert await connection.fetchval("SELECT count(mine) FROM orders") == 0
    for rows in (10, 20):
        await write_orders(where, OrdersShape(rows), fresh=True, progress=lambda _: None)
        assert await connection.fetchval("SELECT count(*) FROM orders") == rows


async def test_rows_that_fail_half_way_leave_no_table(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"n": pa.array([1, 2])})
        raise ValueError("gone")

    good = FilledTable("customers", {"n": "bigint"}, [pa.record_batch({"n": pa.array([1])})], "n")
    bad = FilledTable("orders", {"n": "bigint"}, broken(), "n")
    with pytest.raises(ValueError, match="gone"):
        await fill_tables(postgres_dsn, [good, bad])
    for table in ("customers", "orders"):
        assert await connection.fetchval("SELECT to_regclass($1)", table) is None


async def test_without_an_address_somebody_is_told_what_to_do() -> None:
    with pytest.raises(SettingsError, match="run `sluice up`"):
        await write_orders(PostgresSettings(), OrdersShape(1), fresh=False, progress=lambda _: None)
