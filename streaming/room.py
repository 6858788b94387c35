"""Room in what a stream sends and receives: no payload of it is above `PAYLOAD_BYTES`.

All of a state travels in one payload, so what waits or is in flight shares the room in it: the
bytes of tables that travel inline, and the number of references. Both follow from recorded numbers,
since the workflow branches on them.
"""

from collections.abc import Iterable

from common.errors import UsageError
from pipelines.stream import StreamSpec
from streaming.offset_range import OffsetRange
from streaming.segment import Blob
from streaming.state import OffsetRetirement, RangeTask, StreamState

PAYLOAD_BYTES = 256 * 1024
"""What the Web UI, the history and a workflow step take without ado; the server's limit is 2 MB."""

MOST_PARTITIONS = 2_000
MOST_DEDUPLICATED = 96
"""Partitions of a stream, and of one that drops duplicates: each has references to seen keys.
On the way back from a rewind a partition takes about twice as much."""

MOST_WAITING = 256
"""Objects that wait, or that planned ranges may yet come to, before no more is planned."""

INLINE_BYTES = 96 * 1024
LEAST_INLINE_BYTES = 24 * 1024
"""What travels inline in a state, of few partitions and of very many."""

SEEN_TABLES = 512
SEEN_BYTES = 16 * 1024
DEDUPLICATION_BYTES = 48 * 1024
"""Of all partitions: tables of seen keys, and the newest ones inline; what both leave less room."""

MOST_RETIREMENTS = 32
LEAST_SPANS = 256
"""Retirements that may wait when a stream is rewound; and of a raw stream their spans of offsets,
where twice its partitions are fewer."""

PIECE_RECORDS = 10_000
"""About so many records of a range, late or raw, are one object."""

FLUSHES_BYTES = 384 * 1024
"""Of one flush for all sinks: a workflow step may issue 1 MB of commands, in base64."""

_TABLE_BYTES = 1_024
_COLUMN_BYTES = 300
"""Bounds of what a frozen table takes beside its rows."""


def require_partitions(spec: StreamSpec, count: int) -> None:
    """Raise `UsageError` when a topic has more partitions than a state can hold."""
    most = MOST_PARTITIONS if spec.deduplicate is None else MOST_DEDUPLICATED
    if count > most:
        kind = "a topic" if spec.deduplicate is None else "a topic to drop duplicates in"
        raise UsageError(
            f"stream `{spec.name}`: expected {kind} of at most {most:,} partitions, got "
            f"`{spec.topic}` with {count:,}, whose state would not fit; split the topic, or read "
            "one with fewer partitions"
        )


def inline_budget(state: StreamState, spec: StreamSpec) -> int:
    """Give how many bytes may travel inline in the state of a stream, seen keys left out."""
    budget = INLINE_BYTES - 16 * len(state.partitions)
    if spec.deduplicate is not None:
        budget -= DEDUPLICATION_BYTES
    return max(LEAST_INLINE_BYTES, budget)


def inline_room(state: StreamState, spec: StreamSpec) -> int:
    """Give how much of it is neither used nor promised to what is in flight."""
    promised = state.combining_bytes + sum(task.inline_bytes or 0 for task in state.planned)
    used = _inline_bytes(_tables(state)) + _inline_bytes(s.blob for s in state.segments)
    return max(0, inline_budget(state, spec) - used - promised)


def seen_inline_bytes(state: StreamState) -> int:
    """Give up to which size a table of a partition's seen keys travels inline."""
    return SEEN_BYTES // max(8, len(state.partitions))


def seen_tables(state: StreamState) -> int:
    """Give into how many tables at most a partition's seen keys are put."""
    return max(2, min(64, SEEN_TABLES // max(1, len(state.partitions))))


def table_bytes(spec: StreamSpec) -> int:
    """Bound what a frozen table of windows takes beside its rows."""
    columns = len(spec.group_by) + len(spec.aggregate) + 5
    return _TABLE_BYTES + columns * _COLUMN_BYTES


def flush_bytes(spec: StreamSpec) -> int:
    """Give what of one flush may travel inline: one workflow step hands it to every sink."""
    return FLUSHES_BYTES // max(1, len(spec.sinks))


def waiting(state: StreamState) -> int:
    """Count the objects that wait for a merge, a sink or a side output."""
    return len(state.segments) + sum(1 for _ in _tables(state))


def has_retirement_room(state: StreamState, spans: int) -> bool:
    """Tell whether one more retirement, of so many spans of offsets, may wait beside the others."""
    waiting = [flush.retire for flush in state.flushes if flush.retire is not None]
    known = sum(len(what.spans) for what in waiting if isinstance(what, OffsetRetirement))
    most = max(LEAST_SPANS, 2 * len(state.partitions))
    return len(waiting) < MOST_RETIREMENTS and (not spans or known + spans <= most)


def to_come(spec: StreamSpec, tasks: Iterable[RangeTask]) -> int:
    """Bound the objects that ranges come to: partials or rows, dead letters, late events."""
    cut = spec.raw or spec.keeps_late
    return sum(2 + (pieces_of(task.span) if cut else 0) for task in tasks)


def pieces_of(span: OffsetRange) -> int:
    """Give how many objects the rows of a range are counted as; it ends early if they need more."""
    return (span.stop - span.start) // PIECE_RECORDS + 1


def _tables(state: StreamState) -> Iterable[Blob]:
    for flush in state.flushes:
        yield from flush.tables
    for output in (state.dead, state.late):
        for batch in output.waiting:
            yield batch.records


def _inline_bytes(blobs: Iterable[Blob]) -> int:
    return sum(blob.size_bytes for blob in blobs if blob.ref is None)
