"""Into how many key ranges the state of a stream is cut, and which of them are merged together.

All of it follows from recorded numbers, since the workflow branches on it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streaming.segment import KeySpan, Segment

_REFERENCE_BYTES = 600
"""Bound of what one reference takes in the input of an activity."""


@dataclass(frozen=True)
class KeyLimits:
    """Bounds of the state's key ranges.

    Attributes:
        rows: Recorded rows of one range, all segments together; what one merge holds in memory.
        size_bytes: Recorded bytes of one range, the same.
        most: Ranges at most; a power of two.
        lanes: Activities that merge ranges at the same time; a power of two.
        command_bytes: Input of all of them in sum; one workflow step may issue 1 MB of commands.
        slice_rows: A segment is cut no finer than to this many rows a slice, on average.
        part_bytes: Frozen rows in one object, about.
        part_rows: Frozen rows that a sink's writer holds at a time.
        waiting: References that wait for a merge before no more ranges are planned.
    """

    rows: int = 200_000
    size_bytes: int = 32 * 1024 * 1024
    most: int = 256
    lanes: int = 16
    command_bytes: int = 600_000
    slice_rows: int = 1_000
    part_bytes: int = 64 * 1024 * 1024
    part_rows: int = 200_000
    waiting: int = 128


LIMITS = KeyLimits()


def key_range_count(
    segments: Sequence[Segment],
    current: int,
    may_begin: Callable[[], bool],
    limits: KeyLimits | None = None,
) -> int:
    """Decide into how many key ranges a merge of these segments is cut.

    The number grows as soon as a range would be too big and shrinks, to no less than half of the
    bound, only when it would be a quarter of what it is.

    Args:
        segments: All of the state.
        current: Into how many it is cut so far; 1 is not cut.
        may_begin: Asked before a state is cut for the first time.
        limits: Bounds; those of the engine unless told.
    """
    bounds = limits or LIMITS
    rows = sum(s.blob.row_count for s in segments)
    size_bytes = sum(s.blob.size_bytes for s in segments)
    least = max(-(-rows // bounds.rows), -(-size_bytes // bounds.size_bytes), 1)
    wanted = min(bounds.most, 1 << (least - 1).bit_length())
    if wanted > current:
        return wanted if current > 1 or may_begin() else current
    return wanted if wanted * 4 <= current else current


def lanes(
    segments: Sequence[Segment], count: int, limits: KeyLimits | None = None
) -> list[KeySpan]:
    """Share out key ranges to merges that run at the same time.

    As many as their inputs, which repeat the segments, may take together.
    """
    bounds = limits or LIMITS
    inline = sum(s.blob.size_bytes for s in segments if s.blob.ref is None)
    input_bytes = inline * 4 // 3 + _REFERENCE_BYTES * max(1, len(segments))
    most = max(1, min(count, bounds.lanes, bounds.command_bytes // input_bytes))
    step = count >> (most.bit_length() - 1)
    return [KeySpan(count=count, first=at, stop=at + step) for at in range(0, count, step)]


def overlaps(segment: Segment, span: KeySpan) -> bool:
    """Tell whether a segment may hold keys of a span."""
    keys = segment.keys
    if keys is None:
        return True
    first, stop = keys.first * span.count, keys.stop * span.count
    return first < span.stop * keys.count and span.first * keys.count < stop


def slices_of(segment: Segment, span: KeySpan) -> range:
    """Give the slices of a segment's object that hold keys of a span, in order."""
    keys = segment.keys
    if keys is None:
        return range(1)
    first = span.first * keys.count // span.count
    stop = -(-span.stop * keys.count // span.count)
    return range(max(first, keys.first) - keys.first, min(stop, keys.stop) - keys.first)


def reference_count(segments: Sequence[Segment]) -> int:
    """Count the references of the key range that has most; pieces of one merge count once."""
    whole = sum(1 for s in segments if s.keys is None or s.keys.stop - s.keys.first == s.keys.count)
    return whole + (whole < len(segments))


def is_worth_merging(segments: Sequence[Segment], fresh: int, current: int) -> bool:
    """Tell whether enough is new that a state in key ranges should be written anew.

    While a backlog is read; otherwise each few new segments would cost a copy of all the rest.

    Args:
        segments: All of the state.
        fresh: How many of them, at the end, have come since the last merge.
        current: Into how many key ranges it is cut; what is not cut is small.
    """
    if current == 1:
        return True
    rows = [s.blob.row_count for s in segments]
    new = sum(rows[len(rows) - fresh :])
    return new * 2 >= sum(rows) - new


def is_crowded(segments: Sequence[Segment], current: int) -> bool:
    """Tell whether so much waits to be merged that no more should be read."""
    return current > 1 and reference_count(segments) > LIMITS.waiting
