"""Moments at which a worker process dies, exact ones: before or after its nth call of a kind."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from inspect import isasyncgenfunction
from typing import Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
Port = TypeVar("Port")

MOMENTS = (
    "after:fetch",
    "before:put",
    "after:put",
    "after:create",
    "before:write:clickhouse",
    "after:write:clickhouse",
    "before:write:timescaledb",
    "after:write:timescaledb",
    "after:write:postgres",
    "after:write:kafka",
    "after:write:lake",
    "before:deliver",
    "after:deliver",
    "before:continue",
    "after:continue",
)
"""`fetch` reads a block of records, `put` and `create` store an object, `write` commits a chunk in
a sink, `deliver` appends dead letters, `continue` hands the state to a new run."""


@dataclass
class Crash:
    """Kills this process with SIGKILL at its nth passage of a moment.

    Attributes:
        moment: One of `MOMENTS`.
        nth: Which passage, from 1.
    """

    moment: str
    nth: int
    passed: int = 0

    def passes(self, moment: str) -> None:
        """Note that a moment is passed, if the process lives on."""
        if moment == self.moment:
            self.passed += 1
            if self.passed == self.nth:
                os.kill(os.getpid(), signal.SIGKILL)


class _Mortal(Generic[Port]):
    def __init__(self, port: Port, crash: Crash, names: dict[str, str]) -> None:
        self._port = port
        self._crash = crash
        self._names = names

    def __getattr__(self, name: str) -> object:
        method = getattr(self._port, name)
        if name not in self._names:
            return method
        around = _around_items if isasyncgenfunction(method) else _around_call
        return around(method, self._crash, self._names[name])


def mortal(port: Port, crash: Crash, names: dict[str, str]) -> Port:
    """Wrap a port so that some of its calls pass moments.

    Args:
        port: A client of something outside.
        crash: What dies.
        names: Name of a method to that of its moments.
    """
    return cast("Port", _Mortal(port, crash, names))


def _around_call(
    method: Callable[P, Awaitable[T]], crash: Crash, name: str
) -> Callable[P, Awaitable[T]]:
    async def call(*args: P.args, **options: P.kwargs) -> T:
        crash.passes(f"before:{name}")
        result = await method(*args, **options)
        crash.passes(f"after:{name}")
        return result

    return call


def _around_items(
    method: Callable[P, AsyncIterator[T]], crash: Crash, name: str
) -> Callable[P, AsyncIterator[T]]:
    async def items(*args: P.args, **options: P.kwargs) -> AsyncIterator[T]:
        async for item in method(*args, **options):
            crash.passes(f"after:{name}")
            yield item

    return items
