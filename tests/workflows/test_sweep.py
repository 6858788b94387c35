"""What a sweep deletes, and what it must leave."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from activities.stream_record import StreamRecord
from activities.sweep import streams, sweep
from common.errors import ServiceUnavailableError
from connectors.temporal_run import TemporalRuns
from streaming import key_range
from streaming.key_range import KeyLimits
from streaming.status import StreamUntil
from tests.workflows.memory import MemoryStore
from tests.workflows.rig import StreamRig, event

DAY_MS = 86_400_000
NOW_MS = 100 * DAY_MS
OLD = "streams/s/e000002"
LATEST = StreamUntil(kind="latest")


@dataclass
class Runs:
    """A server as a dictionary: run id to its events."""

    events: dict[str, list[bytes]] = field(default_factory=lambda: {"a": [b"started"]})
    is_open: set[str] = field(default_factory=set)
    failure: Exception | None = None

    async def retention_ms(self) -> int:
        return 7 * DAY_MS

    async def open_runs(self, workflow_id: str) -> set[str]:
        assert workflow_id == "stream/s"
        return self.is_open

    async def histories(self, workflow_id: str) -> AsyncIterator[bytes]:
        assert workflow_id == "stream/s"
        for events in self.events.values():
            for one in events:
                yield one
        if self.failure:
            raise self.failure


async def store_with(*keys: str) -> MemoryStore:
    """Make a store of old objects of a stream in its second epoch."""
    store = MemoryStore()
    for epoch in (1, 2):
        assert await StreamRecord(store, "s").claim_epoch(f"run{epoch}", epoch, fresh=True)
    for key in keys:
        await store.create(key, b"x")
    return store


async def gone(store: MemoryStore, runs: Runs, *, dry_run: bool = False) -> list[str]:
    swept = await sweep(store, runs, "s", NOW_MS, dry_run=dry_run)
    names = [one.key for one in swept.objects]
    assert all((name in store.objects) == dry_run for name in names)
    return names


async def test_object_of_a_closed_run_that_nothing_names_goes() -> None:
    store = await store_with(f"{OLD}/run-a/x.arrow", f"{OLD}/run-a/y.arrow")
    assert await gone(store, Runs(), dry_run=True) == [
        f"{OLD}/run-a/x.arrow", f"{OLD}/run-a/y.arrow",
    ]  # fmt: skip
    assert len(await gone(store, Runs())) == 2
    assert await gone(store, Runs()) == []
    assert await store.keys("streams/s/epochs")


async def test_object_that_any_history_names_stays() -> None:
    """Plain in a payload, or within a state that is a text in it."""
    store = await store_with(*(f"{OLD}/run-a/{name}.arrow" for name in "xyz"))
    named = f'{{"ref":{{"key":"{OLD}/run-a/x.arrow"}}}}'.encode()
    carried = f'{{"carried":"{{\\"key\\":\\"{OLD}/run-a/y.arrow\\"}}"}}'.encode()
    runs = Runs({"a": [b"\x0a\x02{}", named], "b": [carried + b"\x12"]})
    assert await gone(store, runs) == [f"{OLD}/run-a/z.arrow"]


async def test_object_of_an_open_run_stays_though_nothing_names_it_yet() -> None:
    store = await store_with(f"{OLD}/run-a/x.arrow", f"{OLD}/run-b/x.arrow")
    assert await gone(store, Runs(is_open={"b"})) == [f"{OLD}/run-a/x.arrow"]


async def test_young_object_stays() -> None:
    """Its writer may be a run that the server does not list yet."""
    store = await store_with(f"{OLD}/run-a/x.arrow", f"{OLD}/run-a/y.arrow")
    store.modified_ms[f"{OLD}/run-a/x.arrow"] = NOW_MS - 7 * DAY_MS
    assert await gone(store, Runs()) == [f"{OLD}/run-a/y.arrow"]


async def test_object_whose_writer_is_not_known_goes_with_its_epoch() -> None:
    store = await store_with("streams/s/e000001/x.arrow", f"{OLD}/x.arrow")
    assert await gone(store, Runs()) == ["streams/s/e000001/x.arrow"]


async def test_state_that_waits_for_years_keeps_its_objects() -> None:
    store = await store_with(f"{OLD}/run-a/x.arrow", f"{OLD}/run-a/y.arrow")
    record = StreamRecord(store, "s")
    await record.save(2, "a", f'{{"key":"{OLD}/run-a/x.arrow"}}'.encode())
    assert await gone(store, Runs()) == [f"{OLD}/run-a/y.arrow"]
    saved = await record.latest()
    assert saved is not None
    await record.take(saved, "b")
    assert await gone(store, Runs()) == [], "who took it may not have told yet"
    await record.save(2, "b", b"{}")
    assert await gone(store, Runs()) == [f"{OLD}/run-a/x.arrow"]
    assert len(await store.keys("streams/s/saved")) == 3


async def test_nothing_goes_when_the_server_does_not_answer() -> None:
    store = await store_with(f"{OLD}/run-a/x.arrow")
    away = Runs({"a": [b""]}, failure=ServiceUnavailableError("Temporal", "x", "reset"))
    with pytest.raises(ServiceUnavailableError):
        await gone(store, away)
    assert f"{OLD}/run-a/x.arrow" in store.objects


async def test_stream_that_the_server_does_not_know_keeps_all_unless_its_state_waits() -> None:
    """Who looks in the wrong namespace would see nothing of a run that goes on."""
    store = await store_with(f"{OLD}/run-a/x.arrow", "streams/s/e000001/x.arrow")
    unknown = Runs({})
    assert await gone(store, unknown) == []
    record = StreamRecord(store, "s")
    await record.save(2, "a", b"{}")
    saved = await record.latest()
    assert saved is not None
    await record.take(saved, "b")
    assert await gone(store, unknown) == []
    await record.save(2, "b", b"{} ")
    assert len(await gone(store, unknown)) == 2


async def test_streams_are_those_with_working_objects() -> None:
    store = await store_with(f"{OLD}/run-a/x.arrow", "streams/other/saved/000001-000001.json")
    assert await streams(store) == ["s"]


async def test_paused_and_stopped_streams_go_on_after_a_sweep(
    clock_rig: StreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every object is older than any retention; only what was left behind may go."""
    rig = clock_rig
    small = KeyLimits(rows=20, most=8, lanes=4, slice_rows=2, part_bytes=4_000, part_rows=5)
    monkeypatch.setattr(key_range, "LIMITS", small)
    expected = {(w * 1_000, f"k{k:02}"): 2 for w in range(3) for k in range(30)}
    values = [event(w * 1_000 + k * 10, f"k{k:02}") for w in range(3) for k in range(30)]
    rig.log.append(0, *values[:60])
    rig.log.append(1, *values[:60])
    runs, spec = TemporalRuns(rig.server.client), rig.spec(max_records=20)
    later_ms = 10**14

    async def swept() -> list[str]:
        left = f"streams/{spec.name}/e000001/run-of-a-terminated-one/x.arrow"
        await rig.store.create(left, b"x")
        found = await sweep(rig.store, runs, spec.name, later_ms, dry_run=False)
        assert left in [one.key for one in found.objects]
        assert found.kept > 0
        return [one.key for one in found.objects]

    handle = await rig.start(spec, history_events=60)
    await rig.until_next_run(handle)
    await rig.until(handle, lambda s: s.ledger.consumed == 120 and not s.pending_flushes)
    await handle.signal("pause")
    await rig.until(handle, lambda s: s.state == "paused")
    await swept()
    await handle.signal("stop")
    await rig.ended(handle)
    await swept()
    rig.log.append(0, *values[60:])
    rig.log.append(1, *values[60:])
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger.balanced
    assert rig.view("clickhouse") == rig.view("timescaledb") == expected
