"""What a partition's de-duplication remembers between ranges, as immutable tables by reference."""

from common.payloads import Model, Ref
from streaming.segment import Blob


class SeenTable(Model):
    """Keys and the latest event time of each, in a frozen table.

    Attributes:
        newest_ms: Latest event time in it; once it is out of reach, the table is.
    """

    blob: Blob
    newest_ms: int


class Seen(Model):
    """What is known of the events of one partition that were let through so far.

    Attributes:
        max_event_ms: Their maximum event time; None before the first one.
        tables: Their keys, oldest table first; of a key that several hold the latest time counts.
    """

    max_event_ms: int | None = None
    tables: list[SeenTable] = []

    @property
    def refs(self) -> list[Ref]:
        """Objects that hold the tables."""
        return [table.blob.ref for table in self.tables if table.blob.ref is not None]


def let_go(old: Seen | None, new: Seen | None) -> list[Ref]:
    """Give the objects of the old that the new does not need."""
    if old is None:
        return []
    needed = {ref.key for ref in new.refs} if new is not None else set()
    return [ref for ref in old.refs if ref.key not in needed]
