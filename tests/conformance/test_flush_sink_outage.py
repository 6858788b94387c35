"""Sinks across the loss of their server, and of several writers at once."""

import asyncio

import asyncpg
import pytest
from pydantic import SecretStr

from activities.ports import FlushSink
from common.errors import FatalError, RetryableError, ServiceUnavailableError
from common.settings import ClickHouseSettings, KafkaSettings
from connectors.clickhouse import ClickHouseSink
from connectors.kafka_flush_sink import KafkaFlushSink
from connectors.postgres import PostgresSink
from connectors.timescale import TimescaleSink
from tests.conformance.sink_case import MINUTE_MS, SinkCase, chunk_of, row, rows_of, table_of

_NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    "sink",
    [
        ClickHouseSink(ClickHouseSettings(url=f"http://{_NOBODY}")),
        PostgresSink(f"postgresql://u:p@{_NOBODY}/d"),
        TimescaleSink(f"postgresql://u:p@{_NOBODY}/d"),
        KafkaFlushSink(KafkaSettings(bootstrap_servers=_NOBODY)),
    ],
    ids=["clickhouse", "postgres", "timescaledb", "kafka"],
)
async def test_a_server_that_is_not_there_is_unavailable(sink: FlushSink, name: str) -> None:
    table = table_of(name)
    with pytest.raises(ServiceUnavailableError, match=_NOBODY):
        await sink.prepare(table)
    with pytest.raises(ServiceUnavailableError, match=_NOBODY):
        await sink.final_rows(name)
    await sink.close()


async def test_a_write_whose_connection_dies_leaves_nothing_and_its_retry_completes(
    postgres_server: str, name: str
) -> None:
    table, sink = table_of(name), PostgresSink(postgres_server)
    await sink.prepare(table)
    chunk = chunk_of(table, 1)
    rows = rows_of(table, chunk, [row(1, "a", 5)])
    other = await asyncpg.connect(postgres_server)
    # A transaction sees one snapshot of pg_stat_activity, so the look-out needs its own connection.
    lookout = await asyncpg.connect(postgres_server)
    try:
        async with other.transaction():
            await other.execute(
                "SELECT 1 FROM sluice_stream WHERE sink_table = $1 FOR UPDATE", name
            )
            write = asyncio.create_task(sink.write(table, chunk, rows))
            while not await lookout.fetchval(  # noqa: ASYNC110  the condition is in the server
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid() AND query LIKE "
                "'%sluice_stream%'"
            ):
                await asyncio.sleep(0)
            with pytest.raises(ServiceUnavailableError):
                await write
    finally:
        await lookout.close()
        await other.close()
    assert (await sink.final_rows(name)).num_rows == 0
    await sink.write(table, chunk, rows)
    assert (await sink.final_rows(name))["sales"].to_pylist() == [5]
    await sink.close()


async def test_two_writers_of_one_flush_at_once_write_it_once(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    rows = [row(minute, "a", minute) for minute in range(500)]
    writes = [case.write(table, chunk_of(table, seq), *rows) for seq in (1, 1, 2, 1, 2)]
    await asyncio.gather(*writes)
    assert len(await case.final(table)) == 500


async def test_preparing_at_once_from_several_workers_works(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await asyncio.gather(*(case.prepare(table) for _ in range(4)))
    await case.write(table, chunk_of(table, 1), row(1, "a", 5))
    assert await case.final(table) == [(1, "a", 5)]


async def test_a_wrong_password_is_final(postgres_server: str, name: str) -> None:
    sink = PostgresSink(postgres_server.replace(":test@", ":wrong@"))
    with pytest.raises(FatalError, match="correct the dsn"):
        await sink.prepare(table_of(name))
    await sink.close()


async def test_the_records_of_flushes_stay_bounded(postgres_server: str, name: str) -> None:
    table, sink = table_of(name), PostgresSink(postgres_server)
    await sink.prepare(table)
    for flush_seq in range(1, 400):
        chunk = chunk_of(table, flush_seq)
        await sink.write(table, chunk, rows_of(table, chunk, []))
    await sink.close()
    connection = await asyncpg.connect(postgres_server)
    kept = await connection.fetchval(
        "SELECT count(*) FROM sluice_flush WHERE sink_table = $1", name
    )
    await connection.close()
    assert kept == 257


async def test_a_name_that_postgres_would_cut_is_refused(postgres_server: str) -> None:
    sink = PostgresSink(postgres_server)
    with pytest.raises(FatalError, match="more than 63"):
        await sink.prepare(table_of("t" * 60))
    await sink.close()


async def test_text_with_a_nul_character_is_refused_by_name(
    postgres_server: str, name: str
) -> None:
    table, sink = table_of(name), PostgresSink(postgres_server)
    await sink.prepare(table)
    chunk = chunk_of(table, 1)
    with pytest.raises(FatalError, match="column `category`: expected text without U"):
        await sink.write(table, chunk, rows_of(table, chunk, [row(1, "a\0b", 5)]))
    await sink.close()


async def test_times_that_clickhouse_would_change_are_refused(
    clickhouse_settings: ClickHouseSettings, name: str
) -> None:
    table, sink = table_of(name), ClickHouseSink(clickhouse_settings)
    await sink.prepare(table)
    chunk = chunk_of(table, 1)
    far = (10_413_792_000_000 // MINUTE_MS) + 1
    with pytest.raises(FatalError, match="from 1900 to 2299"):
        await sink.write(table, chunk, rows_of(table, chunk, [row(far, "a", 5)]))
    await sink.close()


async def test_a_wrong_database_of_clickhouse_says_so(
    clickhouse_settings: ClickHouseSettings, name: str
) -> None:
    wrong = clickhouse_settings.model_copy(
        update={"database": "nowhere", "password": SecretStr("")}
    )
    sink = ClickHouseSink(wrong)
    with pytest.raises((FatalError, RetryableError), match="nowhere"):
        await sink.prepare(table_of(name))
    await sink.close()
