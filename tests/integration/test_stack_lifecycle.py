import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from common.errors import UsageError
from common.settings import Settings, StackSettings
from devstack import stack
from devstack.orphan import find_orphans
from devstack.port import choose
from devstack.process import is_alive
from devstack.record import StackRecord, read_record

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("stack_lifecycle"),
]
_TOPIC = "kept"


def _settings(folder: Path) -> Settings:
    return Settings(project_dir=folder, data_dir=folder / "data")


def _record(settings: Settings) -> StackRecord:
    record = read_record(settings.data_dir)
    assert record is not None
    return record


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    one = _settings(tmp_path_factory.mktemp("stack"))
    stack.up(one, workers=False)
    yield one
    stack.down(one, delete_data=True)


@pytest.fixture
def running(settings: Settings) -> Settings:
    stack.up(settings, workers=False)
    return settings


def test_up_gives_the_address_of_every_service(running: Settings) -> None:
    services = stack.services(running)

    assert {name: entry.state for name, entry in services.items() if entry.state != "settled"} == {
        name: "running" for name, entry in services.items() if entry.state != "settled"
    }
    assert set(stack.embedded_addresses(running.data_dir)) == {
        "temporal.address",
        "temporal.ui_address",
        "kafka.bootstrap_servers",
        "clickhouse.url",
        "postgres.dsn",
        "timescaledb.dsn",
    }


def test_second_up_leaves_every_process_alone(running: Settings) -> None:
    before = {name: entry.pid for name, entry in stack.services(running).items()}
    stack.up(running, workers=False)

    assert {name: entry.pid for name, entry in stack.services(running).items()} == before


def test_killed_broker_is_started_again_and_counted(running: Settings) -> None:
    killed = stack.services(running)["kafka"]
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)

    def is_back() -> bool:
        kafka = stack.services(running)["kafka"]
        return kafka.state == "running" and kafka.pid != killed.pid

    _wait_for(is_back)
    assert stack.services(running)["kafka"].restarts == 1


async def test_records_and_rows_survive_down_and_up(running: Settings) -> None:
    addresses = stack.embedded_addresses(running.data_dir)
    servers, dsn = addresses["kafka.bootstrap_servers"], addresses["postgres.dsn"]
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(_TOPIC, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    await producer.send_and_wait(_TOPIC, b"one")
    await producer.stop()
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("show wal_level") == "logical"
    await connection.execute("create table kept as select 7 as a")
    await connection.close()

    stack.down(running)
    assert stack.up(running, workers=False) == addresses

    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    partition = TopicPartition(_TOPIC, 0)
    assert await consumer.end_offsets([partition]) == {partition: 1}
    await consumer.stop()
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("select a from kept") == 7
    await connection.close()


def test_down_leaves_no_process_and_can_be_repeated(running: Settings) -> None:
    record = _record(running)
    identities = [entry.process for entry in record.services.values()] + [record.supervisor]
    assert all(is_alive(identity) for identity in identities if identity)

    assert stack.down(running) == 0
    assert not any(is_alive(identity) for identity in identities)
    assert find_orphans(_record(running)) == {}
    assert stack.down(running) == 0


def test_up_after_a_killed_supervisor_replaces_what_it_left(running: Settings) -> None:
    record = _record(running)
    assert record.supervisor is not None
    left = [entry.process for entry in record.services.values() if entry.process]
    os.kill(record.supervisor.pid, signal.SIGKILL)
    _wait_for(lambda: not is_alive(record.supervisor))
    stack.up(running, workers=False)

    assert not any(is_alive(identity) for identity in left)
    assert all(is_alive(one.process) for one in stack.services(running).values() if one.pid)


def test_down_after_a_killed_supervisor_leaves_no_process(running: Settings) -> None:
    record = _record(running)
    assert record.supervisor is not None
    os.kill(record.supervisor.pid, signal.SIGKILL)
    _wait_for(lambda: not is_alive(record.supervisor))

    assert stack.down(running) > 0
    assert find_orphans(_record(running)) == {}


def test_two_stacks_run_side_by_side_and_stop_apart(running: Settings, tmp_path: Path) -> None:
    other = _settings(tmp_path)
    try:
        theirs = stack.up(other, workers=False)
        ours = stack.embedded_addresses(running.data_dir)
        assert not set(theirs.values()) & set(ours.values())
        # States of streams and records of runs would speak of servers that are gone.
        (other.data_dir / "objects" / "streams").mkdir(parents=True)
        (other.data_dir / "mine.txt").write_text("kept")
    finally:
        stack.down(other, delete_data=True)

    assert [path.name for path in other.data_dir.iterdir()] == ["mine.txt"]
    assert stack.is_running(running)
    assert all(is_alive(one.process) for one in stack.services(running).values() if one.pid)


def test_configured_port_of_another_process_stops_the_start_with_its_name(
    running: Settings, tmp_path: Path
) -> None:
    taken = stack.services(running)["clickhouse"].port
    other = Settings(
        project_dir=tmp_path, data_dir=tmp_path / "data", stack=StackSettings(kafka_port=taken)
    )

    with pytest.raises(stack.StackStartError, match=f"port of `kafka`: expected {taken}"):
        stack.up(other, workers=False)

    assert find_orphans(_record(other)) == {}


def test_interrupted_up_stops_what_it_started(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    command = [sys.executable, "-m", "starter.main", "up", "--no-workers"]
    environment = {
        **os.environ,
        "SLUICE_PROJECT_DIR": str(settings.project_dir),
        "SLUICE_DATA_DIR": str(settings.data_dir),
        "SLUICE_STACK__KAFKA_PORT": str(choose(set())),
    }
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate()

    assert process.returncode == 130
    record = _record(settings)
    assert record.supervisor is None
    assert find_orphans(record) == {}
    stack.down(settings, delete_data=True)


def test_data_dir_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    with pytest.raises(UsageError, match="expected a folder to write to"):
        stack.up(_settings(tmp_path), workers=False)
