"""Rewinds of raw streams on the server that skips time."""

import json

from activities.ports import RetiredEvents
from common.errors import ServiceUnavailableError
from streaming.ledger import Ledger
from streaming.status import RewindTo, StreamStatus, StreamUntil
from tests.workflows.rig import StreamRig, event
from tests.workflows.test_raw_stream import in_order, raw_spec

LATEST = StreamUntil(kind="latest")


def shown(rig: StreamRig, sink: str = "clickhouse") -> dict[tuple[int, int], str]:
    """Give the category of each event that a reader sees, by its position."""
    return {
        (row["_partition"], row["_offset"]): row["category"]
        for row in rig.sinks[sink].rows.values()
        if not row["_deleted"]
    }


def change(rig: StreamRig, number: int, offset: int, **fields: object) -> None:
    """Change what the log holds, so that what is read again differs from what was read."""
    values = rig.log.partitions[number]
    values[offset] = json.dumps({**json.loads(values[offset] or b""), **fields}).encode()


def is_done(status: StreamStatus, consumed: int, epoch: int) -> bool:
    caught_up = status.ledger.consumed >= consumed and not status.pending_flushes
    return status.epoch == epoch and caught_up


async def test_events_are_written_again_and_those_that_are_gone_disappear(rig: StreamRig) -> None:
    rig.log.append(0, *(event(i * 100, "a") for i in range(30)))
    rig.log.append(1, *(event(i * 100, "a") for i in range(10)))
    down = ServiceUnavailableError("ClickHouse", "127.0.0.1:1", "connection refused")
    rig.sinks["clickhouse"].failures = [down] * 6
    handle = await rig.start(raw_spec(rig))
    await rig.until(handle, lambda s: s.ledger.consumed == 40)
    change(rig, 0, 3, amount=-1.0)
    change(rig, 0, 20, amount=-1.0)
    change(rig, 0, 25, category="b")
    change(rig, 1, 9, amount=-1.0)
    rewound = await rig.rewind(handle, RewindTo(offsets={0: 17}))
    assert (rewound.epoch, rewound.floor_ms, rewound.rows_from) == (2, None, {0: 17, 1: 10})
    status = await rig.until(handle, lambda s: is_done(s, 13, 2))
    assert status.ledger == Ledger(consumed=13, delivered=12, filtered=1)
    expected = {(0, at): "b" if at == 25 else "a" for at in range(30) if at != 20}
    expected |= {(1, at): "a" for at in range(10)}
    await rig.until(handle, lambda _: shown(rig) == shown(rig, "timescaledb") == expected)
    assert in_order(rig, "clickhouse")
    rewound = await rig.rewind(handle, RewindTo(time_ms=850))
    assert rewound.offsets[1] < 9
    await rig.until(handle, lambda s: is_done(s, 40 - sum(rewound.offsets.values()), 3))
    kept = {place: key for place, key in expected.items() if place != (1, 9)}
    kept = {p: k for p, k in kept.items() if p != (0, 3) or rewound.offsets[0] > 3}
    await rig.until(handle, lambda _: shown(rig) == shown(rig, "timescaledb") == kept)
    await handle.signal("stop")
    assert (await rig.ended(handle)).epoch == 3


async def test_a_stop_in_the_middle_forgets_nothing_that_is_to_be_taken_back(
    rig: StreamRig,
) -> None:
    rig.log.append(0, *(event(i * 100, "a") for i in range(60)))
    spec = raw_spec(rig)
    await rig.ended(await rig.start(spec, until=LATEST))
    for offset in range(0, 60, 2):
        change(rig, 0, offset, amount=-1.0)
    half = StreamUntil(kind="offsets", offsets={0: 30})
    first = await rig.ended(await rig.start(spec, until=half, rewind=RewindTo(offsets={0: 0})))
    assert (first.epoch, first.ledger) == (2, Ledger(consumed=30, delivered=15, filtered=15))
    expected = {(0, at): "a" for at in range(60) if at % 2 or at >= 30}
    assert shown(rig) == shown(rig, "timescaledb") == expected
    handle = await rig.start(spec, until=LATEST, history_events=40)
    assert (await rig.ended(handle)).ledger.consumed == 60
    assert shown(rig) == shown(rig, "timescaledb") == {(0, at): "a" for at in range(1, 60, 2)}
    taken = [rows for _, rows in rig.sinks["clickhouse"].retired]
    assert all(isinstance(rows, RetiredEvents) for rows in taken)


async def test_by_event_id_only_a_rewind_to_the_beginning_takes_rows_back(rig: StreamRig) -> None:
    rig.log.append(0, *(event(i * 100, "a", customer=i % 6) for i in range(12)))
    spec = raw_spec(rig, identity=["customer"])
    await rig.ended(await rig.start(spec, until=LATEST))
    for offset in (5, 7, 11):
        change(rig, 0, offset, amount=-1.0)
    later = RewindTo(offsets={0: 6})
    await rig.ended(await rig.start(spec, until=LATEST, rewind=later))
    # The row of 5 has the event at 11, which is gone; one before offset 6 might have it, too.
    assert sorted(at for _, at in shown(rig)) == [6, 7, 8, 9, 10, 11]
    first = RewindTo(offsets={0: 0})
    await rig.ended(await rig.start(spec, until=LATEST, rewind=first))
    assert sorted(at for _, at in shown(rig)) == [1, 6, 8, 9, 10]
