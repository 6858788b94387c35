"""Ports of embedded services: chosen once, outside the range that clients draw from."""

import contextlib
import random
import socket

from common.errors import FatalError, UsageError

HOST = "127.0.0.1"
_FIRST, _LAST = 21_000, 31_999


class PortTakenError(UsageError):
    """A configured port belongs to another process."""

    def __init__(self, service: str, port: int, setting: str) -> None:
        self.service = service
        self.port = port
        super().__init__(
            f"port of `{service}`: expected {port} to be free, but another process uses it; "
            f"stop that process or set `stack.{setting}` to another port"
        )


def is_free(port: int) -> bool:
    """Say whether a server could listen on a loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return not _answers(port)


def _answers(port: int) -> bool:
    """Say whether something listens; a wildcard listener may not stop a bind to loopback."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) == 0
    return False


def choose(taken: set[int]) -> int:
    """Choose a free port below the ephemeral ranges of Linux and macOS and add it to `taken`.

    Raises:
        FatalError: No port is free.
    """
    for port in random.SystemRandom().sample(range(_FIRST, _LAST + 1), 500):
        if port not in taken and is_free(port):
            taken.add(port)
            return port
    raise FatalError(
        f"ports {_FIRST} to {_LAST}: expected a free one, got none in 500 tries; "
        "stop what listens there or set the ports in `[stack]`"
    )


def settle(
    service: str, setting: str, *, pinned: int | None, recorded: int | None, taken: set[int]
) -> tuple[int, str | None]:
    """Decide a service's port: the configured one, else the recorded one, else a free one.

    Args:
        service: Name for messages.
        setting: Key under `[stack]` that pins the port.
        pinned: Configured port.
        recorded: Port of an earlier start.
        taken: Ports of the stack's other services; the result is added.

    Returns:
        The port, and a notice when a recorded port had to be given up.

    Raises:
        PortTakenError: The configured port is not free.
    """
    if pinned is not None:
        if pinned in taken or not is_free(pinned):
            raise PortTakenError(service, pinned, setting)
        taken.add(pinned)
        return pinned, None
    if recorded is not None and recorded not in taken and is_free(recorded):
        taken.add(recorded)
        return recorded, None
    port = choose(taken)
    if recorded is None:
        return port, None
    return port, f"port {recorded} of {service} is used by another process now: moved to {port}"
