"""The first step of a stream: its state, saved by the last run or new."""

import asyncio
from datetime import timedelta

from temporalio import workflow

from activities import stream_io
from streaming.state import StreamState, decode_state
from workflows import clock, policies
from workflows.insistence import Insistence
from workflows.stream_input import StreamInput

CANCEL_GRACE = timedelta(seconds=60)


async def open_stream(task: StreamInput, insist: Insistence) -> StreamState:
    """Open a stream, also when it is cancelled meanwhile.

    What opening took, a state or an epoch, is then there to be saved again. Only opening that does
    not come to an end is given up.

    Raises:
        CancelledError: It was cancelled and did not open within a minute.
    """
    opening = asyncio.create_task(_open(task, insist))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        insist.cancelled = True
        await workflow.wait([opening], timeout=CANCEL_GRACE.total_seconds())
        if not opening.done():
            insist.given_up = True
            opening.cancel()
            raise
        return opening.result()


async def _open(task: StreamInput, insist: Insistence) -> StreamState:
    """Prepare the sinks and get the state to go on from; an error that no retry heals ends it."""
    opening = stream_io.OpenInput(
        spec=task.spec,
        owner=workflow.info().first_execution_run_id,
        fresh=task.fresh,
        begin=task.begin,
        until=task.until,
        rewind=task.rewind,
        now_ms=clock.now_ms(),
        accept_loss=task.accept_loss,
    )
    result = await insist.run(
        "open", "stream.open", opening, stream_io.OpenResult,
        policies.BOOKKEEPING, fatal_ends=True,
    )  # fmt: skip
    for note in result.notes:
        workflow.logger.info(note)
    return decode_state(result.state)
