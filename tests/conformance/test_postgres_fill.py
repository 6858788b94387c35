"""Sample tables in a real PostgreSQL: all of them or none, and never over somebody's own."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import polars as pl
import pyarrow as pa
import pytest

from common.errors import UsageError
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
from starter.main import run

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
    summary = await write_orders(postgres_dsn, shape, fresh=False, progress=told.append)
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
    with pytest.raises(UsageError, match="table `orders`: expected none of this name"):
        await write_orders(postgres_dsn, OrdersShape(10), fresh=False, progress=lambda _: None)
    assert await connection.fetchval("SELECT to_regclass('customers')") is None
    assert await connection.fetchval("SELECT count(mine) FROM orders") == 0
    for rows in (10, 20):
        await write_orders(postgres_dsn, OrdersShape(rows), fresh=True, progress=lambda _: None)
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


def test_orders_go_into_a_connection_by_name(
    postgres_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They could go nowhere but into the stack's own database."""
    (tmp_path / "sluice.toml").write_text(
        '[connections.shop]\nkind = "postgres"\ndsn = "${SHOP_DSN}"\n'
        '[connections.other]\nkind = "clickhouse"\ndsn = "http://localhost"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_DSN", postgres_dsn)
    generate = ["generate", "orders", "--rows", "1000", "--fresh", "--connection"]
    assert run([*generate, "shop", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"]["orders"] == 1_000
    assert run([*generate, "shopp"]) == 2
    told = "expected one of [connections], got shop, other; did you mean `shop`?"
    assert told in capsys.readouterr().err
    assert run([*generate, "other"]) == 2
    assert "expected kind postgres or timescaledb, got clickhouse" in capsys.readouterr().err
    assert run(generate[:-1]) == 2
    assert "`postgres.dsn`: expected an address, got none; run `sluice up`" in (
        capsys.readouterr().err
    )
