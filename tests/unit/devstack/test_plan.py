from pathlib import Path

import pytest
from pydantic import SecretStr

from common.settings import KafkaSettings, PostgresSettings, Settings, StackSettings
from devstack.plan import outside_addresses, plan_services, without_own_addresses
from devstack.port import PortTakenError, choose
from devstack.record import StackRecord

pytestmark = pytest.mark.unit


def _record() -> StackRecord:
    return StackRecord(stack_id="plan", project_dir="/")


@pytest.fixture
def record(tmp_path: Path) -> StackRecord:
    one = _record()
    (tmp_path / "home").mkdir()
    one.postgres_home = str(tmp_path / "home")
    return one


def _names(settings: Settings, record: StackRecord) -> set[str]:
    return {service.name for service in plan_services(settings, record)}


def test_every_service_without_an_address_is_planned(tmp_path: Path, record: StackRecord) -> None:
    settings = Settings(project_dir=tmp_path, data_dir=tmp_path)

    assert _names(settings, record) == {
        "temporal",
        "kafka",
        "clickhouse",
        "postgres",
        "timescaledb",
    }
    assert set(record.addresses) == {
        "temporal.address",
        "temporal.ui_address",
        "kafka.bootstrap_servers",
        "clickhouse.url",
        "postgres.dsn",
        "timescaledb.dsn",
    }


def test_ports_and_password_stay_from_plan_to_plan(tmp_path: Path, record: StackRecord) -> None:
    settings = Settings(project_dir=tmp_path, data_dir=tmp_path)
    plan_services(settings, record)
    first = dict(record.addresses)
    plan_services(settings, record)

    assert record.addresses == first


def test_service_with_an_outside_address_is_not_planned(
    tmp_path: Path, record: StackRecord
) -> None:
    kafka = KafkaSettings(bootstrap_servers="broker:9092")
    settings = Settings(project_dir=tmp_path, data_dir=tmp_path, kafka=kafka)

    assert "kafka" not in _names(settings, record)
    assert outside_addresses(settings) == {"kafka": "broker:9092"}


def test_own_address_that_was_loaded_from_the_record_is_not_outside(
    tmp_path: Path, record: StackRecord
) -> None:
    plan_services(Settings(project_dir=tmp_path, data_dir=tmp_path), record)
    kafka = KafkaSettings(bootstrap_servers=record.addresses["kafka.bootstrap_servers"])
    postgres = PostgresSettings(dsn=SecretStr(record.addresses["postgres.dsn"]))
    loaded = Settings(project_dir=tmp_path, data_dir=tmp_path, kafka=kafka, postgres=postgres)

    assert outside_addresses(without_own_addresses(loaded, record)) == {}


def test_stack_that_settled_on_plain_postgres_stays_there(
    tmp_path: Path, record: StackRecord
) -> None:
    record.timescaledb_kind = "postgres"

    names = _names(Settings(project_dir=tmp_path, data_dir=tmp_path), record)

    assert "timescaledb" not in names
    assert record.addresses["timescaledb.dsn"] == record.addresses["postgres.dsn"]


def test_plain_sink_keeps_the_embedded_postgres_when_the_source_is_outside(
    tmp_path: Path, record: StackRecord
) -> None:
    record.timescaledb_kind = "postgres"
    outside = PostgresSettings(dsn=SecretStr("postgresql://u@h/d"))
    settings = Settings(project_dir=tmp_path, data_dir=tmp_path, postgres=outside)

    assert "postgres" in _names(settings, record)


def test_two_services_on_one_configured_port_are_refused(
    tmp_path: Path, record: StackRecord
) -> None:
    port = choose(set())
    stack = StackSettings(kafka_port=port, clickhouse_port=port)
    settings = Settings(project_dir=tmp_path, data_dir=tmp_path, stack=stack)

    with pytest.raises(PortTakenError, match=str(port)):
        plan_services(settings, record)
