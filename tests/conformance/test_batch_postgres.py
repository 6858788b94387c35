"""What PostgreSQL and TimescaleDB alone do with a batch: tables that users made, hypertables."""

import asyncio
import dataclasses
import warnings
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pyarrow as pa
import pytest

from activities.etl_ports import BatchTable, Published
from common.errors import ServiceUnavailableError, SinkRefusedError
from connectors.postgres_batch import PostgresBatchTarget
from connectors.postgres_batch_staging import rows_name, written_name
from pipelines.etl import WriteMode
from tests.conformance.batch_case import (
    Batch,
    BatchCase,
    at,
    expected_rows,
    laid_out,
    ordered,
    row,
)
from tests.conformance.batch_servers import postgres_case

pytestmark = pytest.mark.conformance

FIRST = Batch("", 1, [row(1, "a", 1), row(2, "b", 2)])
SECOND = Batch("", 2, [row(2, "c", 3), row(3, "d", 3), row(4, None, 4)])


@pytest.fixture
async def case(postgres_dsn: str, name: str) -> AsyncIterator[BatchCase]:
    async for found in postgres_case(postgres_dsn, name, "postgres"):
        yield found


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(postgres_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def timescale(timescale_dsn: str, name: str) -> AsyncIterator[BatchCase]:
    async for found in postgres_case(timescale_dsn, name, "timescaledb"):
        yield found


def hyper(case: BatchCase, mode: WriteMode, batch: Batch) -> BatchTable:
    """Declare a hypertable over `changed`."""
    columns = {"id": "int64", "name": "string?", "changed": "timestamp(6)"}
    table = case.table(mode, batch, columns=columns, key=("id", "changed"), cursor=None)
    return dataclasses.replace(table, partition_by="changed")


@pytest.mark.parametrize("mode", ["append", "replace", "merge", "insert_only", "scd2"])
async def test_a_table_with_partition_by_is_a_hypertable(
    timescale: BatchCase, timescale_dsn: str, mode: WriteMode
) -> None:
    slot = "2026-05-01" if mode == "append" else ""
    batches = [dataclasses.replace(batch, slot=slot) for batch in (FIRST, SECOND)]
    planned = (await timescale.target.preflight(hyper(timescale, mode, batches[0]))).statements
    assert any("create_hypertable" in statement for statement in planned)
    for place, batch in enumerate(batches, 1):
        await timescale.load(hyper(timescale, mode, batch), batch.rows)
        wanted = expected_rows(mode, batches[:place], ("id", "changed"), cursor=False)
        assert await timescale.final() == ordered(wanted)
    assert (await timescale.target.preflight(hyper(timescale, mode, batches[1]))).statements == []
    connection = await asyncpg.connect(timescale_dsn)
    found = await connection.fetchval(
        "SELECT count(*) FROM timescaledb_information.hypertables WHERE hypertable_name = $1",
        timescale.name,
    )
    await connection.close()
    assert found == 1


async def test_a_hypertable_that_cannot_hold_the_promise_is_refused(timescale: BatchCase) -> None:
    table = dataclasses.replace(hyper(timescale, "merge", FIRST), key=("id",))
    with pytest.raises(SinkRefusedError, match="add it to `key`"):
        await timescale.target.preflight(table)
    nullable = dataclasses.replace(timescale.table("append", FIRST), partition_by="changed")
    with pytest.raises(SinkRefusedError, match="may be null"):
        await timescale.target.preflight(nullable)


async def test_a_table_that_a_user_made_gets_what_it_lacks_and_keeps_its_rows(
    case: BatchCase, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        f"CREATE TABLE {case.name} (id integer PRIMARY KEY, note text DEFAULT 'mine', name text "
        "NOT NULL, changed timestamptz(3), price numeric(6,2), lost text NOT NULL)"
    )
    await connection.execute(
        f"INSERT INTO {case.name} VALUES (1, 'kept', 'old', $1, 9.50, 'x'), "
        "(5, 'kept', 'old', NULL, NULL, 'x')",
        at(0),
    )
    columns = {
        "id": "int64", "name": "string?", "changed": "timestamp(6)?", "price": "decimal(12,4)?",
        "size": "int32",
    }  # fmt: skip
    rows = [{**row(n, None, 1), "price": None, "size": 7} for n in (1, 2**40)]
    table = case.table("merge", Batch("", 1, rows), columns=columns)
    with pytest.raises(SinkRefusedError, match=f"COMMENT ON TABLE .*{case.name}"):
        await case.target.preflight(table)
    await connection.execute(f"COMMENT ON TABLE {case.name} IS 'sluice etl orders merge'")
    statements = (await case.target.preflight(table)).statements
    about = f'ALTER TABLE "public"."{case.name}"'
    assert [text.removeprefix(about) for text in statements if text.startswith(about)] == [
        ' ALTER COLUMN "id" TYPE bigint',
        ' ALTER COLUMN "changed" TYPE timestamp(6) with time zone',
        ' ALTER COLUMN "price" TYPE numeric(12,4)',
        ' ALTER COLUMN "name" DROP NOT NULL',
        ' ADD COLUMN "size" integer',
        ' ADD COLUMN "_run" bigint NOT NULL DEFAULT -1',
        ' ALTER COLUMN "lost" DROP NOT NULL',
    ]
    assert await case.load(table, rows) == Published(inserted=1, updated=1)
    assert (await case.target.preflight(table)).statements == []
    found = (await case.target.final_rows(case.name)).to_pylist()
    assert [(item["id"], item["note"], item["name"], item["lost"]) for item in found] == [
        (1, "kept", None, "x"),
        (5, "kept", "old", "x"),
        (2**40, "mine", None, None),
    ]


async def test_a_column_gets_wider_below_the_view_which_keeps_its_rights(
    case: BatchCase, connection: asyncpg.Connection
) -> None:
    narrow = {"id": "int32", "name": "string?", "changed": "timestamp(6)?"}
    await case.load(case.table("merge", FIRST, columns=narrow), FIRST.rows)
    await connection.execute(f"GRANT SELECT ON {case.name}_final TO pg_monitor")
    await connection.execute(f"CREATE VIEW {case.name}_mine AS SELECT id FROM {case.name}_final")
    table = case.table("merge", SECOND)
    with pytest.raises(SinkRefusedError, match=f"drop {case.name}_mine"):
        await case.target.preflight(table)
    await connection.execute(f"DROP VIEW {case.name}_mine")
    await case.load(table, SECOND.rows)
    assert await case.final() == ordered(expected_rows("merge", [FIRST, SECOND]))
    assert await connection.fetchval(
        "SELECT has_table_privilege('pg_monitor', $1, 'SELECT')", f"{case.name}_final"
    )
    assert (await case.target.preflight(table)).statements == []


async def test_slots_that_are_published_at_once_into_a_new_table_are_all_there(
    case: BatchCase, connection: asyncpg.Connection
) -> None:
    batches = [Batch(f"day {n}", n, [row(n, "a", n), row(n + 100, "b", n)]) for n in range(6)]
    changes = await asyncio.gather(
        *(case.load(case.table("append", batch), batch.rows) for batch in batches)
    )
    assert changes == [Published(inserted=2)] * 6
    assert await case.final() == ordered(expected_rows("append", batches))
    noted = f"SELECT count(*) FROM sluice_batches WHERE target = '{case.name}'"
    assert await connection.fetchval(noted) == 6


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ("TABLE {} (id bigint NOT NULL)", "CREATE UNIQUE INDEX ON"),
        ("TABLE {} (id bigint PRIMARY KEY, name text UNIQUE)", r"unique index on \(name\)"),
        ("TABLE {} (id bigint PRIMARY KEY, name integer)", "column `name` is integer"),
        ("VIEW {} AS SELECT 1 AS id", "no table"),
        ("TABLE {}_final (id bigint)", "no view"),
        ("VIEW {}_final AS SELECT 1 AS id", "is there without"),
    ],
)
async def test_a_table_that_cannot_hold_the_promise_is_refused(
    case: BatchCase, connection: asyncpg.Connection, definition: str, reason: str
) -> None:
    await connection.execute(f"CREATE {definition.format(case.name)}")
    with pytest.raises(SinkRefusedError, match=reason):
        await case.target.preflight(case.table("merge", FIRST))


