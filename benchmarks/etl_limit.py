"""The limit of `etl`: the same rows copied without looking at them, by nothing but the servers."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import asyncpg

from benchmarks.etl_table import COLUMNS, Table, clickhouse_command
from common.settings import Settings
from connectors.clickhouse_client import ClickHouseConnection

_AHEAD = 16
_INSERT_BYTES = 64 << 20
_CLICKHOUSE = (
    "id Int64, customer Int32, status String, product String, note Nullable(String), "
    "amount Decimal(12, 2), tax Nullable(Decimal(12, 2)), created DateTime64(6, 'UTC'), "
    "changed DateTime64(6, 'UTC'), day Date32, paid Bool, score Float64"
)
_CSV = {"date_time_input_format": "best_effort", "async_insert": 0}


async def copy_to_postgres(table: Table, target: str, streams: int) -> None:
    """Pipe binary COPY of the table into that of a new one, over so many pairs of connections."""
    connection = await asyncpg.connect(table.dsn, timeout=10)
    try:
        await connection.execute(f"CREATE TABLE {target} ({COLUMNS.replace(' PRIMARY KEY', '')})")
    finally:
        await connection.close()
    await asyncio.gather(
        *(_stream(table, target, *bounds) for bounds in shares(table.rows, streams))
    )


async def _stream(table: Table, target: str, first: int, last: int) -> None:
    source = await asyncpg.connect(table.dsn, timeout=10)
    sink = await asyncpg.connect(table.dsn, timeout=10)
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)

    async def taken() -> None:
        selected = _selected(table, first, last)
        await source.copy_from_query(selected, output=pieces.put, format="binary")
        await pieces.put(None)

    async def parts() -> AsyncIterator[bytes]:
        while (piece := await pieces.get()) is not None:
            yield piece

    async def given() -> None:
        await sink.copy_to_table(target, source=parts(), format="binary")

    try:
        await asyncio.gather(taken(), given())
    finally:
        await source.close()
        await sink.close()


async def copy_to_clickhouse(settings: Settings, table: Table, target: str, streams: int) -> None:
    """Pipe COPY of the table as CSV into inserts of 64 MB into a new table."""
    await clickhouse_command(
        settings, f"CREATE TABLE {target} ({_CLICKHOUSE}) ENGINE = MergeTree ORDER BY id"
    )
    await asyncio.gather(
        *(_inserts(settings, table, target, *b) for b in shares(table.rows, streams))
    )


async def _inserts(settings: Settings, table: Table, target: str, first: int, last: int) -> None:
    source = await asyncpg.connect(table.dsn, timeout=10)
    clickhouse = ClickHouseConnection(settings.clickhouse, 600)
    client = await clickhouse.client()
    waiting: list[bytes] = []
    size = 0
    under_way: asyncio.Task[object] | None = None

    async def insert() -> None:
        nonlocal waiting, size, under_way
        if under_way is not None:
            await under_way
        content, waiting, size = b"".join(waiting), [], 0
        under_way = asyncio.create_task(
            client.raw_insert(target, insert_block=content, fmt="CSV", settings=_CSV)
        )

    async def take(piece: bytes) -> None:
        nonlocal size
        waiting.append(piece)
        size += len(piece)
        if size >= _INSERT_BYTES // 2:
            await insert()

    try:
        await source.copy_from_query(_selected(table, first, last), output=take, format="csv")
        await insert()
        if under_way is not None:
            await under_way
    finally:
        await source.close()
        await clickhouse.close()


def _selected(table: Table, first: int, last: int) -> str:
    """Give the query of a share; of the whole table as it lies on disk."""
    whole = first == 1 and last == table.rows
    return f"SELECT * FROM {table.name}" + (
        "" if whole else f" WHERE id BETWEEN {first} AND {last}"
    )


def shares(rows: int, streams: int) -> list[tuple[int, int]]:
    """Cut ids from 1 to `rows` into as many ranges, first and last id of each."""
    bounds = [rows * place // streams for place in range(streams + 1)]
    return [(first + 1, last) for first, last in pairwise(bounds)]
