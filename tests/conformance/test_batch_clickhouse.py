"""ClickHouse alone: tables that users made, and what a batch's table cannot be."""

from collections.abc import AsyncIterator

import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient

from common.errors import SinkRefusedError
from common.settings import ClickHouseSettings
from connectors.clickhouse_client import ClickHouseConnection
from pipelines.etl import WriteMode
from tests.conformance.batch_case import Batch, BatchCase, Row, expected_rows, ordered, row
from tests.conformance.batch_servers import clickhouse_case

pytestmark = pytest.mark.conformance

_COLUMNS = "id Nullable(Int64), name Nullable(String), changed Nullable(DateTime64(6, 'UTC'))"
_SLOTS = "_slot String, _run UInt64"
FIRST = Batch("2026-05-01", 1, [row(1, "a", 1), row(2, "b", 2)])
SECOND = Batch("2026-05-02", 2, [row(1, "c", 3)])


@pytest.fixture
async def clickhouse(
    clickhouse_settings: ClickHouseSettings, name: str
) -> AsyncIterator[BatchCase]:
    async for case in clickhouse_case(clickhouse_settings.url or "", name):
        yield case


@pytest.fixture
async def client(clickhouse_settings: ClickHouseSettings) -> AsyncIterator[AsyncClient]:
    connection = ClickHouseConnection(clickhouse_settings)
    yield await connection.client()
    await connection.close()


async def test_an_empty_table_with_an_order_key_of_its_own_is_taken(
    clickhouse: BatchCase, client: AsyncClient
) -> None:
    await client.command(
        f"CREATE TABLE {clickhouse.name} ({_SLOTS}, extra Nullable(String), {_COLUMNS}) "
        "ENGINE = MergeTree PARTITION BY _slot PRIMARY KEY tuple(changed) "
        "ORDER BY (changed, toStartOfHour(assumeNotNull(changed))) SETTINGS allow_nullable_key = 1"
    )
    for batch in (FIRST, SECOND, FIRST):
        await clickhouse.load(clickhouse.table("append", batch), batch.rows)
    wanted = expected_rows("append", [FIRST, SECOND])
    assert await clickhouse.final() == ordered([{"extra": None, **item} for item in wanted])


@pytest.mark.parametrize(
    ("mode", "definition", "reason"),
    [
        ("append", f"({_COLUMNS}, {_SLOTS}) ENGINE = Log", "engine is Log"),
        ("append", f"({_COLUMNS}, {_SLOTS}) ENGINE = MergeTree ORDER BY ()", "partition key"),
        (
            "append",
            f"({_COLUMNS}, {_SLOTS}, INDEX i id TYPE minmax) ENGINE = MergeTree "
            "PARTITION BY _slot ORDER BY ()",
            "an index",
        ),
        (
            "append",
            f"({_COLUMNS}, must Int64, {_SLOTS}) ENGINE = MergeTree PARTITION BY _slot ORDER BY ()",
            "MODIFY COLUMN `must` Nullable",
        ),
        (
            "append",
            "(id Int64, name String, _slot String, _run UInt64) ENGINE = MergeTree "
            "PARTITION BY _slot ORDER BY ()",
            "MODIFY COLUMN `name` Nullable",
        ),
        (
            "merge",
            "(id Int64, name Nullable(String), changed Nullable(DateTime64(6, 'UTC')), "
            "_run UInt64, _version UInt256) ENGINE = ReplacingMergeTree(_version) ORDER BY name "
            "SETTINGS allow_nullable_key = 1",
            "order key",
        ),
        ("merge", f"({_COLUMNS}) ENGINE = MergeTree ORDER BY ()", "`_version` is missing"),
    ],
)
async def test_a_table_that_cannot_hold_the_mode_is_refused_with_what_to_do(
    clickhouse: BatchCase, client: AsyncClient, mode: WriteMode, definition: str, reason: str
) -> None:
    await client.command(f"CREATE TABLE {clickhouse.name} {definition}")
    before = await clickhouse.catalogue()
    with pytest.raises(SinkRefusedError, match=reason):
        await clickhouse.target.preflight(clickhouse.table(mode, FIRST))
    assert await clickhouse.catalogue() == before


async def test_a_table_of_somebody_else_is_refused_and_a_table_in_place_of_the_view_too(
    clickhouse: BatchCase, client: AsyncClient
) -> None:
    view = f"{clickhouse.name}_final"
    await client.command(f"CREATE TABLE {view} (id Int64) ENGINE = Log")
    with pytest.raises(SinkRefusedError, match="expected the view"):
        await clickhouse.target.preflight(clickhouse.table("append", FIRST))
    await client.command(f"DROP TABLE {view}")
    await client.command(
        f"CREATE TABLE {clickhouse.name} ({_COLUMNS}, {_SLOTS}) ENGINE = MergeTree "
        "PARTITION BY _slot ORDER BY ()"
    )
    await client.command(f"INSERT INTO {clickhouse.name} (id) VALUES (1)")
    with pytest.raises(SinkRefusedError, match="it holds 1 rows"):
        await clickhouse.target.preflight(clickhouse.table("append", FIRST))


async def test_what_preflight_says_is_what_is_executed(
    clickhouse: BatchCase, client: AsyncClient
) -> None:
    table = clickhouse.table("scd2", FIRST)
    said = (await clickhouse.target.preflight(table)).statements
    for statement in said:
        await client.command(statement)
    assert (await clickhouse.target.preflight(table)).statements == []
    tokens = await clickhouse.staged(table, FIRST.rows)
    before = set(await clickhouse.catalogue())
    await clickhouse.target.publish(table, tokens)
    assert set(await clickhouse.catalogue()) == before
    await clickhouse.target.discard(table)
    assert await clickhouse.final() == ordered(expected_rows("scd2", [FIRST]))


async def test_a_null_list_is_an_empty_one_and_preflight_says_so(clickhouse: BatchCase) -> None:
    columns = {"id": "int64", "tags": "list<string>?"}
    rows: list[Row] = [{"id": 1, "tags": None}, {"id": 2, "tags": ["x"]}]
    table = clickhouse.table("append", Batch("a", 1, rows), columns=columns)
    assert "stored as an empty one" in (await clickhouse.target.preflight(table)).notes[0]
    await clickhouse.load(table, rows)
    assert await clickhouse.final() == ordered([{"id": 1, "tags": []}, rows[1]])
