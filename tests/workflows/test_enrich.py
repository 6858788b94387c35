"""A stream that looks records up in a reference file, pinned by its content."""

import pytest
from temporalio.client import WorkflowFailureError

from common.errors import FatalError
from pipelines.reference_file import PREFIX, ref_of
from pipelines.stream import StreamSpec
from pipelines.transform import Enrich, Step
from streaming.ledger import Ledger
from streaming.status import StreamUntil
from tests.workflows.rig import StreamRig, event

LATEST = StreamUntil(kind="latest")
CONTENT = b"code,region\na,north\nb,south\n"


def spec_of(rig: StreamRig, content: bytes, *, required: bool) -> StreamSpec:
    enrich = Enrich(
        file="c.csv", on={"category": "code"}, take={"region": "string"}, required=required,
        content=ref_of("c.csv", content),
    )  # fmt: skip
    return rig.spec(transform=[Step(enrich=enrich)], group_by=["region"], max_records=2)


async def test_rows_are_grouped_by_what_was_looked_up(rig: StreamRig) -> None:
    await rig.store.put(PREFIX, CONTENT, "csv")
    rig.log.append(0, event(0, "a"), event(1, "x"), event(2, "b"), event(3, "a"))
    spec = spec_of(rig, CONTENT, required=True)
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=4, aggregated=3, dead_lettered=1)
    assert rig.view() == {(0, "north"): 2, (0, "south"): 1}
    [(_, _, headers)] = rig.dead.records
    assert dict(headers)["error"].endswith(b"got none for `x`")


async def test_another_content_asks_for_a_fresh_start(rig: StreamRig) -> None:
    other = b"code,region\na,west\n"
    for content in (CONTENT, other):
        await rig.store.put(PREFIX, content, "csv")
    rig.log.append(0, event(0, "a"))
    await rig.ended(await rig.start(spec_of(rig, CONTENT, required=False), until=LATEST))
    spec = spec_of(rig, other, required=False)
    with pytest.raises(WorkflowFailureError) as failure:
        await rig.ended(await rig.start(spec, until=LATEST))
    assert "reference files are part of it" in str(failure.value.cause)
    await rig.ended(await rig.start(spec, until=LATEST, fresh=True))
    assert rig.view()[0, "west"] == 1


async def test_a_content_that_is_not_in_the_store_starts_nothing(rig: StreamRig) -> None:
    rig.log.append(0, event(0, "a"))
    with pytest.raises(WorkflowFailureError) as failure:
        await rig.ended(await rig.start(spec_of(rig, CONTENT + b"c,east\n", required=False)))
    assert "references/content" in str(failure.value.cause)
    assert FatalError.__name__ in repr(failure.value.cause)
