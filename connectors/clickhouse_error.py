"""ClickHouse's errors in our words: which pass by themselves and which need a person."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from common.errors import (
    FatalError,
    RetryableError,
    ServiceUnavailableError,
    SettingsError,
    SinkRefusedError,
    SluiceError,
    StorageFullError,
)

_ACCOUNT = {192, 193, 194, 516}
"""UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED."""

_REFUSED = {
    6, 10, 16, 20, 26, 27, 36, 41, 43, 44, 46, 47, 50, 53, 57, 60, 62, 69, 70, 72, 80, 81,
    117, 122, 131, 153, 190, 321, 349, 407, 497, 524, 636,
}  # fmt: skip
"""Types and values that do not fit, columns, tables and databases that are not there, missing
grants.
"""

_REFUSED_NAMES = ("CANNOT_PARSE", "CANNOT_CONVERT", "ILLEGAL_", "INCORRECT_")

_DISK_FULL = {243}
"""NOT_ENOUGH_SPACE; errno 28 comes as text of other codes."""

_UNAVAILABLE = {209, 210, 999}
"""SOCKET_TIMEOUT, NETWORK_ERROR, KEEPER_EXCEPTION."""

_CODE = re.compile(r"[Cc]ode: (\d+)")


def _brief(error: BaseException) -> str:
    text = str(error).split(" (for url", 1)[0]
    text = text.split("server response: ", 1)[-1].split("\n", 1)[0]
    return text[:400]


def translate(error: ClickHouseError, action: str, address: str) -> SluiceError:
    """Give the error of ours for one of the driver's."""
    text = str(error)
    found = _CODE.search(text)
    code = getattr(error, "code", None) or (int(found.group(1)) if found else None)
    brief = _brief(error)
    if code is None:
        if isinstance(error, OperationalError) or "HTTP" in text:
            return ServiceUnavailableError("ClickHouse", address, brief)
        return FatalError(f"{action}: expected the driver to accept it, got {brief}")
    if code in _DISK_FULL or "No space left" in text:
        return StorageFullError(
            f"{action}: expected free space on ClickHouse's disk, got {brief}; free some, it "
            "is tried again"
        )
    if code in _ACCOUNT:
        return SettingsError(
            f"{action}: expected ClickHouse to accept user and password, got {brief}; "
            "correct `clickhouse.username` and `clickhouse.password`"
        )
    if code in _REFUSED or str(getattr(error, "name", "")).startswith(_REFUSED_NAMES):
        return SinkRefusedError(
            f"{action}: expected ClickHouse to take it, got {brief}; correct the table or the "
            "pipeline, then resume"
        )
    if code in _UNAVAILABLE:
        return ServiceUnavailableError("ClickHouse", address, brief)
    return RetryableError(
        f"{action}: expected ClickHouse to finish, got {brief}; it is tried again by itself"
    )


@contextmanager
def translated(action: str, address: str) -> Iterator[None]:
    """Raise our errors in place of the driver's.

    Raises:
        ServiceUnavailableError: No connection, or it broke.
        StorageFullError: The server's disk is full.
        RetryableError: Memory, timeouts, too many parts, anything else that passes.
        SinkRefusedError: A table, column or type that does not fit.
        SettingsError: User or password are wrong.
    """
    try:
        yield
    except ClickHouseError as error:
        raise translate(error, action, address) from error
    except (OSError, TimeoutError, aiohttp.ClientError) as error:
        cause = str(error) or type(error).__name__
        raise ServiceUnavailableError("ClickHouse", address, cause) from error
