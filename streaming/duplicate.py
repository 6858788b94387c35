"""De-duplication: an event is dropped when one before it in its partition had the same key.

"Before" reaches back `within` of event time: an event counts when its own time is at most so much
behind the maximum of all events before the one that is judged. So the answer follows from the log
alone, wherever ranges are cut, and what is further behind can be forgotten: the maximum only grows.

A key is known by the 128-bit BLAKE2b digest of its canonical text. Among n keys two share a digest
with a probability of about n² / 2^129: 10^-15 for 10^12 keys.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.field_type import FieldType
from streaming.group_key import canonical_key
from streaming.resource import RECORD
from streaming.seen import Seen, SeenTable

Words = npt.NDArray[np.uint64]
Times = npt.NDArray[np.int64]

SEALED_KEYS = 500_000
"""A table of so many keys is never written again; it goes as a whole when it is out of reach."""

_NEVER = -(2**62)
_DIGEST_BYTES = 16
_HIGH, _LOW, _AT = "high", "low", "at_ms"


@dataclass(frozen=True)
class KeyTable:
    """Keys, each once, in the order of their digests.

    Attributes:
        high, low: The halves of the digests, shape (n,).
        at_ms: Latest event time of each, shape (n,).
    """

    high: Words
    low: Words
    at_ms: Times

    @property
    def size_bytes(self) -> int:
        """Bytes in memory: 24 for a key."""
        return self.high.nbytes + self.low.nbytes + self.at_ms.nbytes

    @property
    def newest_ms(self) -> int:
        """Latest event time; of a table with keys."""
        return int(self.at_ms.max())

    def latest(self, high: Words, low: Words) -> Times:
        """Give the event times of keys; `_NEVER` of those that are not in the table."""
        found = np.full(len(high), _NEVER, np.int64)
        place = np.searchsorted(self.high, high, "left")
        stop = np.searchsorted(self.high, high, "right")
        rows = np.flatnonzero(place < stop)
        while rows.size:  # once, unless digests share a half
            hit = self.low[place[rows]] == low[rows]
            found[rows[hit]] = self.at_ms[place[rows[hit]]]
            place[rows] += 1
            rows = rows[~hit & (place[rows] < stop[rows])]
        return found

    def frame(self) -> pl.DataFrame:
        """Give the keys as columns, to be frozen."""
        return pl.DataFrame({_HIGH: self.high, _LOW: self.low, _AT: self.at_ms})


def key_table(frame: pl.DataFrame) -> KeyTable:
    """Read a table from its columns."""
    return KeyTable(frame[_HIGH].to_numpy(), frame[_LOW].to_numpy(), frame[_AT].to_numpy())


def joined(tables: Sequence[KeyTable], reach_ms: int) -> KeyTable:
    """Put tables together, without what is before `reach_ms`."""
    high = np.concatenate([table.high for table in tables])
    low = np.concatenate([table.low for table in tables])
    at_ms = np.concatenate([table.at_ms for table in tables])
    rows = np.flatnonzero(at_ms >= reach_ms)
    rows = rows[np.lexsort((low[rows], high[rows]))]
    high, low, at_ms = high[rows], low[rows], at_ms[rows]
    starts = np.flatnonzero(_begins(high, low))
    latest = np.maximum.reduceat(at_ms, starts) if len(starts) else at_ms
    return KeyTable(high[starts], low[starts], latest)


@dataclass(frozen=True)
class Remembered:
    """What is to be known after a range.

    Attributes:
        max_event_ms: Maximum event time of all events so far; None when there was none.
        kept: Tables that stay as they are.
        added: Keys that take the place of the other ones.
    """

    max_event_ms: int | None
    kept: list[SeenTable]
    added: KeyTable | None


class Duplicates:
    """The de-duplication of one range, batch after batch in the order of the offsets."""

    def __init__(
        self,
        keys: tuple[tuple[str, FieldType], ...],
        within_ms: int,
        seen: Seen | None,
        tables: Sequence[KeyTable],
    ) -> None:
        """Go on from what was remembered.

        Args:
            keys: Columns whose values make two events the same; null is a value, too.
            within_ms: How far it reaches back.
            seen: What the range before it left; None at the beginning.
            tables: The tables of `seen`.
        """
        self._keys = keys
        self._within_ms = within_ms
        self._seen = seen or Seen()
        self._tables = list(tables)
        self._fresh: list[KeyTable] = []
        known_ms = self._seen.max_event_ms
        self._max_ms = _NEVER if known_ms is None else known_ms

    def judge(self, events: pl.DataFrame, event_ms: pl.Series) -> pl.Series:
        """Tell which events of the next batch are duplicates, and remember all of them.

        Args:
            events: n events that passed all steps.
            event_ms: Their event times.
        """
        if events.is_empty():
            return pl.Series([], dtype=pl.Boolean)
        high, low = _digests(events, self._keys)
        at_ms = event_ms.to_numpy()
        known = np.full(len(at_ms), _NEVER, np.int64)
        for table in (*self._tables, *self._fresh):
            known = np.maximum(known, table.latest(high, low))
        order = np.lexsort((low, high))  # stable: events of a key stay in the order of the log
        begins = _begins(high[order], low[order])
        latest = _running_maximum(at_ms[order], begins)
        before = known.copy()
        before[order[1:]] = np.where(
            begins[1:], known[order[1:]], np.maximum(known[order[1:]], latest[:-1])
        )
        maxima = np.maximum.accumulate(np.concatenate([[self._max_ms], at_ms]))
        ends = np.flatnonzero(np.append(begins[1:], True))
        news = ends[latest[ends] > known[order[ends]]]
        if news.size:
            self._fresh.append(KeyTable(high[order[news]], low[order[news]], latest[news]))
        self._max_ms = int(maxima[-1])
        return pl.Series((before != _NEVER) & (before >= maxima[:-1] - self._within_ms))

    def remembered(self, sealed_keys: int = SEALED_KEYS, most_tables: int = 64) -> Remembered:
        """Forget what is out of reach, and put small tables together.

        A table is written again together with those that came after it while it has at most twice
        as many keys as they have; so there are few, and a key is written a few times only. The
        newest ones are put together as well where there would be more than `most_tables`.
        """
        if self._max_ms == _NEVER:
            return Remembered(None, [], None)
        reach_ms = self._max_ms - self._within_ms
        kept = [
            (one, table)
            for one, table in zip(self._seen.tables, self._tables, strict=True)
            if one.newest_ms >= reach_ms
        ]
        # At once, as what a range gives must not depend on how it was cut into batches.
        parts = [joined(self._fresh, reach_ms)] if self._fresh else []
        while parts and kept:
            last = kept[-1][0].blob.row_count
            settled = last >= sealed_keys or last > 2 * sum(len(part.high) for part in parts)
            if settled and len(kept) < most_tables:
                break
            parts.append(kept.pop()[1])
        added = joined(parts, reach_ms) if parts else None
        if added is not None and not len(added.high):
            added = None
        return Remembered(self._max_ms, [one for one, _ in kept], added)


class BatchJudge:
    """The duplicates of one batch, found once though its events are looked at several times.

    Records are compared: of one that was expanded, all rows are duplicates or none is.

    Args:
        duplicates: What is known; None drops nothing.
        expands: Whether a record can have several rows.
    """

    def __init__(self, duplicates: Duplicates | None, *, expands: bool = False) -> None:
        self._duplicates = duplicates
        self._expands = expands
        self._records: pl.Series | None = None

    def drop(self, events: pl.DataFrame, time: str) -> pl.DataFrame:
        """Leave duplicates out.

        Args:
            events: The events of the batch that passed all steps, all of them the first time.
            time: The column of their event times, in milliseconds.
        """
        if self._duplicates is None:
            return events
        if self._records is None:
            firsts = events
            if self._expands:
                firsts = events.unique(RECORD, keep="first", maintain_order=True)
            found = self._duplicates.judge(firsts, firsts[time])
            self._records = firsts[RECORD].filter(found)
        if self._records.is_empty():
            return events
        return events.filter(~pl.col(RECORD).is_in(self._records.implode()))


def _digests(events: pl.DataFrame, keys: tuple[tuple[str, FieldType], ...]) -> tuple[Words, Words]:
    texts = events.select(canonical_key(keys).alias("key"))["key"].to_list()
    digests = b"".join(
        hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest() for text in texts
    )
    halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
    return np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1])


def _begins(high: Words, low: Words) -> npt.NDArray[np.bool_]:
    """Tell where another key begins, in sorted ones."""
    begins = np.ones(len(high), np.bool_)
    begins[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return begins


def _running_maximum(values: Times, begins: npt.NDArray[np.bool_]) -> Times:
    """Give the maximum so far within each group, of groups that stand one after the other."""
    distinct, rank = np.unique(values, return_inverse=True)
    base = (np.cumsum(begins) - 1) * len(distinct)
    running: Times = distinct[np.maximum.accumulate(base + rank) - base]
    return running
