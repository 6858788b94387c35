"""A line that changes while something goes on: on a terminal in place, in a pipe now and then."""

import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable

from common.errors import SluiceError
from starter.output import say

PLAIN_INTERVAL_S = 5.0

Show = Callable[[str, str], None]
"""Takes the live line, and a word that changes when the line is worth a line of its own."""


class WaitTimedOutError(SluiceError):
    """What was waited for did not come in time; the run goes on."""


@contextlib.asynccontextmanager
async def live() -> AsyncIterator[Show]:
    """Show one changing line on a terminal; else a line now and then and when the word changes."""
    if not sys.stderr.isatty():
        yield _plain_lines()
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as screen:
        yield lambda line, _word: screen.update(
            Text(line, no_wrap=True, overflow="ellipsis"), refresh=True
        )


def _plain_lines() -> Show:
    last_word, last_time = "", 0.0

    def show(line: str, word: str) -> None:
        nonlocal last_word, last_time
        now = time.monotonic()
        if word != last_word or now - last_time >= PLAIN_INTERVAL_S:
            last_word, last_time = word, now
            say(line)

    return show
