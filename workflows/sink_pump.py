"""Flushes on their way into one sink, in order."""

from collections.abc import Callable

from temporalio import workflow

from activities import stream_io
from pipelines.stream import SinkSpec, StreamSpec
from streaming import progress
from streaming.chunk_span import chunk_spans
from streaming.raw_flush import next_flush
from streaming.state import SinkCursor, StreamState
from workflows import clock, policies
from workflows.insistence import Insistence
from workflows.offset_refresh import OffsetRefresh

PUBLISH_EVERY_MS = 60_000
"""Readers hear of progress with every flush, and this often when time goes on without rows."""


async def write_flushes(
    sink: SinkSpec,
    spec: StreamSpec,
    state: StreamState,
    insist: Insistence,
    on_written: Callable[[], None],
) -> None:
    """Write what waits, flush after flush, until the workflow gives up what runs.

    Args:
        sink: Where to.
        spec: The stream.
        state: Its state; the sink's cursor moves, flushes that all sinks have are let go.
        insist: Runs a write until it succeeds.
        on_written: Called after every flush and every refresh of what the sink committed.
    """
    cursor = next(c for c in state.sinks if c.name == sink.name)
    publishes = workflow.patched("publish-complete-through")
    told_ms = clock.now_ms()

    def waits() -> bool:
        return next_flush(state, cursor) is not None

    def looks_stale() -> bool:
        known, told = state.complete_ms, cursor.published_ms
        behind = known is not None and (told is None or known > told)
        return publishes and behind and clock.now_ms() - told_ms >= PUBLISH_EVERY_MS

    refresh = OffsetRefresh(sink, state, cursor)
    with refresh.awake():
        while not insist.given_up:
            await workflow.wait_condition(lambda: waits() or looks_stale() or refresh.due)
            told_ms = clock.now_ms()
            flush = next_flush(state, cursor)
            if flush is None and refresh.due:
                await refresh.run(spec, insist)
                on_written()
                continue
            if flush is None:
                await _publish(sink, spec, state, cursor, insist)
                continue
            epoch = flush.epoch or state.epoch
            for span in chunk_spans(flush):
                work = stream_io.WriteFlushInput(
                    spec=spec, epoch=epoch, sink=sink, flush=flush, chunks=span
                )
                await insist.run(
                    sink.name, "sink.write_flush", work, stream_io.Done, policies.SINK_WRITE
                )  # fmt: skip
            refresh.note()
            progress.take_flushed(state, sink.name, flush.flush_seq)
            on_written()


async def _publish(
    sink: SinkSpec, spec: StreamSpec, state: StreamState, cursor: SinkCursor, insist: Insistence
) -> None:
    """Tell the sink's readers that windows without rows have passed."""
    known = state.complete_ms
    if known is None:
        return
    work = stream_io.PublishInput(
        spec=spec, epoch=state.epoch, sink=sink, flush_seq=cursor.done, complete_ms=known
    )
    await insist.run(
        sink.name, "sink.publish_progress", work, stream_io.Done, policies.SINK_WRITE
    )  # fmt: skip
    cursor.published_ms = known
