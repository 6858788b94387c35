"""Flushes on their way into one sink, in order."""

from collections.abc import Callable

from temporalio import workflow

from activities import stream_io
from pipelines.stream import SinkSpec, StreamSpec
from streaming import progress
from streaming.raw_flush import next_flush
from streaming.state import StreamState
from workflows import policies
from workflows.insistence import Insistence


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
        on_written: Called after every flush.
    """
    cursor = next(c for c in state.sinks if c.name == sink.name)
    while not insist.given_up:
        await workflow.wait_condition(lambda: next_flush(state, cursor) is not None)
        flush = next_flush(state, cursor)
        assert flush is not None  # noqa: S101 - waited for
        epoch = flush.epoch or state.epoch
        work = stream_io.WriteFlushInput(spec=spec, epoch=epoch, sink=sink, flush=flush)
        await insist.run(
            sink.name, "sink.write_flush", work, stream_io.Done, policies.SINK_WRITE
        )  # fmt: skip
        progress.take_flushed(state, sink.name, flush.flush_seq)
        on_written()
