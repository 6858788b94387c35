"""Which target a pipeline's file names, and whose connection it takes."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from common.errors import SettingsError, UnknownNameError
from common.settings import ClickHouseSettings, ConnectionSettings, Settings
from connectors.batch_targets import clickhouse_settings, open_target


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


async def test_targets_open_without_a_server(tmp_path: Path) -> None:
    for kind in ("clickhouse", "lake"):
        target = open_target(kind, None, settings(tmp_path))
        await target.close()
