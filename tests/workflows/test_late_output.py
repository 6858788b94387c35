"""Late events of a stream reach their topic, each once."""

from common.errors import FatalError, ServiceUnavailableError
from pipelines.stream import Late, StreamSpec
from streaming.status import StreamResult, StreamUntil
from tests.workflows.rig import Handle, StreamRig, event

LATEST = StreamUntil(kind="latest")
TOPIC = "events.late"
DOWN = ServiceUnavailableError("Kafka", "x", "reset")


def late_spec(rig: StreamRig, to: str | None = TOPIC, max_records: int = 2) -> StreamSpec:
    return rig.spec(late=Late(allowed_ms=500, to=to), max_records=max_records)


def delivered(rig: StreamRig) -> list[tuple[str, str, str]]:
    """Give partition, offset and late_by_ms of each record of the topic."""
    found = [dict(headers) for _, _, headers in rig.dead.topics.get(TOPIC, [])]
    return [
        (h["partition"].decode(), h["offset"].decode(), h["late_by_ms"].decode()) for h in found
    ]


async def begin(rig: StreamRig, spec: StreamSpec, history_events: int = 8_000) -> Handle:
    """Start a stream whose watermark stands at 5,000 before anything late is there."""
    rig.log.append(0, event(0), event(5_000))
    handle = await rig.start(spec, history_events=history_events)
    await rig.until(handle, lambda s: s.ledger.consumed == 2)
    return handle


async def end(rig: StreamRig, handle: Handle) -> StreamResult:
    await handle.signal("drain")
    result = await rig.ended(handle)
    assert result.ledger.balanced
    return result


async def test_late_events_are_delivered_once_though_the_answer_was_lost(rig: StreamRig) -> None:
    handle = await begin(rig, late_spec(rig))
    rig.dead.failures = [DOWN]
    rig.log.append(0, event(900), b"no json", event(3_999), event(4_000), event(4_200))
    await rig.until(handle, lambda s: s.ledger.consumed == 7)
    result = await end(rig, handle)
    assert (result.ledger.late, result.ledger.dead_lettered) == (2, 1)
    assert delivered(rig) == [("0", "2", "3500"), ("0", "4", "500")]
    [first, second] = rig.dead.topics[TOPIC]
    assert (first[1], second[1]) == (event(900), event(3_999))
    assert dict(first[2]) == {
        "topic": b"events", "partition": b"0", "offset": b"2", "pipeline": b"model",
        "event_time": b"1970-01-01T00:00:00.900Z", "late_by_ms": b"3500",
    }  # fmt: skip
    [dead] = rig.dead.topics["events.dlq"]
    assert dict(dead[2])["offset"] == b"3"
    assert rig.view()[0, "a"] == 1


async def test_without_a_topic_late_events_are_counted_and_nothing_is_written(
    rig: StreamRig,
) -> None:
    handle = await begin(rig, late_spec(rig, to=None))
    rig.log.append(0, event(900))
    await rig.until(handle, lambda s: s.ledger.consumed == 3)
    result = await end(rig, handle)
    assert result.ledger.late == 1
    assert rig.dead.topics == {}


async def test_a_drain_waits_until_late_events_are_delivered(rig: StreamRig) -> None:
    handle = await begin(rig, late_spec(rig))
    rig.dead.failures = [DOWN] * 9
    rig.log.append(0, event(900))
    await rig.until(handle, lambda s: "late events" in s.reason)
    assert (await end(rig, handle)).ledger.late == 1
    assert rig.dead.failures == []
    assert delivered(rig) == [("0", "2", "3500")]


async def test_undelivered_late_events_outlive_a_stop_and_are_delivered_once(
    rig: StreamRig,
) -> None:
    handle = await begin(rig, late_spec(rig))
    rig.dead.failures = [DOWN] * 1_000
    rig.log.append(0, event(900), event(901))
    await rig.until(handle, lambda s: s.ledger.late == 2 and "late events" in s.reason)
    await handle.signal("stop")
    assert (await rig.ended(handle)).state == "stopped"
    rig.dead.failures = []
    rig.log.append(0, event(902))
    result = await rig.ended(await rig.start(late_spec(rig), until=LATEST))
    assert result.ledger.balanced
    assert result.ledger.late == 3
    assert [offset for _, offset, _ in delivered(rig)] == ["2", "3", "4"]


async def test_a_refused_topic_pauses_and_resume_delivers(rig: StreamRig) -> None:
    handle = await begin(rig, late_spec(rig))
    rig.dead.refusals = [FatalError("topic `events.late`: not allowed to write")]
    rig.log.append(0, event(900))
    status = await rig.until(handle, lambda s: s.state == "paused")
    assert "not allowed to write" in status.reason
    assert delivered(rig) == []
    await handle.signal("resume")
    await rig.until(handle, lambda s: s.state == "running")
    await end(rig, handle)
    assert delivered(rig) == [("0", "2", "3500")]


async def test_continuing_as_new_delivers_each_late_event_once(clock_rig: StreamRig) -> None:
    rig = clock_rig
    handle = await begin(rig, late_spec(rig, max_records=1), history_events=40)
    rig.dead.failures = [DOWN] * 3
    rig.log.append(0, *(event(at) for at in range(30)), event(9_000))
    await rig.until_next_run(handle)
    await rig.until(handle, lambda s: s.ledger.consumed == 33)
    result = await end(rig, handle)
    assert result.ledger.late == 30
    assert [offset for _, offset, _ in delivered(rig)] == [str(2 + at) for at in range(30)]


async def test_more_late_events_than_travel_inline_are_delivered_and_their_objects_go(
    rig: StreamRig,
) -> None:
    handle = await begin(rig, late_spec(rig, max_records=1_000))
    rig.log.append(0, *(event(at, "a" * 50) for at in range(500)))
    await rig.until(handle, lambda s: s.ledger.consumed == 502)
    assert (await end(rig, handle)).ledger.late == 500
    assert [offset for _, offset, _ in delivered(rig)] == [str(2 + at) for at in range(500)]
    assert any("-late-" in key for key in rig.store.objects)


async def test_a_fresh_start_delivers_the_late_events_of_its_own_epoch(rig: StreamRig) -> None:
    handle = await begin(rig, late_spec(rig))
    rig.log.append(0, event(900))
    await rig.until(handle, lambda s: s.ledger.consumed == 3)
    await end(rig, handle)
    result = await rig.ended(await rig.start(late_spec(rig), until=LATEST, fresh=True))
    assert result.ledger.balanced
    assert len(delivered(rig)) == 1 + result.ledger.late
