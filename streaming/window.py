"""Windows in integer milliseconds, `[start, end)`, aligned to the epoch plus an offset.

A window is made of panes of gcd(size, slide); a tumbling window is one pane. Floor division makes
negative times work.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from common.errors import PipelineSpecError
from pipelines.stream import Window

PANE = "_pane"
"""Column that holds the start of a row's pane, Int64 milliseconds since the epoch."""

END_OF_TIME_MS = 2**62
"""A watermark above every event time: the end of a bounded log."""

Time = TypeVar("Time", int, pl.Expr)
"""One time, or a column of times; Int64 milliseconds since the epoch."""


@dataclass(frozen=True)
class Windowing:
    """How event times map to panes and panes to windows.

    Attributes:
        slide_ms: Distance of window starts; at most the size.
    """

    size_ms: int
    slide_ms: int
    offset_ms: int = 0

    @property
    def pane_ms(self) -> int:
        """Length of a pane: the longest that divides both size and slide."""
        return math.gcd(self.size_ms, self.slide_ms)

    @property
    def slides(self) -> bool:
        """Whether windows overlap, so that a pane may belong to several."""
        return self.slide_ms < self.size_ms

    @property
    def most_windows(self) -> int:
        """Most windows that a pane belongs to."""
        return -(-self.size_ms // self.slide_ms)

    def pane_start(self, event_ms: Time) -> Time:
        """Give the start of the pane that holds an event time."""
        return (event_ms - self.offset_ms) // self.pane_ms * self.pane_ms + self.offset_ms

    def first_window_start(self, pane_ms: Time) -> Time:
        """Give the start of the first window that contains the pane."""
        before = (self.size_ms - self.pane_ms + self.offset_ms - pane_ms) // self.slide_ms
        return before * -self.slide_ms + self.offset_ms

    def first_window_end(self, pane_ms: Time) -> Time:
        """Give the end of the first window that contains the pane."""
        return self.first_window_start(pane_ms) + self.size_ms

    def last_window_end(self, pane_ms: Time) -> Time:
        """Give the end of the last window that contains the pane."""
        start = (pane_ms - self.offset_ms) // self.slide_ms * self.slide_ms + self.offset_ms
        return start + self.size_ms

    def ended_before(self, at_ms: int) -> int:
        """Give the end of the last window that ended at or before a time, with data or without."""
        first_end_ms = self.offset_ms + self.size_ms
        return (at_ms - first_end_ms) // self.slide_ms * self.slide_ms + first_end_ms


def windowing(window: Window) -> Windowing:
    """Derive panes from a window's declaration.

    Raises:
        PipelineSpecError: The engine does not run windows of this kind.
    """
    if window.kind == "session" or window.timezone is not None:
        raise PipelineSpecError(
            f"window `{window.kind}`: expected a tumbling or sliding window without time zone, got "
            "another; the engine runs no other yet, declare one of these"
        )
    return Windowing(window.size_ms, window.slide_ms or window.size_ms, window.offset_ms)
