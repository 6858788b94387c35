"""Going on after records are gone: what was given up is counted, never read as something else."""

from common.payloads import Model
from pipelines.stream import EPOCH_BITS, StreamSpec
from streaming.ledger import Ledger
from streaming.offset_map import OffsetMap
from streaming.offset_range import OffsetRange
from streaming.progress import RangeResult, merge_next
from streaming.seen import let_go
from streaming.state import PartitionState, RangeTask, StreamState

Results = dict[tuple[int, int], RangeResult]


class LogSurvey(Model):
    """What the log holds now: identity of the topic, first and last stable offset per partition."""

    topic_id: str
    start: OffsetMap
    end: OffsetMap


def accept_loss(
    state: StreamState, spec: StreamSpec, results: Results, survey: LogSurvey, now_ms: int
) -> int:
    """Go on where the log begins now, or with another topic from its beginning.

    Ranges that are read already are merged. Of the others, what is gone is counted as skipped, and
    what is there stays planned.

    Args:
        state: Changed in place.
        spec: The stream.
        results: Finished ranges by (partition, start); emptied as far as their turn comes.
        survey: The log as it is now.
        now_ms: Workflow time.

    Returns:
        Offsets given up.
    """
    before = state.ledger.skipped
    if survey.topic_id == state.topic_id:
        for number, partition in state.partitions.items():
            if number in survey.start:
                _skip_to(state, number, partition, survey, results)
        merge_next(state, spec, results, now_ms)
    else:
        _leave_topic(state, spec, results, survey, now_ms)
    return state.ledger.skipped - before


def _skip_to(
    state: StreamState, number: int, partition: PartitionState, survey: LogSurvey, results: Results
) -> None:
    """Give up what lies before the start of the log, range by range in the order of the offsets."""
    floor = survey.start[number]
    if partition.until is not None:
        floor = min(floor, partition.until)
    if partition.cursor > survey.end[number]:  # the log was cut back
        state.planned = [t for t in state.planned if t.span.partition != number]
        partition.cursor = partition.planned = survey.end[number]
        for key in [key for key in results if key[0] == number]:
            del results[key]
    kept: list[RangeTask] = []
    for task in state.planned:
        span = task.span
        mine = span.partition == number
        if not mine or span.start >= floor or (number, span.start) in results:
            kept.append(task)
            continue
        stop = min(span.stop, floor)
        _skip(state, number, span.start, stop, results)
        if stop < span.stop:
            rest = span.model_copy(update={"start": stop})
            kept.append(task.model_copy(update={"span": rest}))
    state.planned = kept
    if partition.planned < floor:
        _skip(state, number, partition.planned, floor, results)
        partition.planned = floor
    partition.end = max(survey.end[number], partition.planned)
    partition.idle = partition.idle and partition.end <= partition.cursor


def _leave_topic(
    state: StreamState, spec: StreamSpec, results: Results, survey: LogSurvey, now_ms: int
) -> None:
    """Finish with a topic that is gone, and begin with the one of its name.

    The end of a bounded run is pinned anew. The watermark stays: it never goes back.
    """
    for task in state.planned:
        span = task.span
        if (span.partition, span.start) not in results:
            _skip(state, span.partition, span.start, span.stop, results)
    merge_next(state, spec, results, now_ms)
    unread = sum(
        max(0, (p.end if p.until is None else p.until) - p.cursor)
        for p in state.partitions.values()
    )
    bounded = state.bounded
    state.ledger = state.ledger.plus(Ledger(skipped=unread + sum(survey.start.values())))
    results.clear()
    state.planned = []
    state.base_version = state.epoch << EPOCH_BITS | state.flush_seq
    for partition in state.partitions.values():
        state.garbage += let_go(partition.seen, None)
    state.topic_id = survey.topic_id
    state.partitions = {
        number: PartitionState(
            cursor=start,
            planned=start,
            end=survey.end[number],
            until=survey.end[number] if bounded else None,
        )
        for number, start in sorted(survey.start.items())
    }


def _skip(state: StreamState, number: int, start: int, stop: int, results: Results) -> None:
    """Let a range of lost offsets have its turn as one that held nothing."""
    span = OffsetRange(topic=state.topic, partition=number, start=start, stop=stop)
    results[number, start] = RangeResult(
        span=span, epoch=state.epoch, ledger=Ledger(skipped=stop - start)
    )
