"""Runs of ETL pipelines that are paused: what is begun, what the status says, how they end."""

import pytest
from temporalio.client import WorkflowFailureError

from common.errors import SinkRefusedError
from pipelines.etl_source import PostgresSource
from tests.stack_rig import wait_for
from tests.workflows.etl_rig import EtlRig


async def test_a_paused_run_begins_nothing_more(etl: EtlRig) -> None:
    etl.source.gate.clear()
    handle = await etl.start(etl.spec())
    await etl.until(handle, lambda status: status.phase == "extracting")
    await handle.signal("pause")
    etl.source.gate.set()

    paused = await etl.until(handle, lambda status: status.rows == 60)
    assert (paused.state, paused.reason) == ("paused", "paused by request")
    assert set(etl.source.reads) == {0, 1}
    assert etl.staged == 0
    await handle.signal("resume")
    result = await etl.ended(handle)

    assert result.ledger.loaded == 100


async def test_a_pause_while_transactions_are_open_outlasts_them_and_keeps_its_reason(
    etl: EtlRig,
) -> None:
    # The reason of the pause was wiped when the last transaction had ended.
    etl.source.open_transactions = [["pid 7"], []]
    with etl.server.auto_time_skipping_disabled():
        handle = await etl.start(etl.spec(source=PostgresSource(table="t", cursor="id")))
        await etl.until(handle, lambda status: "pid 7" in status.reason)
        await handle.signal("pause")
        both = await etl.until(handle, lambda status: status.state == "paused")
        assert both.reason == "paused by request; waits for open transactions: pid 7"
    await handle.signal("resume")
    assert (await etl.ended(handle)).ledger.loaded == 100

    etl.source.settling.clear()
    handle = await etl.start(etl.spec(source=PostgresSource(table="t", cursor="id")))
    await etl.until(handle, lambda status: status.phase == "settling")
    await handle.signal("pause")
    etl.source.settling.set()
    paused = await etl.until(handle, lambda status: status.phase == "planning")
    assert (paused.state, paused.reason) == ("paused", "paused by request")
    await handle.signal("resume")
    assert (await etl.ended(handle)).ledger.loaded == 100


async def test_a_paused_run_does_not_go_on_as_a_new_one(etl: EtlRig) -> None:
    # A history that was long enough when a pause came went on as a new run, which knew of none.
    etl.targets["postgres"].staging_gate.clear()
    handle = await etl.start(etl.spec(), history_events=10)

    async def stagings() -> int:
        return etl.targets["postgres"].stagings

    async def current() -> str | None:
        return (await etl.server.client.get_workflow_handle(handle.id).describe()).run_id

    await wait_for(stagings, lambda count: count == 2)
    run_id = await current()
    await handle.signal("pause")
    etl.targets["postgres"].staging_gate.set()
    paused = await etl.until(handle, lambda status: status.chunks_done >= 2)
    assert await current() == run_id
    assert (paused.state, paused.reason) == ("paused", "paused by request")
    assert set(etl.source.reads) == {0, 1}
    await handle.signal("resume")
    assert (await etl.ended(handle)).ledger.loaded == 100


async def test_a_cancelled_or_failed_run_is_not_shown_as_paused(etl: EtlRig) -> None:
    etl.source.gate.clear()
    handle = await etl.start(etl.spec())
    await etl.until(handle, lambda status: status.phase == "extracting")
    await handle.signal("pause")
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await etl.ended(handle)
    ended = await etl.until(handle, lambda _status: True)
    assert (ended.state, ended.reason) == ("cancelled", "cancelled by request")


async def test_a_run_that_publishes_is_not_paused_and_says_so(etl: EtlRig) -> None:
    # It said that it was paused, and published the next target.
    etl.targets["postgres"].gate.clear()
    handle = await etl.start(etl.spec())
    await etl.until(handle, lambda status: len(status.published) == 1)
    await handle.signal("pause")
    asked = await etl.until(handle, lambda status: bool(status.reason))
    assert (asked.state, asked.reason) == (
        "running", "asked to pause after the first publication: it is finished",
    )  # fmt: skip
    etl.targets["postgres"].gate.set()
    assert (await etl.ended(handle)).state == "published"


async def test_a_run_that_waited_for_a_person_ends_as_what_it_is(etl: EtlRig) -> None:
    # Whoever resumed what waited behind the last publication got a result `running`.
    etl.store.refusals = {"/records/": SinkRefusedError("the store says no")}
    handle = await etl.start(etl.spec())
    waits = await etl.until(handle, lambda status: status.state == "paused")
    assert waits.reason == "recording: SinkRefusedError: the store says no"
    await handle.signal("resume")
    result = await etl.ended(handle)
    assert result.state == "published"
    assert (await etl.until(handle, lambda _status: True)).state == "published"
