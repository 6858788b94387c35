"""Options changed while a stream runs: what it reads changes, what it computes does not."""

import asyncio

import pytest
from temporalio.client import WorkflowUpdateFailedError

from activities.ports import TopicState
from streaming.status import StreamUntil
from streaming.tuning import Operation, Tuning, TuningChange
from tests.stack_rig import wait_for
from tests.workflows.rig import Handle, StreamRig, event

pytestmark = pytest.mark.timeout(180)

LATEST = StreamUntil(kind="latest")


async def configure(
    handle: Handle, change: Tuning | None = None, *, reset: bool = False
) -> Operation:
    change = change or Tuning()
    now: Operation = await handle.execute_update(
        "configure", TuningChange(change=change, reset=reset), result_type=Operation
    )
    return now


async def test_options_changed_in_the_middle_change_ranges_and_no_result(rig: StreamRig) -> None:
    spec = rig.spec(max_records=2)
    rig.log.append(0, *(event(i * 100, "a") for i in range(20)))
    handle = await rig.start(spec)
    await rig.until(handle, lambda s: s.ledger.consumed == 20)
    assert max(span.stop - span.start for span in rig.log.reads) == 2
    await handle.signal("pause")
    now = await configure(handle, Tuning(max_records=5, parallelism=1, interval_ms=1))
    assert (now.max_records, now.parallelism, now.interval_ms) == (5, 1, 1)
    assert (now.max_pending_flushes, len(now.configured)) == (8, 3)
    rig.log.append(0, *(event(2_000 + i * 100, "a") for i in range(20)))
    rig.log.reads.clear()
    await handle.signal("resume")
    status = await rig.until(handle, lambda s: s.ledger.consumed == 40 and not s.pending_flushes)
    assert [span.stop - span.start for span in rig.log.reads] == [5, 5, 5, 5]
    assert status.operation == now
    await handle.signal("stop")
    await rig.ended(handle)
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger.consumed == 40
    assert rig.view() == {(s * 1000, "a"): 10 for s in range(4)}


async def test_changed_options_outlive_a_stop_and_a_reset_goes_back(rig: StreamRig) -> None:
    rig.log.append(0, event(0))
    handle = await rig.start(rig.spec(max_records=7))
    await configure(handle, Tuning(max_records=3))
    await handle.signal("stop")
    await rig.ended(handle)
    handle = await rig.start(rig.spec(max_records=9))
    status = await rig.until(handle, lambda s: s.operation is not None)
    assert status.operation is not None
    assert (status.operation.max_records, status.operation.configured) == (3, ["max_records"])
    now = await configure(handle, reset=True)
    assert (now.max_records, now.configured) == (9, [])
    await handle.signal("stop")
    await rig.ended(handle)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (Tuning(), "--reset, got none"),
        (Tuning(parallelism=0), "`--parallelism`: expected 1 to 64, got 0"),
        (Tuning(max_records=10**8), "`--max-records`: expected 1 to 2,000,000"),
        (Tuning(interval_ms=-1), "milliseconds, got -1"),
    ],
)
async def test_a_wrong_change_is_refused_before_it_is_in_the_history(
    rig: StreamRig, options: Tuning, text: str
) -> None:
    handle = await rig.start(rig.spec())
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await configure(handle, options)
    assert text in str(caught.value.cause)
    kinds = {e.event_type for e in (await handle.fetch_history()).events}
    assert 41 not in kinds, "an accepted update"
    await handle.signal("stop")
    await rig.ended(handle)


async def test_changed_options_outlive_continue_as_new(clock_rig: StreamRig) -> None:
    rig = clock_rig
    rig.log.append(0, *(event(i * 100) for i in range(6)))
    handle = await rig.start(rig.spec(max_records=1), history_events=30)
    await configure(handle, Tuning(parallelism=2))
    rig.log.append(0, *(event(i * 100) for i in range(6, 30)))
    await rig.until_next_run(handle)
    status = await rig.until(handle, lambda s: s.ledger.consumed == 30 and not s.pending_flushes)
    assert status.operation is not None
    assert status.operation.parallelism == 2
    await handle.signal("drain")
    await rig.ended(handle)
    assert rig.view() == {(0, "a"): 10, (1000, "a"): 10}


async def test_a_stream_cancelled_while_it_opens_is_gone_on_from(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(500))
    release = asyncio.Event()
    describe = rig.log.describe

    async def slow(topic: str) -> TopicState:
        await release.wait()
        return await describe(topic)

    rig.log.describe = slow  # type: ignore[method-assign]  # held back here
    handle = await rig.start(rig.spec())
    with rig.server.auto_time_skipping_disabled():
        await wait_for(
            handle.describe,
            lambda found: bool(found.raw_description.pending_activities),
        )
        await handle.cancel()
        release.set()
        assert (await handle.result()).state == "stopped"
    result = await rig.ended(await rig.start(rig.spec(), until=LATEST))
    assert (result.epoch, result.ledger.consumed) == (1, 2)
    assert rig.view() == {(0, "a"): 2}


async def test_a_whole_range_is_cut_at_once_though_the_interval_is_long(rig: StreamRig) -> None:
    """A rest that waited for the interval kept the stream from looking at the log: a day's worth
    of records stayed unread, and was no lag, until an interval of a day had passed."""
    spec = rig.spec(max_records=4)
    long = spec.trigger.model_copy(update={"interval_ms": 86_400_000})
    rig.log.append(0, event(0))
    handle = await rig.start(spec.model_copy(update={"trigger": long}))
    started = await rig.until(handle, lambda s: s.ledger.consumed == 1)
    rig.log.append(0, event(100))
    await rig.until(handle, lambda s: s.partitions[0].lag == 1)
    rig.log.append(0, *(event(200 + n) for n in range(8)))
    status = await rig.until(handle, lambda s: s.ledger.consumed == 9)
    assert status.partitions[0].lag == 1
    assert status.now_ms - started.now_ms < 120_000
    await handle.signal("stop")
    await rig.ended(handle)
