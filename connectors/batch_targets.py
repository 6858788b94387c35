"""Opening a target of batches by the kind and the connection that a pipeline file names."""

from typing import get_args
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from activities.etl_ports import BatchTarget
from common.errors import SettingsError, UnknownNameError
from common.settings import ClickHouseSettings, Settings
from connectors.clickhouse_batch import ANSWER_S, ClickHouseBatchTarget
from connectors.clickhouse_client import ClickHouseConnection
from connectors.lake_batch import LakeBatchTarget
from connectors.named_connection import named_connection, postgres_dsn
from connectors.object_store import ObstoreStore
from connectors.postgres_batch import PostgresBatchTarget
from connectors.sinks import lake_url
from connectors.timescale_batch import TimescaleBatchTarget
from pipelines.etl import TargetKind

_KINDS = get_args(TargetKind)


def open_target(kind: str, connection: str | None, settings: Settings) -> BatchTarget:
    """Give the target of a kind; it connects at its first use.

    Without the name of a connection it is the service of that kind in the settings.

    Raises:
        UnknownNameError: There is no such kind or connection.
        SettingsError: The connection is of another kind, or has no address.
    """
    if kind == "clickhouse":
        return ClickHouseBatchTarget(
            ClickHouseConnection(clickhouse_settings(connection, settings), ANSWER_S)
        )
    if kind == "lake":
        url = lake_url(settings)
        return LakeBatchTarget(ObstoreStore(url, settings.object_store, setting="lake.url"))
    if kind == "postgres":
        return PostgresBatchTarget(postgres_dsn(connection, settings, (kind,)))
    if kind == "timescaledb":
        return TimescaleBatchTarget(postgres_dsn(connection, settings, (kind,)))
    raise UnknownNameError(
        f"target `{kind}`: expected one of {', '.join(_KINDS)}; correct `targets`"
    )


def clickhouse_settings(name: str | None, settings: Settings) -> ClickHouseSettings:
    """Give server, account and database of a named connection, or of the settings."""
    if name is None:
        return settings.clickhouse
    parts = urlsplit(named_connection(name, ("clickhouse",), settings).dsn.get_secret_value())
    schemes = {"http": "http", "https": "https", "clickhouse": "http", "clickhouses": "https"}
    if parts.scheme not in schemes or parts.hostname is None:
        raise SettingsError(
            f"`connections.{name}.dsn`: expected http://user:password@host:port/database, got "
            f"another address of scheme `{parts.scheme}`; correct it"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return ClickHouseSettings(
        url=f"{schemes[parts.scheme]}://{host}{port}",
        database=unquote(parts.path.strip("/")) or "default",
        username=unquote(parts.username or "default"),
        password=SecretStr(unquote(parts.password or "")),
    )
