"""Windows in integer milliseconds, `[start, end)`, aligned to the epoch plus an offset.

A window is made of panes of gcd(size, slide); a tumbling window is one pane. Floor division makes
negative times work. Windows that follow the days of a time zone carry their end beside their start,
so that only who assigns events to them needs to know the zone. Sessions are where events are, and
carry theirs, too.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from common.errors import PipelineSpecError
from pipelines.stream import Window
from streaming.day import DAY_MS, day_windows

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

    def whole_ms(self, fire_ms: int) -> int:
        """Give the latest end of a window that has surely fired at a watermark."""
        return fire_ms

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

    @property
    def shown_end(self) -> pl.Expr:
        """End of a window as readers see it, PANE being its start."""
        return self.end

    @property
    def due(self) -> pl.Expr:
        """The watermark at which the last window of each row's pane fires."""
        return self.end

    @property
    def settled(self) -> pl.Expr:
        """The watermark from which on no event on time belongs to each row's pane."""
        return self.end

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
        """Give the end of the last window that contains the pane; of a zone's days, a bound."""
        if self.zone is not None:
            return pane_ms + self.size_ms + DAY_MS
        start = (pane_ms - self.offset_ms) // self.slide_ms * self.slide_ms + self.offset_ms
        return start + self.size_ms

    def latest_end(self, last_pane_ms: int, max_event_ms: int | None) -> int:  # noqa: ARG002 - sessions
        """Give an end that no window lies beyond.

        Args:
            last_pane_ms: Start of the last pane, or of the last session.
            max_event_ms: The latest event time; None where none is known.
        """
        return self.last_window_end(last_pane_ms)

    def reads_from(self, floor_ms: int) -> int:
        """Give the time from which on all events are needed for the windows from a floor on."""
        return floor_ms

    def ended_before(self, at_ms: int) -> int:
        """Give the end of the last window that ended at or before a time, with data or without.

        Where ends are anywhere, or follow a time zone, it is the time itself.
        """
        if self.zone is not None:
            return at_ms
        first_end_ms = self.offset_ms + self.size_ms
        return (at_ms - first_end_ms) // self.slide_ms * self.slide_ms + first_end_ms


@dataclass(frozen=True)
class SessionWindowing(Windowing):
    """Sessions: events of one key with at most the gap between neighbours; `size_ms` is the gap.

    An event alone is a session that ends a gap after it. With a maximum length, a session also ends
    at every multiple of that since the epoch: a cut that no other event can move.

    Attributes:
        max_length_ms: Distance of the cuts; None cuts nowhere.
    """

    max_length_ms: int | None = None

    @property
    def carried(self) -> list[str]:
        """The end of a session, cuts left out: a gap after its last event."""
        return [PANE_END]

    @property
    def start(self) -> pl.Expr:
        """Time of the first event."""
        return pl.col(PANE)

    @property
    def end(self) -> pl.Expr:
        """A gap after the last event, cuts left out."""
        return pl.col(PANE_END)

    @property
    def shown_end(self) -> pl.Expr:
        """A gap after the last event, or the cut before that."""
        if self.max_length_ms is None:
            return self.end
        cut = (pl.col(PANE_END) - self.size_ms) // self.max_length_ms + 1
        return pl.min_horizontal(self.end, cut * self.max_length_ms)

    @property
    def due(self) -> pl.Expr:
        """The watermark at which a session fires: beyond its end, for the gap is inclusive."""
        return self.shown_end + 1

    @property
    def settled(self) -> pl.Expr:
        """The watermark from which on no event on time belongs to a session.

        An event on time ends, alone, after the watermark, and may be a gap later than the last one.
        """
        return self.end + self.size_ms

    def whole_ms(self, fire_ms: int) -> int:
        """Give the latest end of a session that has surely fired at a watermark."""
        return fire_ms if fire_ms >= END_OF_TIME_MS else fire_ms - 1

    def latest_end(self, last_pane_ms: int, max_event_ms: int | None) -> int:
        """Give a gap after the latest event: where a session begins does not tell where it ends."""
        return (
            max(last_pane_ms, last_pane_ms if max_event_ms is None else max_event_ms) + self.size_ms
        )

    def reads_from(self, floor_ms: int) -> int:
        """Give a gap before the floor: an event since then may be why one is not the first."""
        return floor_ms - self.size_ms

    def ended_before(self, at_ms: int) -> int:
        """Give the latest end of a session that has surely fired at a watermark."""
        return self.whole_ms(at_ms)

    def assign(self, rows: pl.DataFrame, event: str) -> pl.DataFrame:
        """Make each event a session."""
        at = pl.col(event)
        return rows.with_columns(at.alias(PANE), (at + self.size_ms).alias(PANE_END))

    def stretch_start(self, event_ms: pl.Expr) -> pl.Expr:
        """Give the start of a stretch of time, all of whose events of one key belong together."""
        start = event_ms // self.size_ms * self.size_ms
        if self.max_length_ms is None:
            return start
        return pl.max_horizontal(start, event_ms // self.max_length_ms * self.max_length_ms)


def windowing(window: Window) -> Windowing:
    """Derive panes from a window's declaration.

    Raises:
        PipelineSpecError: The engine does not run windows of this kind.
    """
    if window.kind == "session":
        return SessionWindowing(window.size_ms, window.size_ms, max_length_ms=window.max_length_ms)
    if window.timezone is not None and window.kind != "tumbling":
        raise PipelineSpecError(
            f"window `{window.kind}`: expected a tumbling window or a sliding one without time "
            "zone, got another; the engine runs no other yet, declare one of these"
        )
    slide_ms = window.slide_ms or window.size_ms
    return Windowing(window.size_ms, slide_ms, window.offset_ms, window.timezone)
