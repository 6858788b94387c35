"""Moments at which a worker process dies, exact ones: before or after its nth call of a kind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from inspect import isasyncgenfunction
from typing import Generic, Literal, ParamSpec, TypeVar, cast

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


Manner = Literal["killed", "told", "told and stuck"]
"""A process is killed with SIGKILL, or told to stop with SIGTERM, as in a deployment. One that is
stuck then never gets past the moment by itself."""


@dataclass
class Crash:
    """Ends this process at its nth passage of a moment.

    Attributes:
        moment: One of `MOMENTS`.
        nth: Which passage, from 1.
        manner: How it ends.
    """

    moment: str
    nth: int
    manner: Manner = "killed"
    passed: int = 0

    def passes(self, moment: str) -> bool:
        """Note that a moment is passed, if the process lives on; tells whether it is the one."""
        if moment != self.moment:
            return False
        self.passed += 1
        if self.passed != self.nth:
            return False
        os.kill(os.getpid(), signal.SIGKILL if self.manner == "killed" else signal.SIGTERM)
        return True

    async def reaches(self, moment: str) -> None:
        """Pass a moment, or be stuck there until cancelled."""
        if self.passes(moment) and self.manner == "told and stuck":
            await asyncio.Event().wait()


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
        await crash.reaches(f"before:{name}")
        result = await method(*args, **options)
        await crash.reaches(f"after:{name}")
        return result

    return call


def _around_items(
    method: Callable[P, AsyncIterator[T]], crash: Crash, name: str
) -> Callable[P, AsyncIterator[T]]:
    async def items(*args: P.args, **options: P.kwargs) -> AsyncIterator[T]:
        async for item in method(*args, **options):
            await crash.reaches(f"after:{name}")
            yield item

    return items
