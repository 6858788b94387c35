"""The stream workflow on a server that skips time."""

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from common.errors import ServiceUnavailableError, SinkRefusedError
from pipelines.stream import EventTime
from pipelines.transform import Step
from streaming.ledger import Ledger
from streaming.status import StreamUntil
from tests.workflows.rig import StreamRig, event

LATEST = StreamUntil(kind="latest")


async def test_a_bounded_run_emits_every_window_to_both_sinks_and_balances(rig: StreamRig) -> None:
    rig.log.append(0, *(event(i * 100, "a") for i in range(25)))
    rig.log.append(1, *(event(i * 100, "b") for i in range(5)), b"no json", None)
    result = await rig.ended(await rig.start(rig.spec(max_records=7), until=LATEST))
    assert result.state == "completed"
    assert result.ledger.balanced
    assert (result.ledger.consumed, result.ledger.dead_lettered) == (32, 2)
    expected = {(0, "a"): 10, (1000, "a"): 10, (2000, "a"): 5, (0, "b"): 5}
    assert rig.view("clickhouse") == expected
    assert rig.view("timescaledb") == expected


async def test_dead_letters_are_delivered_once_though_the_answer_was_lost(rig: StreamRig) -> None:
    rig.log.append(0, event(0), b"[1,2]", event(10), b'{"at": 1}')
    rig.dead.failures = [ServiceUnavailableError("Kafka", "x", "reset")]
    result = await rig.ended(await rig.start(rig.spec(max_records=2), until=LATEST))
    assert result.ledger.dead_lettered == 2
    headers = [dict(record[2]) for record in rig.dead.records]
    assert [h["offset"] for h in headers] == [b"1", b"3"]
    assert headers[0]["pipeline"] == b"model"
    assert [record[1] for record in rig.dead.records] == [b"[1,2]", b'{"at": 1}']


async def test_expanded_records_are_aggregated_by_element_and_the_ledger_balances(
    rig: StreamRig,
) -> None:
    steps = [
        Step(derive={"names": "string_split(category, ' ')"}),
        Step(expand={"name": "unnest(names)"}),
        Step(where="name <> 'x'"),
    ]
    rig.log.append(0, event(0, "a b"), event(10, "x"), b"no json", event(1_500, "a a x"))
    spec = rig.spec(max_records=2, transform=steps, group_by=["name"])
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert rig.view() == {(0, "a"): 1, (0, "b"): 1, (1000, "a"): 2}
    assert result.ledger == Ledger(
        consumed=4, expanded=2, aggregated=4, filtered=1, dead_lettered=1
    )


async def test_a_chain_of_bounded_runs_gives_what_one_run_would(rig: StreamRig) -> None:
    spec = rig.spec(max_records=4)
    rig.log.append(0, *(event(i * 100) for i in range(14)))
    first = await rig.ended(await rig.start(spec, until=LATEST))
    assert rig.view()[1000, "a"] == 4
    rig.log.append(0, *(event(i * 100) for i in range(14, 30)))
    second = await rig.ended(await rig.start(spec, until=LATEST))
    assert rig.view() == {(0, "a"): 10, (1000, "a"): 10, (2000, "a"): 10}
    assert second.epoch == first.epoch
    assert second.ledger.consumed == 30
    assert second.ledger.late == 0


async def test_a_fresh_start_claims_a_new_epoch_and_computes_the_same(rig: StreamRig) -> None:
    rig.log.append(0, *(event(i * 100) for i in range(14)))
    spec = rig.spec()
    first = await rig.ended(await rig.start(spec, until=LATEST))
    before = rig.view()
    second = await rig.ended(await rig.start(spec, until=LATEST, fresh=True))
    assert second.epoch == first.epoch + 1
    assert rig.view() == before
    assert {row["_version"] >> 40 for row in rig.sinks["clickhouse"].rows.values()} == {2}


async def test_an_open_stream_fires_when_the_watermark_passes(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(500), event(1500))
    handle = await rig.start(rig.spec())
    status = await rig.until(handle, lambda s: s.flush_seq == 1 and s.pending_flushes == 0)
    assert rig.view() == {(0, "a"): 2}
    assert status.watermark_ms == 1500
    assert status.open_windows == 1
    await handle.signal("drain")
    result = await rig.ended(handle)
    assert result.state == "drained"
    assert rig.view() == {(0, "a"): 2}


