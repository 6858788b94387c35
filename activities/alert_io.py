"""Inputs of the activities of alerts."""

from common.payloads import Model


class RaiseInput(Model):
    """An alert to record, or to tell a webhook.

    Attributes:
        name: Its name; twice is once.
        raised_ms: When the stream paused, milliseconds since the epoch.
    """

    name: str
    pipeline: str
    what: str
    reason: str
    raised_ms: int


class EndInput(Model):
    """An alert that is over, and since when."""

    name: str
    ended_ms: int
