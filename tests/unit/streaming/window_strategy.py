"""Windows of every kind to draw from, and logs whose times suit them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from pipelines.stream import Window
from streaming.day import DAY_MS
from streaming.status import RewindTo
from tests.unit.streaming.day_oracle import HOUR_MS
from tests.unit.streaming.event_log import SIZE_MS, Log

STRETCH = 14_400
"""Turns the seconds of a drawn log into steps of four hours."""

GAP = Window(kind="session", size_ms=500)
BERLIN = Window(kind="tumbling", size_ms=DAY_MS, timezone="Europe/Berlin")

CHANGES = {
    "Europe/Berlin": ("2026-03-29", "2026-10-25", "1945-05-24"),
    "America/Sao_Paulo": ("2018-11-04", "2018-02-18"),
    "Pacific/Apia": ("2011-12-30", "2012-03-31"),
    "Africa/Cairo": ("2023-04-28",),
    "America/St_Johns": ("2010-11-07",),
    "Atlantic/Azores": ("2026-10-25",),
    "UTC": ("1970-01-01",),
}
"""Days near which the clock of a zone is changed."""


def at(text: str) -> int:
    """Give an instant in milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000


def stretched(log: Log, base_ms: int) -> Log:
    """Spread a drawn log over days from a time on."""
    return {
        n: [replace(e, event_ms=base_ms + e.event_ms * STRETCH) for e in events]
        for n, events in log.items()
    }


@dataclass(frozen=True)
class Kind:
    """Windows, and how the times of a drawn log are to be stretched for them."""

    window: Window
    base_ms: int = 0
    stretch: int = 1

    def log(self, log: Log) -> Log:
        """Let the times of a log suit the windows."""
        return log if self.stretch == 1 else stretched(log, self.base_ms)

    def to(self, to: RewindTo) -> RewindTo:
        """Let the time of a rewind suit the windows."""
        if to.time_ms is None:
            return to
        return RewindTo(time_ms=self.base_ms + to.time_ms * self.stretch)


KINDS = {
    "tumbling": Kind(Window(kind="tumbling", size_ms=1_000)),
    "sliding": Kind(Window(kind="sliding", size_ms=1_000, slide_ms=400)),
    "session": Kind(Window(kind="session", size_ms=300)),
    "cut session": Kind(Window(kind="session", size_ms=300, max_length_ms=900)),
    "day": Kind(BERLIN, at("2026-03-28"), STRETCH),
}
"""One of each kind, to run a test over all of them."""

ALIGNED = st.sampled_from(
    [
        Window(kind="tumbling", size_ms=SIZE_MS),
        Window(kind="tumbling", size_ms=SIZE_MS, offset_ms=300),
        Window(kind="sliding", size_ms=SIZE_MS, slide_ms=400, offset_ms=-100),
    ]
)


@st.composite
def sliding(draw: st.DrawFn) -> Window:
    """Draw sliding windows, of which some distances do not divide the size."""
    slide_ms = draw(st.sampled_from([100, 300, 500, 700]) | st.integers(200, 2_000))
    size_ms = draw(st.integers(slide_ms, slide_ms * 6))
    offset_ms = draw(st.integers(-slide_ms + 1, slide_ms - 1))
    return Window(kind="sliding", size_ms=size_ms, slide_ms=slide_ms, offset_ms=offset_ms)


@st.composite
def sessions(draw: st.DrawFn) -> Window:
    """Draw sessions, with cuts or without."""
    gap_ms = draw(st.sampled_from([1, 100, 400, 900]))
    longest = draw(st.none() | st.integers(gap_ms, 3_000))
    return Window(kind="session", size_ms=gap_ms, max_length_ms=longest)


@st.composite
def day_windows(draw: st.DrawFn) -> tuple[Window, int]:
    """Draw windows of days, and a time near which the clock of their zone is changed."""
    zone = draw(st.sampled_from(sorted(CHANGES)))
    size_ms = draw(st.sampled_from([1, 1, 1, 2, 7])) * DAY_MS
    offset_ms = draw(st.sampled_from([0, 0, 6 * HOUR_MS, -90 * 60_000]))
    window = Window(kind="tumbling", size_ms=size_ms, offset_ms=offset_ms, timezone=zone)
    return window, at(draw(st.sampled_from(CHANGES[zone])))


SESSIONS_AND_DAYS = sessions().map(Kind) | day_windows().map(lambda drawn: Kind(*drawn, STRETCH))