async def test_drained_and_started_again_it_goes_on_with_half_filled_windows(
    rig: StreamRig,
) -> None:
    rig.log.append(0, event(0), event(500))
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: s.ledger.consumed == 2)
    await handle.signal("drain")
    await rig.ended(handle)
    assert rig.view() == {}
    rig.log.append(0, event(900), event(2000))
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: s.pending_flushes == 0 and s.flush_seq == 1)
    assert rig.view() == {(0, "a"): 3}
    await handle.signal("stop")
    assert (await rig.ended(handle)).state == "stopped"


async def test_paused_it_reads_nothing_and_resumed_it_reads_all(rig: StreamRig) -> None:
    rig.log.append(0, event(0))
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: s.ledger.consumed == 1)
    await handle.signal("pause")
    await rig.until(handle, lambda s: s.state == "paused")
    reads = len(rig.log.reads)
    rig.log.append(0, event(100), event(5000))
    await rig.server.sleep(86_400 * 14)
    assert len(rig.log.reads) == reads
    await handle.signal("resume")
    await rig.until(
        handle, lambda s: s.ledger.consumed == 3 and s.flush_seq == 1 and not s.pending_flushes
    )
    assert rig.view() == {(0, "a"): 2}
    await handle.signal("stop")
    await rig.ended(handle)


async def test_a_quiet_partition_holds_windows_back_until_it_is_idle(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(5000))
    rig.log.append(1)
    handle = await rig.start(rig.spec(event_time=EventTime(field="at", idle_timeout_ms=60_000)))
    status = await rig.until(handle, lambda s: s.ledger.consumed == 2)
    assert status.watermark_ms is None
    started_ms = status.started_ms
    status = await rig.until(handle, lambda s: s.flush_seq == 1)
    assert status.now_ms - started_ms >= 60_000
    assert [p.idle for p in status.partitions][1]
    await handle.signal("stop")
    await rig.ended(handle)


async def test_a_returning_partition_counts_before_its_records_are_merged(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(5000))
    rig.log.append(1)
    handle = await rig.start(rig.spec(event_time=EventTime(field="at", idle_timeout_ms=5_000)))
    await rig.until(handle, lambda s: s.flush_seq == 1)
    rig.log.append(1, event(5200, "b"))
    rig.log.append(0, event(5300), event(9000))
    status = await rig.until(handle, lambda s: s.ledger.consumed == 5)
    assert status.ledger.late == 0
    assert status.watermark_ms == 5200
    assert not status.partitions[1].idle
    await handle.signal("stop")
    await rig.ended(handle)


async def test_trouble_with_a_sink_is_shown_and_outlasted(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(5000))
    down = ServiceUnavailableError("ClickHouse", "127.0.0.1:1", "connection refused")
    rig.sinks["clickhouse"].failures = [down] * 15
    handle = await rig.start(rig.spec())
    status = await rig.until(handle, lambda s: "ClickHouse" in s.reason)
    assert status.state == "running"
    assert "connection refused" in status.reason
    await rig.until(handle, lambda s: s.flush_seq == 1 and not s.pending_flushes and not s.reason)
    assert rig.view("clickhouse") == rig.view("timescaledb") == {(0, "a"): 1}
    await handle.signal("stop")
    await rig.ended(handle)


async def test_a_final_error_pauses_and_resume_goes_on_exactly_there(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(5000))
    rig.sinks["timescaledb"].failures = [SinkRefusedError("table `t` lost a column")]
    handle = await rig.start(rig.spec())
    status = await rig.until(handle, lambda s: s.state == "paused")
    assert "table `t` lost a column" in status.reason
    await handle.signal("resume")
    await rig.until(handle, lambda s: not s.pending_flushes and s.state == "running")
    assert rig.view("timescaledb") == {(0, "a"): 1}
    await handle.signal("stop")
    await rig.ended(handle)


async def test_a_terminated_run_asks_for_a_fresh_start(rig: StreamRig) -> None:
    rig.log.append(0, event(0))
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: s.ledger.consumed == 1)
    await handle.terminate()
    again = await rig.start(rig.spec())
    with pytest.raises(WorkflowFailureError) as caught:
        await rig.ended(again)
    assert "--fresh" in str(caught.value.cause)
    fresh = await rig.ended(await rig.start(rig.spec(), fresh=True, until=LATEST))
    assert fresh.epoch == 2


