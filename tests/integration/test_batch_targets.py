"""Which target a pipeline's file names, and whose connection it takes."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from common.errors import SettingsError, UnknownNameError
from common.settings import ClickHouseSettings, ConnectionSettings, PostgresSettings, Settings
from connectors.batch_targets import clickhouse_settings, open_target
from connectors.named_connection import postgres_dsn


def settings(tmp_path: Path, **connections: str) -> Settings:
    return Settings(
        project_dir=tmp_path,
        data_dir=tmp_path / "data",
        clickhouse=ClickHouseSettings(url="http://localhost:1"),
        connections={
            name: ConnectionSettings(kind="clickhouse", dsn=SecretStr(dsn))
            for name, dsn in connections.items()
        },
    )


def test_a_connection_names_server_account_and_database(tmp_path: Path) -> None:
    found = clickhouse_settings(
        "far", settings(tmp_path, far="clickhouses://me:p%40ss@far.example:9/shop")
    )
    assert (found.url, found.database, found.username, found.password.get_secret_value()) == (
        "https://far.example:9",
        "shop",
        "me",
        "p@ss",
    )
    assert clickhouse_settings(None, settings(tmp_path)).url == "http://localhost:1"


def test_a_connection_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"connections\.bad\.dsn"):
        clickhouse_settings("bad", settings(tmp_path, bad="file:///secret"))
    with pytest.raises(UnknownNameError, match="connection `other`"):
        open_target("clickhouse", "other", settings(tmp_path))
    with pytest.raises(UnknownNameError, match="target `kafka`"):
        open_target("kafka", None, settings(tmp_path))
    with pytest.raises(SettingsError, match=r"`postgres\.dsn`"):
        open_target("postgres", None, settings(tmp_path))
    with pytest.raises(SettingsError, match="expected kind timescaledb, got clickhouse"):
        open_target("timescaledb", "far", settings(tmp_path, far="http://far.example"))


@pytest.mark.parametrize("kind", ["postgres", "timescaledb"])
def test_postgres_is_addressed_by_a_connection_or_by_its_section(tmp_path: Path, kind: str) -> None:
    connection = ConnectionSettings.model_validate({"kind": kind, "dsn": "postgresql://far/shop"})
    section = PostgresSettings(dsn=SecretStr(f"postgresql://near/{kind}"))
    known = settings(tmp_path).model_copy(
        update={"connections": {"far": connection}, kind: section}
    )
    assert postgres_dsn("far", known, (kind,)) == "postgresql://far/shop"
    assert postgres_dsn(None, known, (kind,)) == f"postgresql://near/{kind}"


async def test_targets_open_without_a_server(tmp_path: Path) -> None:
    section = PostgresSettings(dsn=SecretStr("postgresql://localhost:1/x"))
    known = settings(tmp_path).model_copy(update={"postgres": section, "timescaledb": section})
    for kind in ("clickhouse", "lake", "postgres", "timescaledb"):
        target = open_target(kind, None, known)
        await target.close()
