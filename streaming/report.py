"""A stream's state in the words of its status."""

from collections.abc import Mapping

from pipelines.stream import StreamSpec
from streaming.completeness import sink_complete_ms, stream_complete_ms
from streaming.progress import open_windows
from streaming.state import StreamState
from streaming.status import PartitionStatus, SinkStatus, StreamStatus
from streaming.status import StreamState as StateName
from streaming.tuning import operation
from streaming.window import Windowing

_NAMES: dict[str, StateName] = {
    "running": "running",
    "paused": "paused",
    "draining": "draining",
    "stopping": "stopping",
}


def stream_status(
    spec: StreamSpec,
    windows: Windowing,
    state: StreamState | None,
    trouble: Mapping[str, str],
    now_ms: int,
) -> StreamStatus:
    """Describe a stream.

    Args:
        spec: The stream.
        windows: Its windows.
        state: Its state; None before it was opened.
        trouble: What is retried or has paused the stream, by what was attempted.
        now_ms: Workflow time.
    """
    waits = "; ".join(f"{what}: {text}" for what, text in trouble.items())
    if state is None:
        return StreamStatus(pipeline=spec.name, state="starting", reason=waits, now_ms=now_ms)
    elapsed_ms = max(1, now_ms - state.started_ms)
    consumed = state.ledger.consumed - state.started_consumed
    return StreamStatus(
        pipeline=spec.name,
        state=_NAMES[state.mode],
        reason=state.reason or (f"retrying: {waits}" if waits else ""),
        epoch=state.epoch,
        floor_ms=state.floor_ms,
        bounded=state.bounded,
        watermark_ms=state.watermark_ms,
        partitions=_partitions(spec, state),
        target_lag=sum(max(0, p.target - p.cursor) for p in state.partitions.values()),
        open_windows=open_windows(state, windows, spec),
        pending_flushes=len(state.flushes),
        flush_seq=state.flush_seq,
        flushed_rows=state.flushed_rows,
        sinks=[
            SinkStatus(
                sink=sink.name,
                flush_seq=sink.done,
                pending=sum(flush.flush_seq > sink.done for flush in state.flushes),
                error=trouble.get(sink.name),
                complete_through_ms=sink_complete_ms(state, sink),
            )
            for sink in state.sinks
        ],
        events_per_second=consumed * 1000 / elapsed_ms,
        started_ms=state.started_ms,
        now_ms=now_ms,
        ledger=state.ledger,
        operation=operation(spec, state.tuning),
        complete_through_ms=stream_complete_ms(state),
    )


def _partitions(spec: StreamSpec, state: StreamState) -> list[PartitionStatus]:
    delay_ms = spec.event_time.out_of_orderness_ms
    return [
        PartitionStatus(
            partition=number,
            offset=partition.cursor,
            end=partition.end,
            lag=max(0, partition.end - partition.cursor),
            watermark_ms=None
            if partition.max_event_ms is None
            else partition.max_event_ms - delay_ms,
            idle=partition.idle,
        )
        for number, partition in sorted(state.partitions.items())
    ]
