"""Opening a target of batches by the kind and the connection that a pipeline file names."""

from typing import get_args
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from activities.etl_ports import BatchTarget
from common.errors import SettingsError, UnknownNameError
from common.settings import ClickHouseSettings, ConnectionSettings, Settings
from connectors.clickhouse_batch import ANSWER_S, ClickHouseBatchTarget
from connectors.clickhouse_client import ClickHouseConnection
from connectors.lake_batch import LakeBatchTarget
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
        return PostgresBatchTarget(postgres_dsn(kind, connection, settings))
    if kind == "timescaledb":
        return TimescaleBatchTarget(postgres_dsn(kind, connection, settings))
    raise UnknownNameError(
        f"target `{kind}`: expected one of {', '.join(_KINDS)}; correct `targets`"
    )


def _named(name: str, kind: str, settings: Settings) -> ConnectionSettings:
    found = settings.connections.get(name)
    if found is None:
        known = ", ".join(settings.connections) or "none"
        raise UnknownNameError(
            f"connection `{name}`: expected one of [connections], got {known}; add "
            f"[connections.{name}] to `sluice.toml`"
        )
    if found.kind != kind:
        raise SettingsError(
            f"connection `{name}`: expected kind {kind}, got {found.kind}; name another one"
        )
    return found


def postgres_dsn(kind: str, name: str | None, settings: Settings) -> str:
    """Give the address of a named connection, or of the service of that kind in the settings."""
    if name is not None:
        return _named(name, kind, settings).dsn.get_secret_value()
    dsn = (settings.postgres if kind == "postgres" else settings.timescaledb).dsn
    if dsn is None:
        raise SettingsError(
            f"`{kind}.dsn`: expected an address, got none; run `sluice up` or set it"
        )
    return dsn.get_secret_value()


def clickhouse_settings(name: str | None, settings: Settings) -> ClickHouseSettings:
    """Give server, account and database of a named connection, or of the settings."""
    if name is None:
        return settings.clickhouse
    parts = urlsplit(_named(name, "clickhouse", settings).dsn.get_secret_value())
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
