"""Records that are gone before they were read: a pause with the reason, then a decision."""

from collections.abc import Callable

import pytest
from temporalio.client import WorkflowFailureError

from streaming.status import StreamStatus, StreamUntil
from tests.workflows.rig import Handle, StreamRig, event

pytestmark = pytest.mark.timeout(180)

LATEST = StreamUntil(kind="latest")


def at_rest(consumed: int) -> Callable[[StreamStatus], bool]:
    """Wait until all is read and written."""
    return lambda s: (
        s.ledger.consumed == consumed and s.state == "running" and not s.pending_flushes
    )


async def paused_by_a_loss(rig: StreamRig, *, anew: bool = False) -> Handle:
    """Lose unread records while a stream is paused, and resume it."""
    rig.log.append(0, *(event(i * 100) for i in range(4)))
    handle = await rig.start(rig.spec(max_records=2))
    await rig.until(handle, lambda s: s.ledger.consumed == 4)
    await handle.signal("pause")
    await rig.until(handle, lambda s: s.state == "paused")
    if anew:
        rig.log.append(0, *(event(i * 100) for i in range(4, 9)))
        await rig.server.sleep(30)
        rig.log.make_anew({0: [event(2_000), event(2_100)], 1: [event(2_050, "b")]})
    else:
        rig.log.append(0, *(event(i * 100) for i in range(4, 24)))
        rig.log.delete_before(0, 15)
    await handle.signal("resume")
    status = await rig.until(handle, lambda s: s.state == "paused" and "expected" in s.reason)
    assert status.ledger.consumed == 4
    return handle


async def test_a_plain_resume_tries_exactly_there_and_pauses_again(rig: StreamRig) -> None:
    handle = await paused_by_a_loss(rig)
    rig.log.reads.clear()
    await handle.signal("resume")
    await rig.until(handle, lambda s: bool(rig.log.reads) and s.state == "paused")
    assert {span.start for span in rig.log.reads} <= set(range(4, 24, 2))
    assert min(span.start for span in rig.log.reads) == 4
    await rig.until(handle, lambda s: not s.pending_flushes)
    await handle.signal("stop")
    assert (await rig.ended(handle)).ledger.skipped == 0


async def test_accepting_the_loss_goes_on_at_the_start_of_the_log(rig: StreamRig) -> None:
    handle = await paused_by_a_loss(rig)
    await handle.signal("accept_loss")
    status = await rig.until(handle, at_rest(13))
    assert (status.ledger.skipped, status.ledger.balanced, status.reason) == (11, True, "")
    await handle.signal("stop")
    await rig.ended(handle)
    result = await rig.ended(await rig.start(rig.spec(), until=LATEST))
    assert result.ledger.skipped == 11
    assert rig.view() == {(0, "a"): 4, (1000, "a"): 5, (2000, "a"): 4}


async def test_accepting_another_topic_reads_it_from_its_beginning(rig: StreamRig) -> None:
    handle = await paused_by_a_loss(rig, anew=True)
    await handle.signal("accept_loss")
    status = await rig.until(handle, lambda s: s.ledger.consumed == 7 and s.state == "running")
    assert {p.partition: p.offset for p in status.partitions} == {0: 2, 1: 1}
    rig.log.append(0, event(9_000))
    rig.log.append(1, event(9_000, "b"))
    status = await rig.until(
        handle, lambda s: s.watermark_ms == 9_000 and s.flush_seq > 1 and not s.pending_flushes
    )
    assert rig.view() == {(0, "a"): 4, (2000, "a"): 2, (2000, "b"): 1}
    assert status.reason == ""
    await handle.signal("stop")
    await rig.ended(handle)


async def test_without_a_loss_it_is_a_plain_resume(rig: StreamRig) -> None:
    rig.log.append(0, event(0))
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: s.ledger.consumed == 1)
    await handle.signal("pause")
    await handle.signal("accept_loss")
    rig.log.append(0, event(100))
    status = await rig.until(handle, at_rest(2))
    assert (status.state, status.ledger.skipped) == ("running", 0)
    await handle.signal("stop")
    await rig.ended(handle)


@pytest.mark.parametrize("anew", [False, True])
async def test_a_saved_state_whose_offsets_are_gone_is_gone_on_from(
    rig: StreamRig, anew: bool
) -> None:
    rig.log.append(0, *(event(i * 100) for i in range(6)))
    await rig.ended(await rig.start(rig.spec(), until=LATEST))
    if anew:
        rig.log.make_anew({0: [event(600), event(700)]})
    else:
        rig.log.append(0, *(event(i * 100) for i in range(6, 16)))
        rig.log.delete_before(0, 14)
    if anew:
        with pytest.raises(WorkflowFailureError) as caught:
            await rig.ended(await rig.start(rig.spec(), until=LATEST))
        assert "--accept-loss" in str(caught.value.cause)
    result = await rig.ended(await rig.start(rig.spec(), until=LATEST, accept_loss=True))
    assert (result.epoch, result.ledger.consumed) == (1, 8)
    assert result.ledger.skipped == (0 if anew else 8)


async def test_a_loss_is_accepted_by_the_next_run_too(clock_rig: StreamRig) -> None:
    rig = clock_rig
    rig.log.append(0, *(event(i * 100) for i in range(6)))
    rig.log.delete_before(0, 3)
    rig.log.append(1, *(event(i * 100, "b") for i in range(6)))
    handle = await rig.start(rig.spec(max_records=1), history_events=40, begin=None)
    await rig.until(handle, lambda s: s.ledger.consumed == 9)
    rig.log.append(0, *(event(1_000 + i * 100) for i in range(30)))
    rig.log.delete_before(0, 16)
    await rig.until(handle, lambda s: s.state == "paused" and "expected" in s.reason)
    await handle.signal("accept_loss")
    rig.log.append(1, *(event(1_000 + i * 100, "b") for i in range(30)))
    await rig.until_next_run(handle)
    status = await rig.until(handle, lambda s: s.ledger.consumed + s.ledger.skipped == 69)
    assert status.ledger.balanced
    assert 0 < status.ledger.skipped <= 10
    await handle.signal("stop")
    await rig.ended(handle)
