"""The ways into a PostgreSQL table give the same rows, and the server says which there are."""

from collections.abc import AsyncIterator

import asyncpg
import pyarrow as pa
import pytest

from activities.ports import SinkTable
from connectors.postgres import PostgresSink
from connectors.postgres_load import COPY_ROWS, ChunkLoader
from connectors.sink_rows import conform
from tests.conformance.sink_case import MINUTE_MS, chunk_of, table_of

ROWS = COPY_ROWS + 50


def _rows(table: SinkTable, flush_seq: int, first: int, count: int) -> pa.Table:
    chunk = chunk_of(table, flush_seq)
    start = pa.array([minute * MINUTE_MS for minute in range(first, first + count)])
    columns = {
        "window_start": start.cast(pa.timestamp("ms", "UTC")),
        "window_end": start.cast(pa.timestamp("ms", "UTC")),
        "category": pa.array([f"c{flush_seq}"] * count),
        "sales": pa.array([flush_seq] * count, pa.int64()),
        "best": pa.array([None, 0.5] * (count // 2), pa.float64()),
        "_key": pa.array(["k"] * count),
        "_version": pa.array([chunk.version] * count, pa.int64()),
        "_deleted": pa.array([False] * count, pa.bool_()),
    }
    return conform(table, chunk, pa.table(columns))


@pytest.fixture
async def table(postgres_dsn: str, name: str) -> AsyncIterator[SinkTable]:
    declared, sink = table_of(name), PostgresSink(postgres_dsn)
    await sink.prepare(declared)
    yield declared
    await sink.close()


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(postgres_dsn)
    yield opened
    await opened.close()


async def _load(
    connection: asyncpg.Connection, loader: ChunkLoader, table: SinkTable, rows: pa.Table
) -> None:
    copied = await loader.choose(connection, len(rows))
    async with connection.transaction():
        await loader.load(connection, table, rows, copied=copied)


async def test_copied_rows_meet_older_and_newer_ones_as_stated_rows_do(
    connection: asyncpg.Connection, table: SinkTable
) -> None:
    loader = ChunkLoader()
    for flush_seq, first in ((2, 0), (5, ROWS), (3, ROWS // 2), (3, ROWS // 2), (9, 3 * ROWS)):
        await _load(connection, loader, table, _rows(table, flush_seq, first, ROWS))
    found = await connection.fetch(
        f'SELECT sales, count(*) AS rows FROM "{table.name}" GROUP BY sales ORDER BY sales'
    )
    assert [tuple(row) for row in found] == [
        (2, ROWS // 2), (3, ROWS // 2), (5, ROWS), (9, ROWS),
    ]  # fmt: skip


async def test_a_chunk_that_was_rolled_back_leaves_nothing_for_the_next(
    connection: asyncpg.Connection, table: SinkTable
) -> None:
    """Rows of the session's own table outlived nothing: it empties itself with the transaction."""
    loader = ChunkLoader()
    await _load(connection, loader, table, _rows(table, 1, 0, ROWS))
    transaction = connection.transaction()
    await transaction.start()
    await loader.load(connection, table, _rows(table, 2, 0, ROWS), copied=True)
    await transaction.rollback()
    await _load(connection, loader, table, _rows(table, 3, ROWS - 2, ROWS))
    found = await connection.fetch(
        f'SELECT sales, count(*) AS rows FROM "{table.name}" GROUP BY sales ORDER BY sales'
    )
    assert [tuple(row) for row in found] == [(1, ROWS - 2), (3, ROWS)]


async def test_few_rows_are_stated_and_many_are_copied(connection: asyncpg.Connection) -> None:
    loader = ChunkLoader()
    assert await loader.probe(connection) == []
    assert not await loader.choose(connection, COPY_ROWS - 1)
    assert await loader.choose(connection, COPY_ROWS)


async def test_the_embedded_timescaledb_says_that_it_has_no_copy(timescale_dsn: str) -> None:
    connection = await asyncpg.connect(timescale_dsn)
    loader = ChunkLoader()
    try:
        if "emcc" not in await connection.fetchval("SELECT version()"):
            pytest.skip("lacks a TimescaleDB without COPY")
        assert await loader.probe(connection) == []
        assert not await loader.choose(connection, COPY_ROWS)
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close(timeout=5)


async def test_a_user_without_temporary_tables_is_served_by_statements(
    connection: asyncpg.Connection, table: SinkTable, postgres_dsn: str
) -> None:
    role, database = f"r_{table.name}", await connection.fetchval("SELECT current_database()")
    await connection.execute(
        f'REVOKE TEMPORARY ON DATABASE "{database}" FROM PUBLIC; CREATE ROLE {role} LOGIN '
        f"PASSWORD 'x'; GRANT SELECT, INSERT, UPDATE ON \"{table.name}\" TO {role}"
    )
    other = await asyncpg.connect(postgres_dsn, user=role, password="x")
    loader = ChunkLoader()
    try:
        [note] = await loader.probe(other)
        assert "GRANT TEMPORARY" in note
        await _load(other, loader, table, _rows(table, 1, 0, ROWS))
    finally:
        await other.close()
        await connection.execute(f'GRANT TEMPORARY ON DATABASE "{database}" TO PUBLIC')
    assert await connection.fetchval(f'SELECT count(*) FROM "{table.name}"') == ROWS
