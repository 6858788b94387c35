"""Cut ranges: which records the next pieces of work read."""

from collections import Counter
from dataclasses import dataclass

from pipelines.stream import StreamSpec
from streaming.key_range import is_crowded
from streaming.offset_range import OffsetRange
from streaming.raw_flush import number_flushes
from streaming.room import MOST_WAITING, inline_room, to_come, waiting
from streaming.state import PartitionState, RangeTask, StreamState

MAX_PLANNED = 256
"""Ranges planned and not merged, however small: they travel through continue-as-new."""

MOST_TOGETHER = 64
"""Small ranges, or references to what they remember, that travel in one activity."""


@dataclass(frozen=True)
class Limits:
    """Bounds of work in flight.

    Attributes:
        ranges: Whole ranges planned and not merged, over all partitions; smaller ones count by
            their records.
        flushes: Flushes, or batches of a side output, that wait before planning is held back.
        small_records: Ranges below this many records in sum travel in one activity.
        bounded: Whether what is in flight and waits is held within its room in the payloads; runs
            that began before there was one go on as they were.
    """

    ranges: int = 8
    flushes: int = 8
    small_records: int = 20_000
    bounded: bool = True


def limits_of(spec: StreamSpec, *, bounded: bool = True) -> Limits:
    """Give the bounds that a stream's options ask for."""
    return Limits(
        ranges=spec.limits.parallelism, flushes=spec.limits.max_pending_flushes, bounded=bounded
    )


@dataclass(frozen=True)
class Plan:
    """What to start now, and when to look again.

    Attributes:
        batches: Ranges to aggregate, one activity a batch; already noted as planned.
        wake_ms: Workflow time at which a range that is now too small may be cut; None when nothing
            waits for time.
    """

    batches: list[list[RangeTask]]
    wake_ms: int | None


def plan_ranges(state: StreamState, spec: StreamSpec, limits: Limits, now_ms: int) -> Plan:
    """Cut what is due, slowest partition first, and note it in the state.

    A partition with `max_records` unread is cut at once; a smaller rest when nothing of it is in
    flight and the trigger's interval has passed. Nothing is cut while a sink is too far behind.
    """
    if held_back(state, limits):
        return Plan([], None)
    tasks: list[RangeTask] = []
    wake_ms: int | None = None
    share = max(1, limits.ranges // max(1, len(state.partitions)))
    if spec.deduplicate is not None:
        share = 1  # a range is judged by what the one before it left
    in_flight = Counter(task.span.partition for task in state.planned)
    unplanned = [n for n, p in state.partitions.items() if p.target > p.planned]
    for number in sorted(unplanned, key=lambda n: _progress(state.partitions[n])):
        partition, flying = state.partitions[number], in_flight[number]
        if not _has_room(state, spec, limits):
            break
        if _drifted(state, partition, spec):
            continue
        while partition.target > partition.planned and _has_room(state, spec, limits):
            unread = partition.target - partition.planned
            due_ms = partition.cut_ms + spec.trigger.interval_ms
            if unread < spec.trigger.max_records and (flying or now_ms < due_ms):
                if not flying:
                    wake_ms = due_ms if wake_ms is None else min(wake_ms, due_ms)
                break
            if flying >= share:
                break
            tasks.append(_cut(state, partition, number, spec.trigger.max_records, now_ms))
            flying += 1
    return Plan(_travelling(state, spec, limits, tasks), wake_ms)


def _travelling(
    state: StreamState, spec: StreamSpec, limits: Limits, tasks: list[RangeTask]
) -> list[list[RangeTask]]:
    """Put ranges together that travel in one activity, and note where their results go."""
    batches = _batches(tasks, limits)
    if limits.bounded:
        _share_room(state, spec, batches)
    if spec.raw:
        number_flushes(state, spec, batches)
    return batches


def _has_room(state: StreamState, spec: StreamSpec, limits: Limits) -> bool:
    """Tell whether one more range may be in flight; a topic of many quiet partitions fits whole."""
    records = sum(t.span.stop - t.span.start for t in state.planned)
    if limits.bounded and waiting(state) + to_come(spec, state.planned) >= MOST_WAITING:
        return False
    return records < limits.ranges * spec.trigger.max_records and len(state.planned) < MAX_PLANNED


def _share_room(state: StreamState, spec: StreamSpec, batches: list[list[RangeTask]]) -> None:
    """Say how much of each result travels inline: a quarter of what room is left for a batch."""
    for batch in batches:
        share = inline_room(state, spec) // 4 // len(batch)
        for task in batch:
            task.inline_bytes = share


def _progress(partition: PartitionState) -> tuple[bool, int]:
    """Order partitions: those that have shown no event time yet, then the slowest."""
    at_ms = partition.max_event_ms
    return at_ms is not None, at_ms or 0


def held_back(state: StreamState, limits: Limits) -> bool:
    """Tell whether a sink or the merging is so far behind that nothing more may be read."""
    behind = max(len(state.flushes), state.side_batches) >= limits.flushes
    behind = behind or (limits.bounded and waiting(state) >= MOST_WAITING)
    return behind or is_crowded(state.segments, state.key_ranges)


def caught_up(state: StreamState, limits: Limits) -> bool:
    """Tell whether all that is known of the log is planned and more is wanted."""
    partitions = state.partitions.values()
    return (
        state.mode == "running"
        and not held_back(state, limits)
        and all(p.planned >= p.target for p in partitions)
        and not (state.bounded and all(p.planned == p.until for p in partitions))
    )


def catching_up(state: StreamState, max_records: int) -> bool:
    """Tell whether some partition still has a whole range to read."""
    return any(p.target - p.planned >= max_records for p in state.partitions.values())


def _cut(
    state: StreamState, partition: PartitionState, number: int, max_records: int, now_ms: int
) -> RangeTask:
    stop = min(partition.planned + max_records, partition.target)
    span = OffsetRange(topic=state.topic, partition=number, start=partition.planned, stop=stop)
    task = RangeTask(
        span=span,
        epoch=state.epoch,
        watermark_ms=state.watermark_ms,
        now_ms=now_ms,
        floor_ms=state.floor_ms,
        key_ranges=state.key_ranges,
        seen=partition.seen,
        rows_from=partition.rows_from if partition.planned < partition.rows_from else 0,
    )
    partition.planned = stop
    partition.cut_ms = now_ms
    state.planned.append(task)
    return task


def _drifted(state: StreamState, partition: PartitionState, spec: StreamSpec) -> bool:
    """Tell whether a partition runs too far ahead of the slowest one that has something to read."""
    drift_ms = spec.event_time.max_drift_ms
    if drift_ms is None or partition.max_event_ms is None:
        return False
    slower = [
        p.max_event_ms
        for p in state.partitions.values()
        if p is not partition and p.target > p.cursor and p.max_event_ms is not None
    ]
    return bool(slower) and partition.max_event_ms > min(slower) + drift_ms


def _batches(tasks: list[RangeTask], limits: Limits) -> list[list[RangeTask]]:
    """Let small ranges travel together, in order, as many as `small_records` allow."""
    batches: list[list[RangeTask]] = []
    room = places = 0
    for task in tasks:
        records = task.span.stop - task.span.start
        needed = max(1, len(task.seen.tables) if task.seen else 0) if limits.bounded else 0
        if records <= room and needed <= places:
            batches[-1].append(task)
            room, places = room - records, places - needed
        else:
            batches.append([task])
            room, places = limits.small_records - records, MOST_TOGETHER - needed
    return batches
