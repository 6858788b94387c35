"""PostgreSQL as a source of batches, against the embedded server."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import asyncpg
import polars as pl
import pytest

from activities.etl_ports import ChunkReader
from batch.chunk import Chunk, CursorWindow, SourceShape
from common.errors import SourceRefusedError
from connectors.postgres_source import PostgresBatchSource
from pipelines.etl_source import PostgresSource

BLOCK = 1 << 20
NO_WINDOW = CursorWindow()


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_dsn)
    yield connection
    await connection.close()


async def filled(connection: asyncpg.Connection, name: str, rows: int) -> None:
    """Make a table with holes in its key, and times that ascend with it."""
    await connection.execute(f"DROP TABLE IF EXISTS {name}")
    await connection.execute(
        f"CREATE TABLE {name} (id bigint PRIMARY KEY, note text, changed timestamptz NOT NULL)"
    )
    await connection.execute(
        f"INSERT INTO {name} SELECT n::bigint * n, 'row ' || n, "
        f"'2026-05-01T00:00Z'::timestamptz + n * interval '1 second' "
        f"FROM generate_series(1, {rows}) n"
    )


async def ids(
    reader: ChunkReader, shape: SourceShape, window: CursorWindow, chunks: list[Chunk]
) -> list[int]:
    found: list[int] = []
    for chunk in chunks:
        async for block in reader.read(shape, window, chunk, BLOCK):
            found += block.rows["id"].to_pylist()
    return found


@pytest.mark.parametrize("chunk_rows", [1_000_000, 1_000, 77])
async def test_chunks_hold_every_row_once(
    connection: asyncpg.Connection, postgres_dsn: str, chunk_rows: int
) -> None:
    await filled(connection, "source_whole", 5_000)
    source = PostgresBatchSource(postgres_dsn, PostgresSource(table="source_whole"))

    shape = await source.describe()
    chunks = await source.plan(shape, NO_WINDOW, chunk_rows)

    assert len(chunks) == -(-5_000 // chunk_rows)
    found = await ids(source, shape, NO_WINDOW, chunks)
    assert sorted(found) == [n * n for n in range(1, 5_001)]
    assert shape.primary_key == ["id"]
    assert shape.columns == {"id": "int64", "note": "string?", "changed": "timestamp(6)"}


async def test_a_large_table_is_cut_by_a_sample_of_its_pages(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await filled(connection, "source_large", 400_000)
    source = PostgresBatchSource(postgres_dsn, PostgresSource(table="source_large"))

    shape = await source.describe()
    chunks = await source.plan(shape, NO_WINDOW, 50_000)

    sizes = [len(await ids(source, shape, NO_WINDOW, [chunk])) for chunk in chunks]
    assert sum(sizes) == 400_000
    assert max(sizes) < 2 * 50_000


async def test_rows_outside_of_the_interval_are_not_read(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await filled(connection, "source_window", 1_000)
    declared = PostgresSource(table="source_window", cursor="changed")
    source = PostgresBatchSource(postgres_dsn, declared)
    window = CursorWindow(start="2026-05-01T00:01:40Z", end="2026-05-01T00:05:00Z")

    shape = await source.describe()
    chunks = await source.plan(shape, window, 50)

    assert len(chunks) == 4
    found = await ids(source, shape, window, chunks)
    assert sorted(found) == [n * n for n in range(100, 300)]


@pytest.mark.parametrize(("kind", "zone"), [("date", "UTC"), ("timestamp", "Europe/Berlin")])
async def test_a_day_of_the_pipelines_zone_is_read_by_the_wall_of_a_column_without_a_zone(
    connection: asyncpg.Connection, postgres_dsn: str, kind: str, zone: str
) -> None:
    await connection.execute("DROP TABLE IF EXISTS source_wall")
    await connection.execute(f"CREATE TABLE source_wall (id int PRIMARY KEY, day {kind} NOT NULL)")
    await connection.execute(
        "INSERT INTO source_wall SELECT n, '2026-04-28'::date + n FROM generate_series(1, 6) n"
    )
    declared = PostgresSource(table="source_wall", cursor="day", timezone=zone)
    source = PostgresBatchSource(postgres_dsn, declared, "Europe/Berlin")
    first_of_may = CursorWindow(start="2026-04-30T22:00:00Z", end="2026-05-01T22:00:00Z")

    shape = await source.describe()
    found = await ids(source, shape, first_of_may, await source.plan(shape, first_of_may, 10))

    assert found == [3]


async def test_without_an_interval_the_end_is_fixed_at_the_greatest_cursor(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await filled(connection, "source_open_end", 100)
    source = PostgresBatchSource(postgres_dsn, PostgresSource(table="source_open_end", cursor="id"))
    shape = await source.describe()

    first = await source.settle(NO_WINDOW, None)
    await connection.execute("INSERT INTO source_open_end VALUES (20000, 'later', now())")
    found = await ids(source, shape, first.window, await source.plan(shape, first.window, 1_000))
    again = CursorWindow(start=first.window.end, start_open=first.window.end_closed)
    second = await source.settle(again, None)
    rest = await ids(source, shape, second.window, await source.plan(shape, second.window, 1_000))

    assert sorted(found) == [n * n for n in range(1, 101)]
    assert rest == [20000]


@pytest.mark.parametrize("rows", [0, 10])
async def test_a_run_without_news_reads_nothing_and_the_next_one_nothing_twice(
    connection: asyncpg.Connection, postgres_dsn: str, rows: int
) -> None:
    # The quiet run forgot that its first value had been read; on an empty table it had no end,
    # and what came meanwhile was read by it and by the next one.
    await filled(connection, "source_quiet", rows)
    source = PostgresBatchSource(postgres_dsn, PostgresSource(table="source_quiet", cursor="id"))
    shape = await source.describe()
    wanted = CursorWindow(start="100", start_open=True) if rows else NO_WINDOW

    quiet = (await source.settle(wanted, None)).window
    await connection.execute("INSERT INTO source_quiet VALUES (20000, 'later', now())")
    assert await source.plan(shape, quiet, 1_000) == []

    following = CursorWindow(start=quiet.end, start_open=quiet.end_closed)
    window = (await source.settle(following, None)).window
    found = await ids(source, shape, window, await source.plan(shape, window, 1_000))
    assert found == [20000]


async def test_a_row_that_commits_late_is_waited_for(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    # A transaction took its time from now(), and commits after the end of the interval was read.
    await filled(connection, "source_late", 10)
    writer = await asyncpg.connect(postgres_dsn)
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute("INSERT INTO source_late VALUES (5, 'late', now())")
    declared = PostgresSource(table="source_late", cursor="changed")
    source = PostgresBatchSource(postgres_dsn, declared)
    wanted = CursorWindow(start="2026-05-01T00:00:00Z", end="2199-01-01T00:00:00Z")

    first = await source.settle(wanted, None)
    still = await source.settle(first.window, first)
    await transaction.commit()
    await writer.close()
    last = await source.settle(still.window, still)

    assert len(first.open_transactions) == 1
    assert still.open_transactions == first.open_transactions
    assert last.open_transactions == []
    shape = await source.describe()
    found = await ids(source, shape, last.window, await source.plan(shape, last.window, 100))
    assert 5 in found


async def test_a_transaction_from_after_the_interval_is_not_waited_for(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await filled(connection, "source_past", 10)
    source = PostgresBatchSource(
        postgres_dsn, PostgresSource(table="source_past", cursor="changed")
    )
    wanted = CursorWindow(start="2026-05-01T00:00:00Z", end="2026-05-02T00:00:00Z")

    async with connection.transaction():
        await connection.execute("INSERT INTO source_past VALUES (5, 'new', now())")
        settled = await source.settle(wanted, None)

    assert settled.open_transactions == []


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_snapshot_reads_all_chunks_at_one_moment(
    connection: asyncpg.Connection, postgres_dsn: str, keyed: bool
) -> None:
    await filled(connection, "source_moment", 3_000)
    if not keyed:
        await connection.execute("ALTER TABLE source_moment DROP CONSTRAINT source_moment_pkey")
    source = PostgresBatchSource(
        postgres_dsn, PostgresSource(table="source_moment", consistency="snapshot")
    )
    shape = await source.describe()

    async with source.at_one_moment() as moment:
        chunks = await moment.plan(shape, NO_WINDOW, 500)
        await connection.execute("UPDATE source_moment SET note = 'changed'")
        await connection.execute("DELETE FROM source_moment WHERE id < 1000")
        found = await ids(moment, shape, NO_WINDOW, chunks)

    assert len(chunks) > 2
    assert sorted(found) == [n * n for n in range(1, 3_001)]


async def test_a_table_without_a_key_is_one_chunk(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await filled(connection, "source_keyless", 100)
    await connection.execute("ALTER TABLE source_keyless DROP CONSTRAINT source_keyless_pkey")
    source = PostgresBatchSource(postgres_dsn, PostgresSource(table="source_keyless"))
    shape = await source.describe()

    chunks = await source.plan(shape, NO_WINDOW, 10)

    assert len(chunks) == 1
    assert len(await ids(source, shape, NO_WINDOW, chunks)) == 100


async def test_a_view_is_one_chunk_or_cut_by_the_key_that_is_named(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await connection.execute("DROP VIEW IF EXISTS source_view")
    await filled(connection, "source_viewed", 100)
    await connection.execute("CREATE VIEW source_view AS SELECT * FROM source_viewed")
    for key, count in ((None, 1), ("id", 10)):
        source = PostgresBatchSource(postgres_dsn, PostgresSource(table="source_view", key=key))
        shape = await source.describe()

        chunks = await source.plan(shape, NO_WINDOW, 10)

        assert len(chunks) == count
        assert len(await ids(source, shape, NO_WINDOW, chunks)) == 100
    await connection.execute("DROP VIEW source_view")


async def test_a_key_with_nulls_loses_none(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await filled(connection, "source_nulls", 200)
    await connection.execute("UPDATE source_nulls SET note = NULL WHERE id < 500")
    source = PostgresBatchSource(postgres_dsn, PostgresSource(table="source_nulls", key="note"))
    shape = await source.describe()

    found = await ids(source, shape, NO_WINDOW, await source.plan(shape, NO_WINDOW, 50))

    assert sorted(found) == [n * n for n in range(1, 201)]


async def test_a_query_is_cut_by_its_key(connection: asyncpg.Connection, postgres_dsn: str) -> None:
    await filled(connection, "source_query", 500)
    query = "SELECT id, upper(note) AS loud FROM source_query WHERE id > 100;"
    source = PostgresBatchSource(postgres_dsn, PostgresSource(query=query, key="id"))
    shape = await source.describe()

    found = await ids(source, shape, NO_WINDOW, await source.plan(shape, NO_WINDOW, 100))

    assert list(shape.columns) == ["id", "loud"]
    assert sorted(found) == [n * n for n in range(11, 501)]


async def test_every_type_arrives_as_it_is(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await connection.execute("DROP TABLE IF EXISTS source_types")
    await connection.execute(
        "DO $$ BEGIN CREATE TYPE mood AS ENUM ('good', 'bad'); "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    await connection.execute(
        "CREATE TABLE source_types (id int PRIMARY KEY, small smallint, price numeric(20,5), "
        "f real, d double precision, at timestamptz, wall timestamp, day date, ok boolean, "
        "uid uuid, doc jsonb, raw json, tags text[], sums numeric(8,2)[], code char(4), "
        "mood mood, span interval, bytes bytea)"
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO source_types VALUES (1, -5, -12345678901234.56789, 1.5, 0.1, "
        "'2026-03-29T02:30:00.123456+02', '2026-03-29 02:30:00.5', '1905-12-31', true, "
        "'0a0b0c0d-0000-0000-0000-000000000001', '{\"a\": [1, null]}', '{\"b\": 1}', "
        "ARRAY['x', NULL, 'ü'], ARRAY[1.25, NULL], 'ab', 'bad', '1 day 2 hours', '\\x00ff'), "
        "(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, "
        "NULL, NULL, NULL)"
    )
    source = PostgresBatchSource(
        postgres_dsn, PostgresSource(table="source_types", timezone="Europe/Berlin")
    )
    shape = await source.describe()
    (chunk,) = await source.plan(shape, NO_WINDOW, 100)
    (block,) = [b async for b in source.read(shape, NO_WINDOW, chunk, BLOCK)]

    first, second = sorted(block.rows.to_pylist(), key=lambda row: row["id"])
    assert first == {
        "id": 1,
        "small": -5,
        "price": Decimal("-12345678901234.56789"),
        "f": 1.5,
        "d": 0.1,
        "at": datetime(2026, 3, 29, 0, 30, 0, 123456, tzinfo=UTC),
        "wall": datetime(2026, 3, 29, 1, 30, 0, 500000, tzinfo=UTC),
        "day": date(1905, 12, 31),
        "ok": True,
        "uid": str(UUID("0a0b0c0d-0000-0000-0000-000000000001")),
        "doc": '{"a": [1, null]}',
        "raw": '{"b": 1}',
        "tags": ["x", None, "ü"],
        "sums": [Decimal("1.25"), None],
        "code": "ab",
        "mood": "bad",
        "span": "1 day 02:00:00",
        "bytes": "\\x00ff",
    }
    assert {name for name, value in second.items() if value is not None} == {"id"}
    assert [note.split("`")[1] for note in shape.notes] == ["mood", "span", "bytes"]


async def test_a_value_that_no_type_holds_is_set_aside_with_its_row(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await connection.execute("DROP TABLE IF EXISTS source_bad")
    await connection.execute("CREATE TABLE source_bad (id int PRIMARY KEY, price numeric(8,2))")
    await connection.execute("INSERT INTO source_bad VALUES (1, 1.5), (2, 'NaN'), (3, 2.5)")
    source = PostgresBatchSource(postgres_dsn, PostgresSource(table="source_bad"))
    shape = await source.describe()
    (chunk,) = await source.plan(shape, NO_WINDOW, 100)

    (block,) = [b async for b in source.read(shape, NO_WINDOW, chunk, BLOCK)]

    assert block.rows["id"].to_pylist() == [1, 3]
    assert isinstance(block.unreadable, pl.DataFrame)
    row = block.unreadable.row(0, named=True)
    assert (row["row"], row["field"], row["check"]) == (1, "price", "unreadable")
    assert "NaN" in row["reason"]
    assert json.loads(row["content"])["id"] == "2"


async def test_a_table_that_is_not_there_is_refused(postgres_dsn: str) -> None:
    source = PostgresBatchSource(postgres_dsn, PostgresSource(table="source_nowhere"))

    with pytest.raises(SourceRefusedError, match="source_nowhere"):
        await source.describe()


async def test_a_reader_that_stops_early_leaves_no_query_behind(
    connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await filled(connection, "source_stop", 50_000)
    source = PostgresBatchSource(postgres_dsn, PostgresSource(table="source_stop"))
    shape = await source.describe()
    (chunk,) = await source.plan(shape, NO_WINDOW, 1_000_000)

    blocks = source.read(shape, NO_WINDOW, chunk, 1_000)
    await anext(blocks)
    await blocks.aclose()  # type: ignore[attr-defined] # it is a generator

    async with asyncio.timeout(10):
        while await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%source_stop%' "
            "AND pid <> pg_backend_pid() AND state = 'active'"
        ):
            pass
