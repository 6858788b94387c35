"""Topics of thousands of partitions, whose state, ends and status fit the payloads."""

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from common.errors import UsageError
from pipelines.stream import Deduplicate
from streaming.room import MOST_DEDUPLICATED, MOST_PARTITIONS
from streaming.status import StreamUntil
from tests.workflows.rig import StreamRig, event

pytestmark = pytest.mark.timeout(180)

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