async def test_a_table_in_a_schema_has_its_view_and_staging_there(
    case: BatchCase, connection: asyncpg.Connection
) -> None:
    case.name = f"s{case.name}.orders"
    schema = case.name.split(".")[0]
    with pytest.raises(SinkRefusedError, match="CREATE SCHEMA"):
        await case.target.preflight(case.table("merge", FIRST))
    await connection.execute(f"CREATE SCHEMA {schema}")
    await case.load(case.table("merge", FIRST), FIRST.rows)
    assert await case.final() == ordered(FIRST.rows)
    tables = await connection.fetch(
        "SELECT relname::text FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind "
        "IN ('r', 'v') ORDER BY 1",
        schema,
    )
    assert [name for (name,) in tables] == ["orders", "orders_final", "sluice_batches"]


@pytest.mark.parametrize(
    "own",
    [
        None,
        "GRANT SELECT ON {} TO pg_monitor",
        "CREATE INDEX ON {} (name)",
        "CREATE VIEW {}_mine AS SELECT id FROM {}",
        "COMMENT ON COLUMN {}.id IS 'mine'",
        "ALTER TABLE {} ADD CHECK (id > 0)",
        "ALTER TABLE {} ADD COLUMN extra text",
    ],
)
async def test_a_table_is_replaced_as_a_whole_only_where_nothing_is_lost_with_it(
    case: BatchCase, connection: asyncpg.Connection, own: str | None
) -> None:
    await case.load(case.table("replace", FIRST), FIRST.rows)
    await connection.execute(f"GRANT SELECT ON {case.name}_final TO pg_monitor")
    if own is not None:
        await connection.execute(own.format(*[case.name] * 2))
    identity = f"SELECT '{case.name}'::regclass::oid"
    before = await connection.fetchval(identity)
    changes = await case.load(case.table("replace", SECOND), SECOND.rows)
    assert changes == Published(inserted=3, deleted=2)
    assert (await connection.fetchval(identity) == before) == (own is not None)
    found = [{k: v for k, v in item.items() if k != "extra"} for item in await case.final()]
    assert ordered(found) == ordered(SECOND.rows)
    assert await connection.fetchval(
        "SELECT has_table_privilege('pg_monitor', $1, 'SELECT')", f"{case.name}_final"
    )


