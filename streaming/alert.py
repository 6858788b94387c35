"""An alert of a stream: that it waits for a person, since when and why."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict


class Alert(BaseModel):
    """One alert, from when it was raised until it is recorded as ended.

    Attributes:
        name: Its name everywhere; sorts by time.
        what: What was attempted, in the words of the status.
        raised_ms: Workflow time of the pause.
        written: Whether its entry is in the object store.
        posts: Whether it is on its way to the webhook.
        ended_ms: Workflow time at which somebody resumed the stream; None while it is open.
        closed: Whether its end is in the object store.
    """

    model_config = ConfigDict(extra="ignore")

    name: str
    what: str
    reason: str
    raised_ms: int
    written: bool = False
    posts: bool = False
    ended_ms: int | None = None
    closed: bool = False

    def covers(self, what: str, reason: str) -> bool:
        """Tell whether a person who looks at this alert sees the other trouble as well.

        Ranges that fail side by side, and one cause that stops several works, are one alert.
        """
        if self.ended_ms is not None:
            return False
        return self.reason == reason or _kind(self.what) == _kind(what)


def alert_id(pipeline: str, raised_ms: int, run_id: str, number: int) -> str:
    """Name an alert.

    >>> alert_id("sales-1m", 1_767_225_600_123, "0193a5c8-11d2", 4)
    '20260101T000000123Z-sales-1m-0193a5c8-4'
    """
    moment = datetime.fromtimestamp(raised_ms // 1000, UTC)
    return f"{moment:%Y%m%dT%H%M%S}{raised_ms % 1000:03}Z-{pipeline}-{run_id[:8]}-{number}"


def pipeline_of(name: str) -> str:
    """Give the pipeline of an alert by its name.

    >>> pipeline_of("20260101T000000123Z-sales-1m-0193a5c8-4")
    'sales-1m'
    """
    return name.split("-", 1)[-1].rsplit("-", 2)[0]


def _kind(what: str) -> str:
    """Give the first word: `ranges …`, `combine …`, the name of a sink."""
    return what.split(" ", 1)[0]
