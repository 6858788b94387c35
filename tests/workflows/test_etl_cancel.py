"""Runs of ETL pipelines that are cancelled before anything was published."""

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from tests.stack_rig import wait_for
from tests.workflows.etl_rig import EtlRig

CANCEL_REQUESTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED


async def test_a_cancelled_run_leaves_no_trace(etl: EtlRig) -> None:
    etl.source.gate.clear()
    handle = await etl.start(etl.spec())
    await etl.until(handle, lambda status: status.phase == "extracting")

    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await etl.ended(handle)

    assert isinstance(caught.value.cause, CancelledError)
    assert etl.staged == 0
    assert await etl.lake.keys("etl/load/runs") == []
    assert await etl.store.keys("etl/load/runs") == []


async def test_what_a_cancelled_run_has_under_way_ends_before_it_is_undone(etl: EtlRig) -> None:
    # The run was undone while attempts still read: they hear of it seconds later, and what they
    # wrote until then stayed for ever.
    etl.source.gate.clear()
    handle = await etl.start(etl.spec())
    await etl.until(handle, lambda _status: len(etl.source.reads) == 2)
    before = etl.source.closed

    async def closed() -> int:
        return etl.source.closed - before

    await handle.cancel()
    while True:
        history = await handle.fetch_history()
        if any(event.event_type == CANCEL_REQUESTED for event in history.events):
            break
    etl.source.gate.set()
    with pytest.raises(WorkflowFailureError):
        await etl.ended(handle)
    await wait_for(closed, lambda count: count == 2)

    assert set(etl.source.reads) == {0, 1}
    assert etl.staged == 0
    assert await etl.lake.keys("etl/load/runs") == []
    assert await etl.store.keys("etl/load/runs") == []
