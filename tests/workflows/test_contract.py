"""A contract in the stream workflow, on a server that skips time."""

from contracts.contract import FieldRule, PinnedContract
from streaming.ledger import Ledger
from streaming.status import StreamUntil
from tests.workflows.rig import StreamRig, event

LATEST = StreamUntil(kind="latest")
CONTRACT = PinnedContract(
    name="events",
    version="1.0.0",
    rules=[FieldRule(rule="amount.minimum", field="amount", kind="minimum", values=["0"])],
)


async def test_records_that_break_the_contract_are_dead_and_the_ledger_balances(
    rig: StreamRig,
) -> None:
    # The far record must not move the watermark, or the one behind it would be late.
    rig.log.append(0, event(0), event(90_000, amount=-1.0), event(100), b"{", event(1_000))
    spec = rig.spec(contract=CONTRACT)

    result = await rig.ended(await rig.start(spec, until=LATEST))

    assert result.ledger == Ledger(consumed=5, aggregated=3, dead_lettered=2)
    assert result.ledger.balanced
    assert rig.view() == {(0, "a"): 2, (1_000, "a"): 1}
    headers = [dict(headers) for _, _, headers in rig.dead.records]
    told = [(one["offset"], one["error_field"]) for one in headers]
    assert told == [(b"1", b"amount"), (b"3", b"")]
    assert b"rule `amount.minimum`" in headers[0]["error"]


async def test_a_raw_stream_delivers_what_keeps_the_contract(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(1, amount=-1.0), event(2))
    raw: dict[str, object] = {"window": None, "group_by": [], "aggregate": {}}

    result = await rig.ended(
        await rig.start(rig.spec(contract=CONTRACT).model_copy(update=raw), until=LATEST)
    )

    assert result.ledger == Ledger(consumed=3, delivered=2, dead_lettered=1)
