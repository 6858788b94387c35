"""What a partition remembers of its log, so that a rewind finds where to begin.

An entry (offset, maximum) says: of the records that the stream has read, those before the offset
have no event time after the maximum; None is that none of them had one. Every entry is a fact about
the log, so leaving some out makes a rewind begin earlier and never wrong.
"""

MOST_ENTRIES = 256
MOST_OF_ALL = 2_048
"""Entries over all partitions: they travel through continue-as-new."""

Entry = tuple[int, int | None]


def at_most(partitions: int) -> int:
    """Give how many entries one of so many partitions may keep, at least one."""
    return max(1, min(MOST_ENTRIES, MOST_OF_ALL // max(1, partitions)))


def note(index: list[Entry], offset: int, maximum_ms: int | None, most: int) -> list[Entry]:
    """Add what is known of the records before an offset, which is after all others noted.

    Of entries with the same maximum the last one says most. Above `most` every second one of the
    older three quarters goes, so that the newest stay dense and the first one stays. Where one may
    be kept, it is that; and the last one beside it as long as that knows of later times than
    `maximum_ms`, which begins anew with a rewind.
    """
    known_ms = _later(index[-1][1] if index else None, maximum_ms)
    same = bool(index) and index[-1][1] == known_ms
    kept = [*(index[:-1] if same else index), (offset, known_ms)]
    while len(kept) > most > 1:
        old = len(kept) * 3 // 4
        kept = kept[:old:2] + kept[old:]
    if most == 1 and known_ms == maximum_ms:
        return kept[:1]
    return [kept[0], *kept[1:][-1:]] if most == 1 else kept


def last_before(index: list[Entry], floor_ms: int) -> Entry:
    """Give the last entry whose records are all before a time.

    Where none is, it is the beginning of the log: nothing is known of what a stream read before it
    kept an index.
    """
    return next((e for e in reversed(index) if e[1] is None or e[1] < floor_ms), (0, None))


def last_at(index: list[Entry], offset: int) -> Entry:
    """Give the last entry at or before an offset; the beginning of the log where none is."""
    return next((e for e in reversed(index) if e[0] <= offset), (0, None))


def _later(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
