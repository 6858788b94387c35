"""States and specifications in a few words."""

from collections.abc import Callable

from common.payloads import Ref
from pipelines.stream import EventTime, StreamSpec, Trigger
from streaming.ledger import Ledger
from streaming.offset_range import OffsetRange
from streaming.progress import RangeResult
from streaming.segment import Blob, Segment
from streaming.side_output import SideBatch, SideOutput
from streaming.state import Flush, PartitionState, RangeTask, SinkCursor, StreamState
from streaming.window import Windowing
from tests.unit.streaming.event_log import make_spec

WINDOWS = Windowing(1_000, 1_000)


def spec_with(
    *,
    disorder_ms: int = 0,
    idle_ms: int | None = 100,
    drift_ms: int | None = None,
    interval_ms: int = 0,
    max_records: int = 10,
) -> StreamSpec:
    event_time = EventTime(
        field="at", out_of_orderness_ms=disorder_ms, idle_timeout_ms=idle_ms, max_drift_ms=drift_ms
    )
    trigger = Trigger(interval_ms=interval_ms, max_records=max_records)
    changes = {"event_time": event_time, "trigger": trigger}
    return make_spec(disorder_ms, max_records).model_copy(update=changes)


def state_of(*partitions: PartitionState, sinks: tuple[str, ...] = ("s",)) -> StreamState:
    return StreamState(
        pipeline="p", spec_hash="h", epoch=1, topic="events", topic_id="t",
        partitions=dict(enumerate(partitions)), sinks=[SinkCursor(name=name) for name in sinks],
    )  # fmt: skip


def partition(
    cursor: int = 0, *, end: int | None = None, until: int | None = None, at_ms: int | None = None
) -> PartitionState:
    """Make a partition that has nothing in flight; its end is its cursor unless told."""
    return PartitionState(
        cursor=cursor, planned=cursor, end=cursor if end is None else end, until=until,
        max_event_ms=at_ms,
    )  # fmt: skip


def ref(key: str) -> Ref:
    return Ref(key=key, sha256="0" * 64, size_bytes=100_000)


def blob(key: str | None = None, size_bytes: int = 100, rows: int = 1) -> Blob:
    """Make a table that travels by reference when it has a key."""
    if key is None:
        return Blob(row_count=rows, size_bytes=size_bytes, inline=b"x")
    return Blob(row_count=rows, size_bytes=size_bytes, ref=ref(key))


def segment(first_ms: int, fresh_ms: int | None, table: Blob | None = None) -> Segment:
    return Segment(
        blob=table or blob(), first_pane_ms=first_ms, last_pane_ms=first_ms, first_fresh_ms=fresh_ms
    )


def flush(number: int, key: str | None = None) -> Flush:
    return Flush(flush_seq=number, rows=blob(key), chunk_rows=10, sha256="")


def batches(*keys: str | None, rows: int = 1, size_bytes: int = 100) -> SideOutput:
    """Make a side output with one batch waiting per key; one without a key travels inline."""
    output = SideOutput()
    for key in keys:
        output.add(blob(key, size_bytes, rows))
    return output


def sequences(batch: list[SideBatch]) -> list[int]:
    return [one.sequence for one in batch]


def plan_all(state: StreamState, cuts: Callable[[int], list[tuple[int, int]]]) -> None:
    """Note ranges as planned, as the planner would."""
    for number, one in state.partitions.items():
        for start, stop in cuts(number):
            span = OffsetRange(topic=state.topic, partition=number, start=start, stop=stop)
            state.planned.append(
                RangeTask(span=span, epoch=1, watermark_ms=state.watermark_ms, now_ms=0)
            )
            one.planned = stop


def result(
    number: int,
    start: int,
    stop: int,
    at_ms: int | None,
    *,
    window: Segment | None = None,
    dead: Blob | None = None,
    late: list[Blob] | None = None,
) -> RangeResult:
    """Make the result of a range whose records were all aggregated."""
    count = stop - start
    return RangeResult(
        span=OffsetRange(topic="events", partition=number, start=start, stop=stop),
        epoch=1,
        ledger=Ledger(consumed=count, aggregated=count),
        max_event_ms=at_ms,
        segment=window,
        dead=dead,
        late=late or [],
    )
