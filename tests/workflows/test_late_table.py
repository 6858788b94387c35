"""Late events of a stream reach their table, each once."""

from common.errors import ServiceUnavailableError, SinkRefusedError
from pipelines.stream import Late, SinkSpec, StreamSpec
from streaming.status import StreamResult, StreamUntil
from tests.workflows.memory import MemorySink
from tests.workflows.rig import Handle, StreamRig, event

DOWN = ServiceUnavailableError("PostgreSQL", "x", "reset")


def late_spec(rig: StreamRig, max_records: int = 2) -> StreamSpec:
    rig.sinks["postgres"] = MemorySink()
    table = SinkSpec(kind="postgres", table="events_late")
    return rig.spec(late=Late(allowed_ms=500), late_table=table, max_records=max_records)


def delivered(rig: StreamRig) -> list[tuple[int, int, str]]:
    """Give epoch, offset and value of each row of the table."""
    rows = rig.sinks["postgres"].rows.values()
    return sorted((row["epoch"], row["_offset"], row["value"]) for row in rows)


async def begin(rig: StreamRig, spec: StreamSpec) -> Handle:
    """Start a stream whose watermark stands at 5,000 before anything late is there."""
    rig.log.append(0, event(0), event(5_000))
    handle = await rig.start(spec)
    await rig.until(handle, lambda s: s.ledger.consumed == 2)
    return handle


async def end(rig: StreamRig, handle: Handle) -> StreamResult:
    await handle.signal("drain")
    result = await rig.ended(handle)
    assert result.ledger.balanced
    return result


async def test_late_events_are_rows_once_though_the_table_was_away(rig: StreamRig) -> None:
    spec = late_spec(rig)
    handle = await begin(rig, spec)
    rig.sinks["postgres"].failures = [DOWN] * 1_000
    rig.log.append(0, event(900), b"no json", event(3_999), event(4_000))
    await rig.until(handle, lambda s: "late events" in s.reason)
    rig.sinks["postgres"].failures = []
    result = await end(rig, handle)
    assert (result.ledger.late, result.ledger.dead_lettered) == (2, 1)
    assert delivered(rig) == [(1, 2, event(900).decode()), (1, 4, event(3_999).decode())]
    assert rig.dead.topics.keys() == {"events.dlq"}


async def test_undelivered_late_events_outlive_a_stop_and_a_fresh_start_has_its_own(
    rig: StreamRig,
) -> None:
    spec = late_spec(rig)
    handle = await begin(rig, spec)
    rig.sinks["postgres"].failures = [DOWN] * 1_000
    rig.log.append(0, event(900), event(901))
    await rig.until(handle, lambda s: s.ledger.late == 2 and "late events" in s.reason)
    await handle.signal("stop")
    assert (await rig.ended(handle)).state == "stopped"
    rig.sinks["postgres"].failures = []
    rig.log.append(0, event(902))
    latest = StreamUntil(kind="latest")
    result = await rig.ended(await rig.start(spec, until=latest))
    assert result.ledger.late == 3
    assert [(epoch, offset) for epoch, offset, _ in delivered(rig)] == [(1, 2), (1, 3), (1, 4)]
    fresh = await rig.ended(await rig.start(spec, until=latest, fresh=True))
    assert len(delivered(rig)) == 3 + fresh.ledger.late


async def test_a_refused_table_pauses_and_resume_delivers(rig: StreamRig) -> None:
    handle = await begin(rig, late_spec(rig))
    rig.sinks["postgres"].failures = [SinkRefusedError("table `events_late`: column is gone")]
    rig.log.append(0, event(900))
    status = await rig.until(handle, lambda s: s.state == "paused")
    assert "column is gone" in status.reason
    await handle.signal("resume")
    await rig.until(handle, lambda s: s.state == "running")
    await end(rig, handle)
    assert [offset for _, offset, _ in delivered(rig)] == [2]
