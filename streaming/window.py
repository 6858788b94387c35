"""Windows in integer milliseconds, `[start, end)`, aligned to the epoch plus an offset.

A window is made of panes of gcd(size, slide); a tumbling window is one pane. Floor division makes
negative times work.
"""

import math
from dataclasses import dataclass

import polars as pl

from common.errors import PipelineSpecError
from pipelines.stream import Window

PANE = "_pane"
"""Column that holds the start of a row's pane, Int64 milliseconds since the epoch."""

END_OF_TIME_MS = 2**62
"""A watermark above every event time: the end of a bounded log."""


@dataclass(frozen=True)
class Windowing:
    """How event times map to panes and panes to windows."""

    size_ms: int
    pane_ms: int
    offset_ms: int = 0

    def pane_of(self, event_ms: pl.Expr) -> pl.Expr:
        """Give the start of the pane that holds an event time."""
        return (event_ms - self.offset_ms).floordiv(self.pane_ms) * self.pane_ms + self.offset_ms

    def pane_start(self, event_ms: int) -> int:
        """Give the start of the pane that holds one event time."""
        return (event_ms - self.offset_ms) // self.pane_ms * self.pane_ms + self.offset_ms

    def last_window_end(self, pane_ms: int) -> int:
        """Give the end of the last window that contains the pane."""
        return pane_ms + self.size_ms


def windowing(window: Window) -> Windowing:
    """Derive panes from a window's declaration.

    Raises:
        PipelineSpecError: The engine does not run windows of this kind.
    """
    if window.kind != "tumbling" or window.timezone is not None:
        raise PipelineSpecError(
            f"window `{window.kind}`: expected a tumbling window without time zone, got another; "
            "the engine runs no other yet, declare a tumbling one"
        )
    slide_ms = window.slide_ms or window.size_ms
    return Windowing(window.size_ms, math.gcd(window.size_ms, slide_ms), window.offset_ms)
