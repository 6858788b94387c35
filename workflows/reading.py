"""The work that reads the log, which can be given up all at once and begun anew."""

import asyncio
from collections.abc import Callable


class Reading:
    """Tasks that read the log.

    An activity that ends in the same step as its cancellation swallows it, so that a task which was
    given up goes on; whoever took a `turn` before it waited asks `abandoned` afterwards.
    """

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._turn = 0

    def add(self, task: asyncio.Task[None]) -> None:
        """Take in a task that reads."""
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def give_up(self) -> None:
        """Cancel all of them; what they bring from now on is not taken."""
        self._turn += 1
        for task in self._tasks:
            task.cancel()

    def turn(self) -> Callable[[], bool]:
        """Give what tells, from now on, whether this work was given up."""
        mine = self._turn
        return lambda: self._turn != mine
