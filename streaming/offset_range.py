"""Pinned input: which records a piece of work reads."""

from common.payloads import Model


class OffsetRange(Model):
    """The records of one partition with `start <= offset < stop`."""

    topic: str
    partition: int
    start: int
    stop: int

    def __str__(self) -> str:
        """Write the range as it appears in names and messages."""
        return f"{self.topic}-{self.partition}[{self.start},{self.stop})"
