"""A stream that has gone quiet, by observation: when the clock may close its windows."""

from pipelines.stream import EventTime
from streaming.state import PartitionState, StreamState

FIRST_LOOK_SHARE = 4
"""The first look at a log without news is made within this part of `close_after`."""


def observe_quiet(
    state: StreamState, event_time: EventTime, ends: dict[int, int], asked_ms: int
) -> None:
    """Let the clock close what is open if the stream has been quiet for `close_after`.

    Two looks say so, as far apart as that, the second asked for after the time had passed, each
    with nothing to read on any partition that has a valid event time.

    Args:
        state: Changed in place; the ends are noted in it already.
        event_time: Gives `close_after`.
        ends: The ends that were seen; a look that leaves out a partition does not count.
        asked_ms: Workflow time at which the look was asked for.
    """
    quiet_ms, since_ms = event_time.close_after_ms, silent_since_ms(state)
    if quiet_ms is None or since_ms is None or state.closed or not state.segments:
        return
    if state.mode == "running" and ends.keys() >= state.partitions.keys():
        state.closing = state.closing or asked_ms - since_ms >= quiet_ms


def silent_since_ms(state: StreamState) -> int | None:
    """Give the workflow time since when there was nothing to be had; None while there is."""
    parts = [p for p in state.partitions.values() if not p.finished]
    since = [p.silent_since_ms for p in parts if p.silent_since_ms is not None and _is_read(p)]
    return max(since) if since and len(since) == len(parts) else None


def _is_read(partition: PartitionState) -> bool:
    return partition.cursor >= partition.end


def quiet_check_ms(state: StreamState, event_time: EventTime, now_ms: int, most_ms: int) -> int:
    """Give how long a long poll may last, at most `most_ms`, so that its end is the next look."""
    quiet_ms = event_time.close_after_ms
    if quiet_ms is None or state.closed or not state.segments:
        return most_ms
    since_ms = silent_since_ms(state)
    if since_ms is None:
        return min(most_ms, max(1, quiet_ms // FIRST_LOOK_SHARE))
    return max(0, min(most_ms, since_ms + quiet_ms - now_ms))
