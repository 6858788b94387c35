"""The same log gives the same final view, however it is cut, restarted or sped up."""

import random
from collections.abc import Callable

import pytest

from pipelines.stream import StreamSpec, Trigger, Window
from streaming.ledger import Ledger
from streaming.status import StreamStatus, StreamUntil
from tests.unit.streaming.engine_log import Event, Log, brute_force
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
}

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
    log = make_log(1)
    fill(rig, log)
    spec = rig.spec(DISORDER_MS, max_records, window=WINDOWS[kind])
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=sum(LENGTHS), aggregated=sum(LENGTHS))
    expected = brute_force(log, WINDOWS[kind])
    for sink in rig.sinks:
        assert same(view(rig, spec, sink), expected), sink


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", WINDOWS)
async def test_final_view_is_the_same_for_every_number_of_restarts(
    clock_rig: StreamRig, kind: str, seed: int
) -> None:
    rig = clock_rig
    chance = random.Random(seed)
    log = make_log(seed)
    fill(rig, log)
    spec = rig.spec(DISORDER_MS, window=WINDOWS[kind])
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