@pytest.mark.parametrize("what", ["ALL TABLES", "TABLES IN SCHEMA public"])
async def test_staging_is_not_replicated_where_all_tables_are(
    case: BatchCase, connection: asyncpg.Connection, what: str
) -> None:
    """Replicas got rows for a table whose name they did not know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await connection.execute(f"CREATE PUBLICATION {case.name} FOR {what}")
    try:
        table = case.table("merge", FIRST)
        tokens = await case.staged(table, FIRST.rows)
        kept = "SELECT relpersistence::text FROM pg_class WHERE relname = $1"
        assert await connection.fetchval(kept, rows_name(table)) == "u"
        await case.target.publish(table, tokens)
        await case.target.discard(table)
        assert await connection.fetchval(kept, case.name) == "p"
    finally:
        await connection.execute(f"DROP PUBLICATION {case.name}")
    assert await case.final() == ordered(FIRST.rows)


async def test_rows_that_a_crash_of_the_server_took_are_noticed(
    case: BatchCase, connection: asyncpg.Connection
) -> None:
    await case.load(case.table("merge", FIRST), FIRST.rows)
    table = case.table("merge", SECOND)
    tokens = await case.staged(table, SECOND.rows)
    names = f"{rows_name(table)}, {written_name(table)}"
    kept = "SELECT relpersistence::text FROM pg_class WHERE relname = ANY($1)"
    found = await connection.fetch(kept, names.split(", "))
    assert [row["relpersistence"] for row in found] == ["u", "u"]
    await connection.execute(f"TRUNCATE {names}")
    assert await case.target.staged(table, tokens) == {0: 0, 1: 0}
    with pytest.raises(SinkRefusedError, match="expected 2 chunks, got 0, as after a crash"):
        await case.target.publish(table, tokens)
    assert await case.final() == ordered(FIRST.rows)


@pytest.mark.parametrize("mode", ["append", "merge"])
async def test_staged_rows_that_somebody_took_away_are_missed_where_rows_are_copied(
    case: BatchCase, connection: asyncpg.Connection, mode: WriteMode
) -> None:
    await case.load(case.table(mode, FIRST), FIRST.rows)
    await connection.execute(f"CREATE INDEX ON {case.name} (name)")
    table = case.table(mode, SECOND)
    tokens = await case.staged(table, SECOND.rows)
    await connection.execute(f"DELETE FROM {rows_name(table)} WHERE id = 4")
    with pytest.raises(SinkRefusedError, match="expected 3 rows, got 2"):
        await case.target.publish(table, tokens)
    assert await case.final() == ordered(FIRST.rows)


async def test_an_attempt_that_broke_off_leaves_no_row_in_staging(
    case: BatchCase, connection: asyncpg.Connection
) -> None:
    """Rows that nothing was noted of would be published with a table that is adopted."""

    async def broken() -> AsyncIterator[pa.RecordBatch]:
        yield laid_out(table, [row(9, "zombie")] * 50_000)
        raise ConnectionResetError("killed")

    table = case.table("append", FIRST)
    tokens = await case.staged(table, FIRST.rows)
    with pytest.raises(ServiceUnavailableError):
        await case.target.stage(table, 0, "broken", broken())
    assert await connection.fetchval(f"SELECT count(*) FROM {rows_name(table)}") == 2
    assert await case.target.publish(table, tokens) == Published(inserted=2)
    assert await case.final() == ordered(FIRST.rows)


async def test_a_late_attempt_that_goes_on_writing_does_not_hold_up_a_publication(
    case: BatchCase, connection: asyncpg.Connection
) -> None:
    table = case.table("replace", FIRST)
    tokens = await case.staged(table, FIRST.rows)
    async with connection.transaction():
        await connection.execute(f"INSERT INTO {rows_name(table)} VALUES (9, 'late', NULL)")
        await case.target.publish(table, tokens)
    assert await case.final() == ordered(FIRST.rows)


async def test_a_reader_that_takes_long_does_not_hold_up_the_readers_behind_a_publication(
    case: BatchCase, connection: asyncpg.Connection
) -> None:
    """A lock that waits for one reader makes all who come later wait too."""
    await case.load(case.table("replace", FIRST), FIRST.rows)
    table = case.table("replace", SECOND)
    tokens = await case.staged(table, SECOND.rows)
    async with connection.transaction():
        await connection.fetch(f"SELECT * FROM {case.name}_final")
        changes = await case.target.publish(table, tokens)
    assert changes == Published(inserted=3, deleted=2)
    assert await case.final() == ordered(SECOND.rows)


async def test_a_user_who_may_not_make_tables_is_refused_before_anything_is_read(
    case: BatchCase, connection: asyncpg.Connection, postgres_dsn: str
) -> None:
    await connection.execute(f"CREATE ROLE {case.name} LOGIN PASSWORD 'reader'")
    parts = urlsplit(postgres_dsn)
    place = f"{parts.hostname}:{parts.port}"
    target = PostgresBatchTarget(f"postgresql://{case.name}:reader@{place}{parts.path}")
    with pytest.raises(SinkRefusedError, match="GRANT USAGE, CREATE ON SCHEMA"):
        await target.preflight(case.table("merge", FIRST))
    await target.close()
    await connection.execute(f"DROP ROLE {case.name}")
