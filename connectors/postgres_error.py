"""PostgreSQL's errors in our words: which pass by themselves and which need a person."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from common.errors import (
    ContractViolationError,
    FatalError,
    RetryableError,
    ServiceUnavailableError,
    SettingsError,
    SinkRefusedError,
    SluiceError,
    StorageFullError,
)

_UNAVAILABLE_STATES = ("08", "57P")
"""Classes: connection exception, operator intervention (shutdown, crash, cannot connect now)."""

_PASSING_CLASSES = ("40", "53", "55", "57", "58", "25", "XX")
"""Classes: rollback, resources, object state, cancelled, system error, wrong state (read-only after
failover), internal.
"""


def is_outage(error: asyncpg.PostgresError) -> bool:
    """Tell whether the server is going away, coming up or full of clients."""
    state = error.sqlstate or ""
    return state.startswith(_UNAVAILABLE_STATES) or state == "53300"


def translate(error: asyncpg.PostgresError, action: str, service: str, address: str) -> SluiceError:
    """Give the error of ours for one that the server sent."""
    state = error.sqlstate or ""
    brief = f"{str(error).splitlines()[0] if str(error) else type(error).__name__} ({state})"
    if is_outage(error):
        return ServiceUnavailableError(service, address, brief)
    if state == "53100" or "No space left" in brief:
        return StorageFullError(
            f"{action}: expected free space on the disk of {service}, got {brief}; free some, "
            "it is tried again"
        )
    if state.startswith("28") or state == "3D000":
        return SettingsError(
            f"{action}: expected {service} at {address} to accept user, password and database, "
            f"got {brief}; "
            "correct the dsn"
        )
    if state.startswith(("22", "23")):
        return ContractViolationError(
            f"{action}: expected values that {service} takes, got {brief}; "
            "filter or change them in the pipeline, then resume"
        )
    if state.startswith(_PASSING_CLASSES):
        return RetryableError(
            f"{action}: expected {service} to finish, got {brief}; it is tried again by itself"
        )
    if state.startswith(("42", "0A", "3F")):
        return SinkRefusedError(
            f"{action}: expected {service} to take it, got {brief}; correct the table or the "
            "pipeline, then resume"
        )
    return FatalError(
        f"{action}: expected {service} to take it, got {brief}; see the log of {service}"
    )


@contextmanager
def translated(action: str, service: str, address: str) -> Iterator[None]:
    """Raise our errors in place of the driver's.

    Raises:
        ServiceUnavailableError: No connection, or it broke; the transaction is rolled back.
        StorageFullError: The server's disk is full.
        RetryableError: Deadlock, lost serialisation, memory, cancelled.
        SinkRefusedError: A table, column or right that is not there.
        ContractViolationError: A value that the server or the driver does not take.
        SettingsError: User, password or database are wrong.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise translate(error, action, service, address) from error
    except (asyncpg.DataError, OverflowError) as error:
        raise ContractViolationError(
            f"{action}: expected values that fit their column, got {error}; correct the type "
            "in the pipeline file"
        ) from error
    except (
        OSError,
        TimeoutError,
        EOFError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ) as error:
        raise ServiceUnavailableError(
            service, address, str(error) or type(error).__name__
        ) from error
