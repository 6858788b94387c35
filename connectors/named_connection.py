"""Connections that files and commands name: `[connections.<name>]` of the settings."""

from common.errors import SettingsError, UnknownNameError
from common.near_miss import near_miss
from common.settings import ConnectionSettings, Settings


def named_connection(name: str, kinds: tuple[str, ...], settings: Settings) -> ConnectionSettings:
    """Give a named connection.

    Raises:
        UnknownNameError: There is no such connection.
        SettingsError: It is of another kind.
    """
    found = settings.connections.get(name)
    if found is None:
        known = ", ".join(settings.connections) or "none"
        raise UnknownNameError(
            f"connection `{name}`: expected one of [connections], got {known}"
            f"{near_miss(name, settings.connections)}; add [connections.{name}] to `sluice.toml`"
        )
    if found.kind not in kinds:
        raise SettingsError(
            f"connection `{name}`: expected kind {' or '.join(kinds)}, got {found.kind}; name "
            "another one"
        )
    return found


def postgres_dsn(
    name: str | None, settings: Settings, kinds: tuple[str, ...] = ("postgres", "timescaledb")
) -> str:
    """Give the address of a named PostgreSQL, or of the service of the first kind in the settings.

    Args:
        name: Name of the connection; None is the service.
        settings: Where services are.
        kinds: Kinds that the connection may be of.

    Raises:
        UnknownNameError: There is no such connection.
        SettingsError: It is of another kind, or there is no address.
    """
    if name is not None:
        return named_connection(name, kinds, settings).dsn.get_secret_value()
    dsn = (settings.postgres if kinds[0] == "postgres" else settings.timescaledb).dsn
    if dsn is None:
        raise SettingsError(
            f"`{kinds[0]}.dsn`: expected an address, got none; run `sluice up` or set it"
        )
    return dsn.get_secret_value()
