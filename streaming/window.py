"""Windows in integer milliseconds, `[start, end)`, aligned to the epoch plus an offset.

A window is made of panes of gcd(size, slide); a tumbling window is one pane. Floor division makes
negative times work. Windows that follow the days of a time zone carry their end beside their start,
so that only who assigns events to them needs to know the zone.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from common.errors import PipelineSpecError
from pipelines.stream import Window
from streaming.day import day_windows

PANE = "_pane"
"""Column that holds the start of a row's pane, Int64 milliseconds since the epoch."""

PANE_END = "_pane_end"
"""Column beside PANE that holds its end, where no arithmetic on the start gives it."""

END_OF_TIME_MS = 2**62
"""A watermark above every event time: the end of a bounded log."""

Time = TypeVar("Time", int, pl.Expr)
"""One time, or a column of times; Int64 milliseconds since the epoch."""


@dataclass(frozen=True)
class Windowing:
    """How event times map to panes and panes to windows.

    Attributes:
        slide_ms: Distance of window starts; at most the size.
        zone: Time zone whose days the windows follow; size, slide and offset are then times of its
            wall clock.
    """

    size_ms: int
    slide_ms: int
    offset_ms: int = 0
    zone: str | None = None

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

    @property
    def carried(self) -> list[str]:
        """Columns that partials carry beside PANE and that follow from the pane."""
        return [] if self.zone is None else [PANE_END]

    @property
    def start(self) -> pl.Expr:
        """Start of the first window of each row's pane."""
        return pl.col(PANE) if self.zone is not None else self.first_window_start(pl.col(PANE))

    @property
    def end(self) -> pl.Expr:
        """End of the last window of each row's pane."""
        return pl.col(PANE_END) if self.zone is not None else self.last_window_end(pl.col(PANE))

    def assign(self, rows: pl.DataFrame, event: str) -> pl.DataFrame:
        """Add PANE, and what is carried beside it, to events.

        Args:
            rows: Events.
            event: Column of event times, Int64 milliseconds since the epoch, never null.
        """
        if self.zone is None:
            return rows.with_columns(self.pane_start(pl.col(event)).alias(PANE))
        times = rows[event].to_numpy()
        starts, ends = day_windows(times, self.zone, self.size_ms, self.offset_ms)
        return rows.with_columns(pl.Series(PANE, starts), pl.Series(PANE_END, ends))

    def count(self, due_ms: int, last_pane_ms: int) -> int:
        """Count the windows from that which ends at `due_ms` to the last one of a pane.

        Where a zone makes days shorter or longer it is an estimate, and never less than one.
        """
        if self.zone is None:
            return (self.last_window_end(last_pane_ms) - due_ms) // self.slide_ms + 1
        return max(1, round((last_pane_ms - due_ms) / self.size_ms) + 2)

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
    if window.kind == "session" or (window.timezone is not None and window.kind != "tumbling"):
        raise PipelineSpecError(
            f"window `{window.kind}`: expected a tumbling window or a sliding one without time "
            "zone, got another; the engine runs no other yet, declare one of these"
        )
    slide_ms = window.slide_ms or window.size_ms
    return Windowing(window.size_ms, slide_ms, window.offset_ms, window.timezone)
