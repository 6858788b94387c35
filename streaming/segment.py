"""Values that travel inline when small and by reference when big."""

import hashlib

from common.payloads import Model, Ref
from streaming.slice_index import slice_count


class Blob(Model):
    """A frozen table of `row_count` rows: Arrow IPC bytes inline, or a reference to them.

    Attributes:
        size_bytes: Length of the bytes, as recorded by whoever made them; branches depend on it,
            never on a fresh encoding.
    """

    row_count: int
    size_bytes: int
    inline: bytes | None = None
    ref: Ref | None = None

    @property
    def sha256(self) -> str:
        """Hash of the frozen bytes."""
        return self.ref.sha256 if self.ref else hashlib.sha256(self.inline or b"").hexdigest()

    @property
    def slices(self) -> int:
        """Tables that the object holds one after the other; 0 where it is a single one."""
        return slice_count(self.ref.codec) if self.ref else 0


class KeySpan(Model):
    """Key ranges `[first, stop)` of `count`, which cut the space of key hashes into equal parts.

    Attributes:
        count: A power of two; so each range of a coarser cut is made of whole ranges of a finer
            one.
    """

    count: int
    first: int
    stop: int


class Segment(Model):
    """Partial aggregates of some panes; the sum of a stream's segments is its window state.

    Attributes:
        first_pane_ms: Start of the earliest pane in it, milliseconds since the epoch.
        last_pane_ms: Start of the latest pane in it.
        first_fresh_ms: Start of the earliest pane with data not yet emitted; None when all of it
            was emitted.
        due_ms: The watermark at which the first of its windows is due, where that does not follow
            from `first_fresh_ms` by arithmetic (sessions, windows of a time zone's days); None
            elsewhere.
        unshown: How many of its windows no emission has shown in their present form, where
            `due_ms` is in use; None elsewhere.
        keys: Key ranges that it holds, one slice of its object each; None holds all, in one table.
    """

    blob: Blob
    first_pane_ms: int
    last_pane_ms: int
    first_fresh_ms: int | None = None
    due_ms: int | None = None
    unshown: int | None = None
    keys: KeySpan | None = None
