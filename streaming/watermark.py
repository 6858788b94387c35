"""Event-time progress: watermarks of partitions, their minimum, idleness on the workflow clock.

A partition is idle by observation, not by guess: two observations at least `idle_timeout` apart,
the second asked for after that time had passed, both without anything to read that has a valid
event time.
"""

from pipelines.stream import EventTime
from streaming.state import PartitionState, StreamState
from streaming.window import END_OF_TIME_MS


def observe_ends(
    state: StreamState, event_time: EventTime, ends: dict[int, int], asked_ms: int, now_ms: int
) -> None:
    """Take note of the ends of partitions.

    Args:
        state: Changed in place.
        event_time: Gives the idle timeout.
        ends: Last stable offset per partition; a partition not in the state is ignored.
        asked_ms: Workflow time at which the observation was asked for; it was made later.
        now_ms: Workflow time at which it arrived; it was made earlier.
    """
    for number, end in ends.items():
        partition = state.partitions.get(number)
        if partition is None:
            continue
        partition.end = max(partition.end, end)
        if partition.end > partition.cursor:
            partition.idle = False
            continue
        if partition.silent_since_ms is None:
            partition.silent_since_ms = now_ms
        elif event_time.idle_timeout_ms is not None:
            silent_ms = asked_ms - partition.silent_since_ms
            partition.idle = partition.idle or silent_ms >= event_time.idle_timeout_ms


def take_up(state: StreamState, now_ms: int) -> None:
    """Begin a run with the ends that its state knows.

    They were observed before it began, perhaps long before, so they can show that a partition has
    something to read, and never that it is idle; silence counts from now on if not yet.
    """
    for partition in state.partitions.values():
        if partition.end > partition.cursor:
            partition.idle = False
        elif partition.silent_since_ms is None:
            partition.silent_since_ms = now_ms


def add_partitions(state: StreamState, ends: dict[int, int]) -> None:
    """Take in partitions that were added to the topic, from their first record.

    A bounded run keeps to those it had.
    """
    if state.bounded:
        return
    for number in sorted(ends.keys() - state.partitions.keys()):
        state.partitions[number] = PartitionState(cursor=0, planned=0, end=ends[number])


def idle_check_ms(state: StreamState, event_time: EventTime, now_ms: int, most_ms: int) -> int:
    """Give how long a long poll may last, at most `most_ms`.

    Its end can then confirm the next idle partition.
    """
    timeout_ms = event_time.idle_timeout_ms
    if timeout_ms is None:
        return most_ms
    waits = [
        p.silent_since_ms + timeout_ms - now_ms
        for p in state.partitions.values()
        if p.silent_since_ms is not None and not p.idle and not p.finished
    ]
    return max(0, min([most_ms, *waits]))


def merge_maximum(partition: PartitionState, max_event_ms: int | None, now_ms: int) -> None:
    """Take note of a merged range's maximum event time; None when it had no valid one."""
    if max_event_ms is None:
        if partition.silent_since_ms is None:
            partition.silent_since_ms = now_ms
        return
    partition.silent_since_ms = None
    partition.idle = False
    known_ms = partition.max_event_ms
    partition.max_event_ms = max_event_ms if known_ms is None else max(max_event_ms, known_ms)


def latest_event_ms(state: StreamState) -> int | None:
    """Give the maximum event time over all partitions; None when none has shown any."""
    seen = [p.max_event_ms for p in state.partitions.values() if p.max_event_ms is not None]
    return max(seen, default=None)


def forget_observations(state: StreamState) -> None:
    """Start observing anew, after a pause or an outage.

    What was seen before it says nothing about now.
    """
    for partition in state.partitions.values():
        partition.silent_since_ms = None
        partition.idle = False
    if state.closing:
        state.closing, state.early_ms = False, None


def advance(state: StreamState, event_time: EventTime) -> None:
    """Move the stream's watermark as far as its partitions allow; it never goes back."""
    candidate = stream_watermark(list(state.partitions.values()), event_time)
    if candidate is not None and (state.watermark_ms is None or candidate > state.watermark_ms):
        state.watermark_ms = candidate


def stream_watermark(partitions: list[PartitionState], event_time: EventTime) -> int | None:
    """Compute the minimum over the partitions that count.

    None while one of them has shown no event time. A partition that a bounded run has finished no
    longer counts, and neither does an idle one. When all that is left is idle, it is the maximum
    over all: what the log has shown so far. When all are finished it stays where it is, so that a
    later run that goes on from here finds as few events late as can be.
    """
    waiting = [p for p in partitions if not p.idle and not p.finished]
    seen = [p.max_event_ms for p in waiting or partitions if p.max_event_ms is not None]
    if waiting:
        complete = len(seen) == len(waiting)
        return min(seen) - event_time.out_of_orderness_ms if complete else None
    if all(p.finished for p in partitions) or not seen:
        return None
    return max(seen) - event_time.out_of_orderness_ms


def firing_watermark(state: StreamState) -> int | None:
    """Give the time up to which windows fire.

    It is the watermark, or the end of time when a bounded run has merged all.
    """
    if state.bounded and all(p.finished for p in state.partitions.values()):
        return END_OF_TIME_MS
    return state.watermark_ms


def keeping_watermark(state: StreamState) -> int | None:
    """Give H: no event judged on time can belong to a window that closed before it.

    It is the least of the watermark and of those pinned in ranges that are planned and not merged.
    """
    pinned = [task.watermark_ms for task in state.planned]
    if state.watermark_ms is None or any(w is None for w in pinned):
        return None
    return min([state.watermark_ms, *(w for w in pinned if w is not None)])
