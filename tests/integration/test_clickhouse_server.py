import asyncio
import gzip
import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import clickhouse_connect
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

pytestmark = pytest.mark.integration
START_LIMIT_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    data_dir: Path
    port: int
    process: subprocess.Popen[bytes]

    def request(
        self, path: str, body: bytes = b"", method: str = "POST", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


def start(data_dir: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "devstack.clickhouse_server"]
    process = subprocess.Popen([*command, "--port", str(port), "--data", str(data_dir)])
    server = Server(data_dir, port, process)
    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if server.request("/ping", method="GET")[2] == b"Ok.\n":
                return server
        except OSError:
            continue
    process.kill()
    process.wait()
    pytest.fail("clickhouse server did not become ready")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("clickhouse"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = clickhouse_connect.get_client(host="127.0.0.1", port=server.port)
    yield made
    made.close()


@pytest.mark.parametrize("compress", [True, False, "lz4", "zstd", "gzip"])
def test_arrow_table_comes_back_as_inserted(server: Server, compress: bool | str) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=server.port, compress=compress)
    client.command(
        "CREATE OR REPLACE TABLE arrow (a UInt64, b String) ENGINE = MergeTree ORDER BY a"
    )
    table = pa.table({"a": pa.array(range(200_000), pa.uint64()), "b": ["x"] * 200_000})
    client.insert_arrow("arrow", table)
    assert client.query("SELECT count(), sum(a) FROM arrow").result_rows == [
        (200_000, sum(range(200_000)))
    ]
    assert len(client.query("SELECT a, b FROM arrow").result_rows) == 200_000
    client.close()


def test_view_over_replacing_table_shows_the_highest_version_and_no_tombstone(
    client: Client,
) -> None:
    client.command(
        "CREATE OR REPLACE TABLE versions (k String, v Int64, _version UInt64, _deleted UInt8) "
        "ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY k"
    )
    client.command("CREATE OR REPLACE VIEW versions_final AS SELECT k, v FROM versions FINAL")
    names = ["k", "v", "_version", "_deleted"]
    client.insert("versions", [["a", 1, 1, 0], ["b", 1, 1, 0]], column_names=names)
    client.insert("versions", [["a", 2, 2, 0], ["b", 1, 2, 1]], column_names=names)
    client.insert("versions", [["a", 9, 1, 0]], column_names=names)
    assert client.query("SELECT k, v FROM versions_final").result_rows == [("a", 2)]


def test_insert_with_a_used_token_is_dropped(client: Client) -> None:
    client.command(
        "CREATE OR REPLACE TABLE tokens (a UInt8) ENGINE = MergeTree ORDER BY a "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    for _ in range(2):
        settings = {"insert_deduplication_token": "flush-1"}
        client.insert("tokens", [[1]], column_names=["a"], settings=settings)
    assert client.command("SELECT count() FROM tokens") == 1


def test_setting_of_one_request_does_not_reach_the_next(client: Client) -> None:
    sql = "SELECT getSetting('max_block_size')"
    before = client.command(sql)
    assert client.command(sql, settings={"max_block_size": 77}) == 77
    assert client.command(sql) == before


def test_database_belongs_to_the_client(server: Server, client: Client) -> None:
    client.command("CREATE DATABASE IF NOT EXISTS other")
    other = clickhouse_connect.get_client(host="127.0.0.1", port=server.port, database="other")
    assert other.command("SELECT currentDatabase()") == "other"
    assert client.command("SELECT currentDatabase()") == "default"
    other.close()


def test_session_keeps_its_temporary_table(client: Client) -> None:
    client.command("CREATE TEMPORARY TABLE mine (a UInt8)")
    client.insert("mine", [[5]], column_names=["a"])
    assert client.command("SELECT a FROM mine") == 5


def test_parameters_are_bound(client: Client) -> None:
    found = client.query("SELECT {s:String}, {n:Int64} + 1", parameters={"s": "it's\n", "n": 4})
    assert found.result_rows == [("it's\n", 5)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELECT * FROM missing_table", 60), ("SELEC 1", 62), ("SELECT throwIf(1)", 395)],
)
def test_error_carries_the_code_of_clickhouse(client: Client, sql: str, code: int) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.command(sql)
    assert caught.value.code == code


def test_unknown_setting_is_refused_by_name(server: Server) -> None:
    status, headers, body = server.request("/?no_such_setting=1", b"SELECT 1")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "115")
    assert b"no_such_setting" in body


def test_second_statement_is_refused(server: Server) -> None:
    status, _, body = server.request("/", b"SELECT 1; SELECT 2")
    assert status == 400
    assert body.startswith(b"Code: 62. DB::Exception: multi-statements")


def test_get_does_not_change_anything(server: Server) -> None:
    path = "/?query=CREATE%20TABLE%20by_get%20(a%20Int8)%20ENGINE%20=%20Memory"
    status, headers, _ = server.request(path, method="GET")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "164")


