"""Tasks of a workflow that run beside its loop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import ParamSpec

from temporalio import workflow

P = ParamSpec("P")


class Beside:
    """Tasks that the loop starts and does not wait for; what goes wrong in one is handed back.

    Cancelled work is no failure: it is pinned and done again.
    """

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._tasks: dict[asyncio.Task[None], bool] = {}

    def spawn(
        self, work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Task[None]:
        """Start work that lives as long as the run."""
        return self._start(self._guard(work, *args, **kwargs), computes=False)

    def compute(
        self, work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Task[None]:
        """Start work for the epoch at hand."""
        return self._start(self._guard(work, *args, **kwargs), computes=True)

    def cancel_computing(self) -> None:
        """Cancel the work for an epoch that ends."""
        for task in [task for task, computes in self._tasks.items() if computes]:
            task.cancel()

    async def cancel(self) -> None:
        """Cancel all and wait until each has ended."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await workflow.wait(list(self._tasks))

    def _start(self, guarded: Coroutine[None, None, None], *, computes: bool) -> asyncio.Task[None]:
        task = asyncio.create_task(guarded)
        self._tasks[task] = computes
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    async def _guard(
        self, work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        try:
            await work(*args, **kwargs)
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001 - handed to the loop, which raises it
            self._on_failure(error)
