"""`temporal workflow reset` of a stream: noticed, and nothing that was written is contradicted."""

from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError

from streaming.status import StreamUntil
from tests.workflows.rig import Handle, StreamRig, event


async def reset(rig: StreamRig, handle: Handle, run_id: str, number: int) -> None:
    """Reset a run to one of its completed workflow tasks, counted from the first."""
    client = rig.server.client
    history = await client.get_workflow_handle(handle.id, run_id=run_id).fetch_history()
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    points = [e.event_id for e in history.events if e.event_type == completed]
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=run_id),
            workflow_task_finish_event_id=points[number],
            reason="test",
            request_id=str(uuid4()),
        )
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("history_events", [8_000, 40])
async def test_a_reset_run_pauses_with_the_reason_and_writes_nothing(
    clock_rig: StreamRig, history_events: int
) -> None:
    rig = clock_rig
    rig.log.append(0, *(event(i * 100) for i in range(30)))
    handle = await rig.start(rig.spec(max_records=5), history_events=history_events)
    await rig.until(handle, lambda s: s.ledger.consumed == 30 and not s.pending_flushes)
    rig.log.append(0, *(event(i * 100) for i in range(30, 60)))
    await rig.until(handle, lambda s: s.ledger.consumed == 60 and not s.pending_flushes)
    view, writes = rig.view(), len(rig.sinks["clickhouse"].writes)
    assert len(view) == 5

    await reset(rig, handle, handle.first_execution_run_id or "", 4)
    again = rig.server.client.get_workflow_handle(handle.id, result_type=type(None))
    rig.log.append(0, *(event(i * 100) for i in range(60, 90)))
    status = await rig.until(handle, lambda s: s.state == "paused" and "was reset" in s.reason)
    assert "--fresh" in status.reason
    await again.signal("resume")
    await rig.until(handle, lambda s: s.state == "paused" and "was reset" in s.reason)
    assert (rig.view(), len(rig.sinks["clickhouse"].writes)) == (view, writes)

    await again.signal("stop")
    with pytest.raises(WorkflowFailureError) as caught:
        await again.result()
    assert "was reset" in str(caught.value.cause)
    assert (rig.view(), len(rig.sinks["clickhouse"].writes)) == (view, writes)
    fresh = await rig.start(rig.spec(), fresh=True, until=StreamUntil(kind="latest"))
    assert (await rig.ended(fresh)).epoch == 2
    assert rig.view() == {(s * 1000, "a"): 10 for s in range(9)}
