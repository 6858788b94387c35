"""The same log gives the same final view, however it is cut, restarted or sped up."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipelines.stream import StreamSpec, Trigger, Window
from streaming.day import DAY_MS
from streaming.ledger import Ledger
from streaming.status import StreamStatus, StreamUntil
from streaming.tuning import Operation, Tuning, TuningChange
from tests.unit.streaming.event_log import Event, Log, brute_force
from tests.workflows.rig import StreamRig, event

LATEST = StreamUntil(kind="latest")
DISORDER_MS = 400
LENGTHS = (260, 40, 3)
"""Records of each partition: very different, and not partitioned by the key."""

EVERYTHING = 1_000_000
WINDOWS = {
    "tumbling": Window(kind="tumbling", size_ms=1_000),
    "offset": Window(kind="tumbling", size_ms=1_000, offset_ms=-300),
    "sliding": Window(kind="sliding", size_ms=1_000, slide_ms=300),
    "session": Window(kind="session", size_ms=150),
    "day": Window(kind="tumbling", size_ms=DAY_MS, timezone="Europe/Berlin"),
}
DAYS = 28_800
"""Turns the seconds of a log into steps of eight hours, so that it spans several days."""

RESTARTS = [
    *((seed, kind) for seed in range(3) for kind in ("tumbling", "offset", "sliding")),
    (1, "session"),
    (2, "day"),
]

RAW: dict[str, object] = {"window": None, "group_by": [], "aggregate": {}}

Row = tuple[object, ...]


def make_log(seed: int) -> Log:
    """Make events within the bound of disorder, at a speed of its own in each partition."""
    chance = random.Random(seed)
    log: Log = {}
    for number, length in enumerate(LENGTHS):
        span_ms = 12_000 // length
        log[number] = [
            Event(
                n * span_ms - chance.randint(0, DISORDER_MS),
                chance.choice(["a", "b", None]),
                chance.randint(1, 9_999),
                chance.randint(0, 6),
            )
            for n in range(length)
        ]
    return log


def suited(log: Log, kind: str) -> tuple[Log, int]:
    """Stretch a log where windows are days; gives its bound of disorder too."""
    if kind != "day":
        return log, DISORDER_MS
    slow = {n: [replace(e, event_ms=e.event_ms * DAYS) for e in one] for n, one in log.items()}
    return slow, DISORDER_MS * DAYS


def fill(rig: StreamRig, log: Log) -> None:
    for number, events in log.items():
        rig.log.append(
            number,
            *(event(e.event_ms, e.category, e.cents / 100, e.customer) for e in events),
        )


def view(rig: StreamRig, spec: StreamSpec, sink: str) -> dict[tuple[int, str], Row]:
    return {
        (round(start.timestamp() * 1000), key): tuple(row[name] for name in spec.aggregate)
        for (start, key), row in rig.sinks[sink].rows.items()
        if not row["_deleted"]
    }


def same(found: dict[tuple[int, str], Row], expected: dict[tuple[int, str], Row]) -> bool:
    return found.keys() == expected.keys() and all(
        all(
            a == pytest.approx(b, rel=1e-12) if isinstance(b, float) else a == b
            for a, b in zip(found[name], expected[name], strict=True)
        )
        for name in expected
    )


def consumed(least: int) -> Callable[[StreamStatus], bool]:
    return lambda status: status.ledger.consumed >= least


def sized(spec: StreamSpec, max_records: int) -> StreamSpec:
    return spec.model_copy(update={"trigger": Trigger(interval_ms=0, max_records=max_records)})


@pytest.mark.parametrize("max_records", [1, 7, 1_000, EVERYTHING])
@pytest.mark.parametrize("kind", WINDOWS)
async def test_final_view_is_the_same_for_every_size_of_range(
    rig: StreamRig, kind: str, max_records: int
) -> None:
    log, disorder_ms = suited(make_log(1), kind)
    fill(rig, log)
    spec = rig.spec(disorder_ms, max_records, window=WINDOWS[kind])
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=sum(LENGTHS), aggregated=sum(LENGTHS))
    expected = brute_force(log, WINDOWS[kind])
    for sink in rig.sinks:
        assert same(view(rig, spec, sink), expected), sink


@pytest.mark.parametrize(("seed", "kind"), RESTARTS)
async def test_final_view_is_the_same_for_every_number_of_restarts(
    clock_rig: StreamRig, kind: str, seed: int
) -> None:
    rig = clock_rig
    chance = random.Random(seed)
    log, disorder_ms = suited(make_log(seed), kind)
    fill(rig, log)
    spec = rig.spec(disorder_ms, window=WINDOWS[kind])
    for _ in range(seed + 1):
        size = chance.choice([1, 7, 50])
        handle = await rig.start(sized(spec, size))
        least = chance.randint(1, sum(LENGTHS))
        await rig.until(handle, consumed(least))
        await handle.signal(chance.choice(["stop", "drain"]))
        await rig.ended(handle)
    result = await rig.ended(await rig.start(sized(spec, EVERYTHING), until=LATEST))
    assert result.epoch == 1
    assert result.ledger == Ledger(consumed=sum(LENGTHS), aggregated=sum(LENGTHS))
    expected = brute_force(log, WINDOWS[kind])
    for sink in rig.sinks:
        assert same(view(rig, spec, sink), expected), sink


@pytest.mark.parametrize("kind", ["tumbling", "sliding", "session", "day"])
async def test_final_view_is_the_same_when_options_are_changed_in_the_middle(
    rig: StreamRig, kind: str
) -> None:
    log, disorder_ms = suited(make_log(4), kind)
    fill(rig, log)
    spec = rig.spec(disorder_ms, 3, window=WINDOWS[kind])
    handle = await rig.start(spec, until=LATEST)
    for least, change in [
        (10, Tuning(parallelism=1, max_records=1)),
        (30, Tuning(parallelism=16, max_records=7)),
    ]:
        await rig.until(handle, consumed(least))
        await handle.execute_update("configure", TuningChange(change=change), result_type=Operation)
    result = await rig.ended(handle)
    assert result.ledger == Ledger(consumed=sum(LENGTHS), aggregated=sum(LENGTHS))
    sizes = {span.stop - span.start for span in rig.log.reads}
    assert {3, 7} <= sizes
    expected = brute_force(log, WINDOWS[kind])
    for sink in rig.sinks:
        assert same(view(rig, spec, sink), expected), sink


@pytest.mark.parametrize("max_records", [1, 7, 1_000, EVERYTHING])
async def test_every_event_of_a_raw_stream_is_there_once_for_every_size_of_range(
    rig: StreamRig, max_records: int
) -> None:
    log = make_log(1)
    fill(rig, log)
    spec = rig.spec(DISORDER_MS, max_records, **RAW)
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=sum(LENGTHS), delivered=sum(LENGTHS))
    places = [
        (number, offset, event.category, event.customer)
        for number, events in log.items()
        for offset, event in enumerate(events)
    ]
    for name, sink in rig.sinks.items():
        found = [
            (row["_partition"], row["_offset"], row["category"], row["customer"])
            for row in sink.rows.values()
        ]
        assert sorted(found, key=lambda place: place[:2]) == places, name