def test_statement_may_be_in_the_url_and_data_in_a_compressed_body(server: Server) -> None:
    server.request("/", b"CREATE OR REPLACE TABLE raw (a UInt8, b String) ENGINE = Memory")
    path = "/?query=INSERT%20INTO%20raw%20FORMAT%20JSONEachRow"
    rows = b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'
    assert server.request(path, gzip.compress(rows), Content_Encoding="gzip")[0] == 200
    assert server.request("/", b"INSERT INTO raw VALUES (3, 'VALUES;')")[0] == 200
    assert server.request("/", b"SELECT * FROM raw ORDER BY a")[2] == b"1\tx\n2\ty\n3\tVALUES;\n"


def test_broken_compression_is_an_error_and_stores_nothing(server: Server) -> None:
    server.request("/", b"CREATE OR REPLACE TABLE broken (a UInt8) ENGINE = Memory")
    path = "/?query=INSERT%20INTO%20broken%20FORMAT%20TSV"
    cut = gzip.compress(b"1\n" * 1000)[:-4]
    assert server.request(path, cut, Content_Encoding="gzip")[0] == 400
    assert server.request("/", b"SELECT count() FROM broken")[2] == b"0\n"


def test_insert_of_a_client_that_vanishes_stores_nothing(server: Server) -> None:
    server.request("/", b"CREATE OR REPLACE TABLE vanish (a UInt64) ENGINE = MergeTree ORDER BY a")
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(
            b"POST /?query=INSERT+INTO+vanish+FORMAT+TSV HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 1000000\r\n\r\n1\n2\n"
        )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        sql = b"SELECT count() FROM system.processes WHERE query ILIKE 'insert into vanish%'"
        if server.request("/", sql)[2] == b"0\n":
            break
    assert server.request("/", b"SELECT count() FROM vanish")[2] == b"0\n"


def test_error_in_the_middle_of_a_stream_reaches_the_client(client: Client) -> None:
    sql = "SELECT throwIf(number = 3000000) FROM numbers(4000000)"
    with (
        pytest.raises(DatabaseError, match="395"),
        client.query_row_block_stream(sql, settings={"max_block_size": 10_000}) as blocks,
    ):
        for _ in blocks:
            pass


def test_ping_answers_while_a_query_runs(server: Server) -> None:
    async def check() -> None:
        slow = await clickhouse_connect.get_async_client(host="127.0.0.1", port=server.port)
        query = asyncio.create_task(slow.command("SELECT sleep(2)"))
        running = b"0\n"
        while running == b"0\n":
            sql = b"SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep(2)%'"
            running = (await asyncio.to_thread(server.request, "/", sql))[2]
        status, _, _ = await asyncio.to_thread(server.request, "/ping", b"", "GET")
        assert status == 200
        assert not query.done()
        await query
        await slow.close()

    asyncio.run(check())


async def test_async_clients_run_at_the_same_time(server: Server) -> None:
    client = await clickhouse_connect.get_async_client(host="127.0.0.1", port=server.port)
    answers = await asyncio.gather(*(client.query(f"SELECT {n}") for n in range(40)))
    assert [answer.result_rows[0][0] for answer in answers] == list(range(40))
    with pytest.raises(DatabaseError):
        await client.query("SELECT * FROM missing_table")
    await client.close()


def test_acknowledged_rows_are_there_after_sigkill(tmp_path: Path) -> None:
    first = start(tmp_path / "data")
    first.request("/", b"CREATE TABLE kept (a UInt64) ENGINE = MergeTree ORDER BY a")
    first.request("/", b"INSERT INTO kept SELECT number FROM numbers(1000)")
    first.stop(signal.SIGKILL)
    second = start(tmp_path / "data")
    try:
        assert second.request("/", b"SELECT count() FROM kept")[2] == b"1000\n"
    finally:
        assert second.stop() == 0


def test_second_server_of_a_directory_says_why_it_stops(server: Server) -> None:
    command = [sys.executable, "-m", "devstack.clickhouse_server", "--port", str(free_port())]
    done = subprocess.run(
        [*command, "--data", str(server.data_dir)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "stop the other server of this directory" in done.stderr.splitlines()[-1]
