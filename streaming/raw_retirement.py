"""What older epochs of a raw stream wrote and a rewound one did not write again.

The rows of a position, or of an identity, are written again as their offsets are read. What is
left of older epochs at offsets that were passed is frozen as a flush of its own, which takes it
back. It is numbered after all flushes with rows of those offsets, so a sink has them first.
"""

import hashlib
from collections.abc import Callable

from pipelines.stream import EPOCH_BITS
from streaming.offset_map import PartitionSpan
from streaming.retirement import STEPS
from streaming.segment import Blob
from streaming.state import (
    Flush,
    OffsetRetirement,
    PartitionState,
    StreamState,
)


def left_behind(
    state: StreamState, since: dict[int, int], *, takes_back: bool
) -> list[PartitionSpan]:
    """List what the epoch that ends has passed and not yet taken back, as a rewind begins.

    What is written again from `since` on is taken back then, if anything is.
    """
    upto = {n: since[n] if takes_back else p.cursor for n, p in state.partitions.items()}
    return _passed(state, upto)


def expect_rows(
    state: StreamState,
    since: dict[int, int],
    *,
    takes_back: bool,
    once: Callable[[], bool] = lambda: True,
) -> None:
    """Note from which offsets on the rows of older epochs may have to go, as a rewind begins.

    What the rewound epoch has passed before there is frozen at once.

    Args:
        state: Still in the epoch that ends.
        since: Where each partition's rows are written again from, at most its cursor.
        takes_back: Whether rows that do not occur again go; of those that a rewind before this one
            has still to take back, the ones that no row of its epoch can have replaced go anyway.
        once: Whether what is frozen is no longer expected, asked where it matters: in a later epoch
            the rows that this one wrote there would go.
    """
    passed = left_behind(state, since, takes_back=takes_back)
    _freeze(state, passed)
    if passed and not takes_back and once():
        for partition in state.partitions.values():
            spare(partition, 0, partition.cursor)
    total = 0
    for number, partition in state.partitions.items():
        upto = since[number] if takes_back else partition.cursor
        left = [span for span in partition.stale if span[1] > upto]
        stop = max([partition.cursor, partition.written_to, *(stop for _, stop in left)])
        if takes_back:
            left = [(since[number], stop)] if stop > since[number] else []
        # Rows that stay now may have to go with a later rewind, which begins before all of them.
        partition.written_to = 0 if takes_back else stop
        partition.stale = left
        total += sum(stop - start for start, stop in left)
    state.stale_step = total // STEPS


def spare(partition: PartitionState, start: int, stop: int) -> None:
    """Let the rows of offsets stay that are given up: nothing can tell whether they were right."""
    kept: list[tuple[int, int]] = []
    for first, last in partition.stale:
        kept += [(first, min(last, start)), (max(first, stop), last)]
    partition.stale = [span for span in kept if span[0] < span[1]]


def retire_passed(state: StreamState, one_at_a_time: Callable[[], bool] = lambda: True) -> bool:
    """Freeze the next step, if enough offsets are passed or no more are to come; tells whether.

    `one_at_a_time` is asked when a step before it still waits for a sink: of a topic of many
    partitions, the offsets of several do not fit into a payload.
    """
    passed = _passed(state, {n: p.cursor for n, p in state.partitions.items()})
    if not passed:
        return False
    later = any(p.stale and p.stale[-1][1] > p.cursor for p in state.partitions.values())
    ends = state.mode == "draining" and not state.planned
    ends = ends or (state.bounded and all(p.finished for p in state.partitions.values()))
    count = sum(stop - start for _, start, stop in passed)
    if later and not ends and count < state.stale_step:
        return False
    if any(isinstance(f.retire, OffsetRetirement) for f in state.flushes) and one_at_a_time():
        return False
    _freeze(state, passed)
    for partition in state.partitions.values():
        spare(partition, 0, partition.cursor)
    return True


def _passed(state: StreamState, upto: dict[int, int]) -> list[PartitionSpan]:
    """List what is stale below some offsets, by partition."""
    return [
        (number, start, min(stop, upto[number]))
        for number, partition in sorted(state.partitions.items())
        for start, stop in partition.stale
        if start < upto[number]
    ]


def _freeze(state: StreamState, spans: list[PartitionSpan]) -> None:
    if not spans:
        return
    first_version = max((state.base_epoch or state.epoch) << EPOCH_BITS, state.base_version + 1)
    what = OffsetRetirement(first_version=first_version, spans=spans)
    state.flush_seq += 1
    state.flushes.append(
        Flush(
            flush_seq=state.flush_seq,
            rows=Blob(row_count=0, size_bytes=0, inline=b""),
            chunk_rows=1,
            sha256=hashlib.sha256(what.model_dump_json().encode()).hexdigest(),
            epoch=state.epoch,
            retire=what,
        )
    )