async def test_a_changed_specification_asks_for_a_fresh_start(rig: StreamRig) -> None:
    rig.log.append(0, event(0))
    await rig.ended(await rig.start(rig.spec(), until=LATEST))
    changed = await rig.start(rig.spec(where="amount > 0"), until=LATEST)
    with pytest.raises(WorkflowFailureError) as caught:
        await rig.ended(changed)
    assert "--fresh" in str(caught.value.cause)


async def test_a_cancelled_stream_saves_its_state(rig: StreamRig) -> None:
    rig.log.append(0, event(0), event(500))
    handle = await rig.start(rig.spec())
    await rig.until(handle, lambda s: s.ledger.consumed == 2)
    await handle.cancel()
    assert (await rig.ended(handle)).state == "stopped"
    rig.log.append(0, event(700))
    result = await rig.ended(await rig.start(rig.spec(), until=LATEST))
    assert rig.view() == {(0, "a"): 3}
    assert result.epoch == 1


async def test_continuing_as_new_in_the_middle_changes_nothing(clock_rig: StreamRig) -> None:
    rig = clock_rig
    rig.log.append(0, *(event(i * 100, "a") for i in range(60)))
    rig.log.append(1, *(event(i * 100, "b") for i in range(60)), b"no json")
    spec = rig.spec(max_records=3)
    handle = await rig.start(spec, until=LATEST, history_events=60)
    result = await rig.ended(handle)
    assert rig.view("clickhouse") == rig.view("timescaledb")
    assert rig.view() == {(s * 1000, key): 10 for s in range(6) for key in "ab"}
    assert result.ledger.consumed == 121
    assert result.ledger.balanced
    assert len(rig.dead.records) == 1
    first = await rig.server.client.get_workflow_handle(
        handle.id, run_id=handle.first_execution_run_id
    ).describe()
    assert first.status is WorkflowExecutionStatus.CONTINUED_AS_NEW


async def test_a_pause_outlives_continue_as_new(clock_rig: StreamRig) -> None:
    rig = clock_rig
    rig.log.append(0, *(event(i * 100) for i in range(6)))
    handle = await rig.start(rig.spec(max_records=1), history_events=5)
    await handle.signal("pause")
    await rig.until(handle, lambda s: s.state == "paused")
    rig.log.append(0, event(7000))
    run = await rig.until_next_run(handle)
    assert (await rig.status(handle)).state == "paused"
    assert run != handle.first_execution_run_id
    await handle.signal("resume")
    await rig.until(handle, lambda s: s.ledger.consumed == 7)
    await handle.signal("stop")
    assert (await rig.ended(handle)).ledger.consumed == 7


async def test_a_signal_that_meets_continue_as_new_is_not_lost(clock_rig: StreamRig) -> None:
    """A signal that came before the first step of a new run was once forgotten."""
    rig = clock_rig
    rig.log.append(0, *(event(i * 100) for i in range(6)))
    for _ in range(8):
        handle = await rig.start(rig.spec(max_records=1), history_events=5, fresh=True)
        await rig.until(handle, lambda s: s.ledger.consumed > 1)
        await handle.signal("stop")
        assert (await rig.ended(handle)).state == "stopped"


async def test_readers_hear_of_time_with_every_flush_and_when_it_passes_without_rows(
    rig: StreamRig,
) -> None:
    rig.log.append(0, event(0), event(500), event(1_500))
    handle = await rig.start(rig.spec(where="amount > 0"))
    status = await rig.until(handle, lambda s: s.flush_seq == 1 and not s.pending_flushes)
    told = rig.sinks["clickhouse"].told
    assert [one.complete_ms for one in told] == [1_500]
    assert status.complete_through_ms == 1_500
    rig.log.append(0, event(1_900), event(2_100), event(3_900))
    await rig.until(handle, lambda s: s.flush_seq == 2 and not s.pending_flushes)
    rig.log.append(0, *(event(i * 1_000, amount=-1.0) for i in range(4, 60)))
    status = await rig.until(handle, lambda s: s.complete_through_ms == 59_000)
    await rig.server.sleep(120)
    assert told[-1].complete_ms == 59_000
    assert rig.sinks["timescaledb"].told[-1].version == 1 << 40 | status.flush_seq
    await handle.signal("stop")
    await rig.ended(handle)
