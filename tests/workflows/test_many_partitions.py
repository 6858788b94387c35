"""Topics of thousands of partitions, whose state, ends and status fit the payloads."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from common.errors import UsageError
from pipelines.stream import Deduplicate
from streaming.ledger import Ledger
from streaming.room import MOST_DEDUPLICATED, MOST_PARTITIONS, PAYLOAD_BYTES
from streaming.status import StreamUntil
from tests.workflows.rig import Handle, StreamRig, event

pytestmark = pytest.mark.timeout(180)

MANY = 1_000
MOST_EVENTS = 10_240
MOST_HISTORY_BYTES = 10_000_000
LATEST = StreamUntil(kind="latest")


@pytest.mark.parametrize("count", [MOST_PARTITIONS + 1, MOST_DEDUPLICATED + 1])
async def test_a_topic_of_too_many_partitions_is_refused_before_anything_is_claimed(
    rig: StreamRig, count: int
) -> None:
    for number in range(count):
        rig.log.append(number, event(0))
    once = Deduplicate(by=["customer"], within_ms=1_000)
    spec = rig.spec() if count > MOST_PARTITIONS else rig.spec(deduplicate=once)
    handle = await rig.start(spec, until=LATEST)
    with pytest.raises(WorkflowFailureError) as failure:
        await rig.ended(handle)
    cause = failure.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == UsageError.__name__
    assert f"with {count:,}" in str(cause)
    assert rig.store.objects == {}


async def runs_of(rig: StreamRig, handle: Handle) -> list[list[HistoryEvent]]:
    """Give the histories of the runs of a stream, the first one first."""
    runs: list[list[HistoryEvent]] = []
    run_id: str | None = handle.first_execution_run_id
    while run_id:
        one = rig.server.client.get_workflow_handle(handle.id, run_id=run_id)
        runs.append(list((await one.fetch_history()).events))
        last = runs[-1][-1].workflow_execution_continued_as_new_event_attributes
        run_id = last.new_execution_run_id
    return runs


def payloads_of(message: Message) -> Iterator[Payload]:
    """Yield the payloads in a message, however deep."""
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        several = value.values() if hasattr(value, "values") else value
        for one in several if field.is_repeated else [value]:
            if isinstance(one, Message):
                yield from payloads_of(one)


async def test_a_long_lived_stream_of_thousands_of_partitions_stays_below_all_limits(
    rig: StreamRig,
) -> None:
    for number in range(MANY):
        rig.log.append(number, event(0))
    handle = await rig.start(rig.spec(), until=LATEST, history_events=40)
    result = await rig.ended(handle)
    assert result.ledger == Ledger(consumed=MANY, aggregated=MANY)
    assert rig.view() == {(0, "a"): MANY}
    runs = await runs_of(rig, handle)
    assert len(runs) > 2
    for events in runs:
        assert len(events) < MOST_EVENTS
        assert sum(one.ByteSize() for one in events) < MOST_HISTORY_BYTES
    sizes = [len(p.data) for events in runs for one in events for p in payloads_of(one)]
    assert 4 * MANY < max(sizes) <= PAYLOAD_BYTES
