"""Signs of life of an activity, so that only a lost worker is taken for one."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from temporalio import activity

from activities.own_run import refuse_reset_run

BEAT_S = 1.5
"""Well below the shortest heartbeat time-out in `workflows.policies`."""

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


def with_heartbeats(
    work: Callable[[S, T], Awaitable[R]],
) -> Callable[[S, T], Coroutine[Any, Any, R]]:
    """Send heartbeats for as long as an activity runs; they carry its seconds so far.

    An outside system that hangs is then told by the connector's own time-out, which is retried
    for ever, and not by a heartbeat time-out, which says that the worker was lost. Work of a run
    that was reset is refused first.
    """

    @functools.wraps(work)
    async def beating(self: S, task: T) -> R:
        refuse_reset_run(task)
        beats = asyncio.create_task(_beat())
        try:
            return await work(self, task)
        finally:
            beats.cancel()

    return beating


async def _beat() -> None:
    began = time.monotonic()
    while True:
        activity.heartbeat(round(time.monotonic() - began, 1))
        await asyncio.sleep(BEAT_S)
