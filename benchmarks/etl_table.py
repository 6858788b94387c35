"""The table that `etl` loads, and what proves that a copy of it is whole."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.line import say
from common.settings import Settings
from connectors.clickhouse_client import ClickHouseConnection
from connectors.named_connection import postgres_dsn

COLUMNS = (
    "id bigint PRIMARY KEY, customer integer NOT NULL, status text NOT NULL, product text NOT NULL,"
    " note text, amount numeric(12,2) NOT NULL, tax numeric(12,2), created timestamptz NOT NULL,"
    " changed timestamptz NOT NULL, day date NOT NULL, paid boolean NOT NULL, score float8 NOT NULL"
)
_ROWS = """
SELECT n, (n * 7919) % 1000003, (ARRAY['open', 'paid', 'shipped', 'returned'])[1 + n % 4],
       'product ' || (n * 31) % 5000,
       CASE WHEN n % 5 > 0 THEN 'order ' || n || ' of customer ' || (n * 7919) % 1000003 END,
       (n * 37 % 1000000) / 100.0, CASE WHEN n % 9 > 0 THEN (n * 7 % 90000) / 100.0 END,
       '2026-01-01T00:00Z'::timestamptz + n * interval '1.000123 second',
       '2026-01-02T00:00Z'::timestamptz + n * interval '1.000321 second',
       '2026-01-01'::date + (n / 86400)::int, n % 3 = 0, sqrt(n)
FROM generate_series(1, $1::bigint) n
"""
SUMS = ("count(*)", "sum(id)", "sum(customer)", "sum(amount)", "sum(tax)", "count(note)")
"""What has to be the same in a copy."""


@dataclass(frozen=True)
class Table:
    """A table of the embedded PostgreSQL that is there and at rest."""

    dsn: str
    name: str
    rows: int
    sums: tuple[int, ...]


async def fill_table(settings: Settings, rows: int) -> Table:
    """Write the table, unless it is there already."""
    dsn, name = postgres_dsn(None, settings), f"bench_etl_{rows}"
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        if await connection.fetchval("SELECT to_regclass($1) IS NULL", name):
            started = time.perf_counter()
            async with connection.transaction():
                await connection.execute(f"CREATE TABLE {name} ({COLUMNS})")
                written = _ROWS.replace("$1", str(rows))
                await connection.execute(f"INSERT INTO {name} {written}")
            await connection.execute(f"VACUUM ANALYZE {name}")
            await connection.execute("CHECKPOINT")
            say(f"table {name}: {rows:,} rows written in {time.perf_counter() - started:.1f} s")
    finally:
        await connection.close()
    return Table(dsn, name, rows, await postgres_sums(dsn, name))


async def postgres_sums(dsn: str, name: str) -> tuple[int, ...]:
    """Add up a table of PostgreSQL; amounts in hundredths."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        found = await connection.fetchrow(f"SELECT {', '.join(SUMS)} FROM {name}")
    finally:
        await connection.close()
    return _whole(found)


async def drop_table(dsn: str, name: str) -> None:
    """Drop a table of PostgreSQL with its views, and have its pages written before what follows."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(f"DROP TABLE IF EXISTS {name} CASCADE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def clickhouse_sums(settings: Settings, name: str) -> tuple[int, ...]:
    """Add up a table of ClickHouse; amounts in hundredths."""
    connection = ClickHouseConnection(settings.clickhouse)
    try:
        client = await connection.client()
        found = await client.query(f"SELECT {', '.join(SUMS)} FROM {name}")
        return _whole(found.result_rows[0])
    finally:
        await connection.close()


async def clickhouse_command(settings: Settings, *statements: str) -> None:
    """Run statements in ClickHouse."""
    connection = ClickHouseConnection(settings.clickhouse)
    try:
        client = await connection.client()
        for statement in statements:
            await client.command(statement)
    finally:
        await connection.close()


def require_same(table: Table, found: tuple[int, ...], what: str) -> None:
    """Refuse a copy that is not whole."""
    if found != table.sums:
        raise ValueError(f"{what}: expected {', '.join(SUMS)} = {table.sums}, got {found}")


def _whole(values: Iterable[Any]) -> tuple[int, ...]:
    count, ids, customers, amount, tax, notes = values
    return int(count), int(ids), int(customers), round(amount * 100), round(tax * 100), int(notes)
