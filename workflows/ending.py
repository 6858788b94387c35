"""The last step of a stream: its state saved for the next run, and what it came to."""

from temporalio import workflow

from activities import stream_io
from streaming import progress
from streaming.state import Mode, StreamState
from streaming.status import Outcome, StreamResult
from workflows import clock, policies
from workflows.garbage import leave_to_sweep
from workflows.insistence import Insistence

_OUTCOMES: dict[Mode, Outcome] = {"stopping": "stopped", "draining": "drained"}


async def end_stream(state: StreamState, insist: Insistence) -> StreamResult:
    """Save the state; an error that no retry heals ends the workflow with it."""
    progress.forget_planned(state)
    leave_to_sweep(state)
    saving = stream_io.SaveInput(
        pipeline=state.pipeline,
        epoch=state.epoch,
        owner=workflow.info().first_execution_run_id,
        state=state.encode(),
    )
    await insist.run(
        "save", "stream.save_state", saving, stream_io.Done,
        policies.BOOKKEEPING, fatal_ends=True,
    )  # fmt: skip
    return StreamResult(
        state=_OUTCOMES.get(state.mode, "completed"),
        epoch=state.epoch,
        ledger=state.ledger,
        events=state.ledger.consumed - state.started_consumed,
        flush_seq=state.flush_seq,
        flushed_rows=state.flushed_rows,
        watermark_ms=state.watermark_ms,
        elapsed_ms=clock.now_ms() - state.started_ms,
    )
