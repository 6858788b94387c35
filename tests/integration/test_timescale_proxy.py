import asyncio
import contextlib
import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
START_LIMIT_S = 150.0
EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
UPSERT = """
    INSERT INTO measures (t, k, v, _version)
    SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::bigint[], $4::bigint[])
    ON CONFLICT (t, k) DO UPDATE SET v = excluded.v, _version = excluded._version
    WHERE excluded._version > measures._version
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    data_dir: Path
    port: int
    process: subprocess.Popen[bytes]

    async def connect(self, **options: object) -> asyncpg.Connection:
        return await asyncpg.connect(
            host="127.0.0.1", port=self.port, user="sluice", database="any", ssl=False, **options
        )

    def engine(self) -> psutil.Process:
        (child,) = psutil.Process(self.process.pid).children()
        return child


def spawn(data_dir: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "devstack.timescale", "--port", str(port)]
    return Server(data_dir, port, subprocess.Popen([*command, "--data", str(data_dir)]))


async def start(data_dir: Path) -> Server:
    server = spawn(data_dir)
    deadline = time.monotonic() + START_LIMIT_S
    while server.process.poll() is None and time.monotonic() < deadline:
        try:
            await (await server.connect()).close()
        except OSError:
            continue
        return server
    server.process.kill()
    code = server.process.wait()
    if code == 3:
        pytest.skip("TimescaleDB cannot run here; the line above says why")
    pytest.fail(f"timescaledb did not become ready, exit code {code}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = asyncio.run(start(tmp_path_factory.mktemp("timescale")))
    yield running
    running.process.terminate()
    assert running.process.wait(30) == 0


@pytest.fixture
async def db(server: Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await server.connect()
    await connection.execute(
        """
        DROP TABLE IF EXISTS measures CASCADE;
        DROP TABLE IF EXISTS notes;
        CREATE TABLE measures (
            t timestamptz NOT NULL, k text NOT NULL, v bigint, _version bigint NOT NULL,
            PRIMARY KEY (t, k)
        );
        SELECT create_hypertable('measures', by_range('t', INTERVAL '1 day'));
        CREATE TABLE notes (a int);
        """
    )
    yield connection
    await connection.close()


def rows_of(count: int, version: int) -> tuple[list[object], ...]:
    times: list[object] = [EPOCH + dt.timedelta(minutes=number) for number in range(count)]
    return (times, [f"k{number}" for number in range(count)], [version] * count, [version] * count)


async def test_upsert_keeps_the_highest_version(db: asyncpg.Connection) -> None:
    for version in (2, 3, 1):
        await db.execute(UPSERT, *rows_of(5000, version))
    assert await db.fetch("SELECT DISTINCT v, _version FROM measures") == [(3, 3)]
    assert await db.fetchval("SELECT count(*) FROM measures") == 5000


async def test_policies_compression_and_continuous_aggregates_are_there(
    db: asyncpg.Connection,
) -> None:
    await db.execute(UPSERT, *rows_of(3000, 1))
    await db.execute(
        "CREATE MATERIALIZED VIEW measures_1h WITH (timescaledb.continuous) AS "
        "SELECT time_bucket('1 hour', t) AS hour, count(*) AS n FROM measures GROUP BY 1 "
        "WITH NO DATA"
    )
    await db.execute("CALL refresh_continuous_aggregate('measures_1h', NULL, NULL)")
    assert await db.fetchval("SELECT sum(n) FROM measures_1h") == 3000
    await db.execute(
        "ALTER TABLE measures SET (timescaledb.compress, timescaledb.compress_segmentby = 'k')"
    )
    assert await db.fetchval("SELECT add_compression_policy('measures', INTERVAL '7 days')") > 0
    assert await db.fetchval("SELECT add_retention_policy('measures', INTERVAL '90 days')") > 0
    assert await db.fetchval("SELECT count(compress_chunk(c)) FROM show_chunks('measures') c") > 0
    assert await db.fetchval("SELECT count(*) FROM measures") == 3000


async def test_concurrent_transactions_of_a_pool_all_arrive(
    server: Server, db: asyncpg.Connection
) -> None:
    pool = await asyncpg.create_pool(
        host="127.0.0.1", port=server.port, user="sluice", min_size=8, max_size=8, ssl=False
    )

    async def insert(number: int) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", number)
            for _ in range(10):
                await connection.execute(
                    "INSERT INTO notes SELECT $1 FROM generate_series(1, 100)", number
                )

    await asyncio.gather(*(insert(number) for number in range(30)))
    await pool.close()
    found = await db.fetch("SELECT count(*) FROM notes GROUP BY a")
    assert [row[0] for row in found] == [1000] * 30


async def test_open_transaction_is_not_seen_by_others_until_it_commits(
    server: Server, db: asyncpg.Connection
) -> None:
    other = await server.connect()
    async with db.transaction():
        await db.execute("INSERT INTO notes VALUES (1)")
        reader = asyncio.create_task(other.fetchval("SELECT count(*) FROM notes"))
        await db.execute("INSERT INTO notes VALUES (2)")
        assert not reader.done()
    assert await reader == 2
    await other.close()


async def test_error_in_a_transaction_rolls_it_back(db: asyncpg.Connection) -> None:
    await db.execute("BEGIN")
    await db.execute("INSERT INTO notes VALUES (1)")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await db.fetch("SELECT 1 / 0")
    await db.execute("ROLLBACK")
    assert await db.fetchval("SELECT count(*) FROM notes") == 0


async def test_client_that_vanishes_in_a_transaction_is_rolled_back(
    server: Server, db: asyncpg.Connection
) -> None:
    gone = await server.connect()
    await gone.execute("BEGIN")
    await gone.execute("INSERT INTO notes VALUES (1)")
    gone.terminate()
    assert await db.fetchval("SELECT count(*) FROM notes") == 0


async def test_statements_of_two_clients_do_not_meet(
    server: Server, db: asyncpg.Connection
) -> None:
    other = await server.connect()
    first = await db.prepare("SELECT 'first' || $1::text", name="same")
    second = await other.prepare("SELECT 'second' || $1::text", name="same")
    assert await first.fetchval("!") == "first!"
    assert await second.fetchval("!") == "second!"
    await other.close()
    assert await first.fetchval("?") == "first?"


async def test_settings_belong_to_the_client_that_made_them(
    server: Server, db: asyncpg.Connection
) -> None:
    berlin = await server.connect(server_settings={"timezone": "Europe/Berlin"})
    await berlin.execute("SET search_path TO pg_catalog")
    for _ in range(2):
        assert await db.fetchval("SHOW timezone") == "UTC"
        assert await db.fetchval("SHOW search_path") == "public"
        assert await berlin.fetchval("SHOW timezone") == "Europe/Berlin"
        assert await berlin.fetchval("SHOW search_path") == "pg_catalog"
    await berlin.reset()
    assert await berlin.fetchval("SHOW search_path") == "public"
    await berlin.close()


async def test_wrong_setting_at_the_start_is_refused(server: Server) -> None:
    with pytest.raises(asyncpg.PostgresError, match="no_such_setting"):
        await server.connect(server_settings={"no_such_setting": "1"})


async def test_copy_from_a_client_is_refused_and_the_engine_lives(db: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.FeatureNotSupportedError, match="COPY FROM STDIN"):
        await db.copy_records_to_table("notes", records=[(1,)])
    assert await db.fetchval("SELECT 1") == 1


async def test_big_statement_and_big_answer_pass(db: asyncpg.Connection) -> None:
    text = "x" * 3_000_000
    assert await db.fetchval("SELECT $1::text", text) == text
    assert len(await db.fetch("SELECT generate_series(1, 100000)")) == 100_000


async def test_acknowledged_rows_are_there_after_sigkill(tmp_path: Path) -> None:
    server = await start(tmp_path / "data")
    connection = await server.connect()
    await connection.execute("CREATE TABLE kept (a int)")
    await connection.execute("INSERT INTO kept SELECT generate_series(1, 500)")
    engine = server.engine()
    other = await server.connect()
    writer = asyncio.create_task(_insert_until_cut(connection))
    while await other.fetchval("SELECT count(*) FROM kept") < 520:
        continue
    other.terminate()
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    acknowledged = await writer
    engine.wait(30)  # the engine follows its parent
    again = await start(tmp_path / "data")
    connection = await again.connect()
    assert await connection.fetchval("SELECT count(*) FROM kept WHERE a <= 500") == 500
    assert await connection.fetchval("SELECT count(*) FROM kept WHERE a > 500") >= acknowledged
    await connection.close()
    again.process.terminate()
    assert again.process.wait(30) == 0


async def _insert_until_cut(connection: asyncpg.Connection) -> int:
    done = 0
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        while True:
            await connection.execute("INSERT INTO kept VALUES ($1)", 1000 + done)
            done += 1
    return done


async def test_server_ends_when_its_engine_dies_and_rows_are_kept(tmp_path: Path) -> None:
    server = await start(tmp_path / "data")
    connection = await server.connect()
    await connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 100) AS a")
    server.engine().kill()
    assert server.process.wait(30) == 4
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await connection.fetchval("SELECT 1")
    again = await start(tmp_path / "data")
    connection = await again.connect()
    assert await connection.fetchval("SELECT count(*) FROM kept") == 100
    await connection.close()
    again.process.terminate()
    assert again.process.wait(30) == 0


def test_missing_packages_end_with_code_3_and_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the cache directory should be")
    command = [sys.executable, "-m", "devstack.timescale", "--port", str(free_port())]
    done = subprocess.run(
        [*command, "--data", str(tmp_path / "data")],
        env=os.environ | {"SLUICE_CACHE_DIR": str(blocked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "SLUICE_CACHE_DIR" in done.stderr
