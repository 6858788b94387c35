"""Windows of local days in the workflow, over a change of the clock."""

from datetime import UTC, datetime

import pytest
from temporalio.client import WorkflowUpdateFailedError

from pipelines.stream import EventTime, Late, Window
from streaming.day import DAY_MS
from streaming.status import RewindTo, StreamUntil
from tests.workflows.rig import StreamRig, event

BERLIN = Window(kind="tumbling", size_ms=DAY_MS, timezone="Europe/Berlin")


def at(text: str) -> int:
    """Give an instant in milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000


async def test_day_of_23_hours_fires_at_its_end_and_is_revised_while_it_may_be(
    rig: StreamRig,
) -> None:
    event_time = EventTime(field="at", idle_timeout_ms=None)
    spec = rig.spec(window=BERLIN, late=Late(allowed_ms=3_600_000), event_time=event_time)
    short_ms, next_ms = at("2026-03-28T23:00"), at("2026-03-29T22:00")
    rig.log.append(0, event(short_ms), event(next_ms - 1))
    handle = await rig.start(spec)
    status = await rig.until(handle, lambda s: s.ledger.consumed == 2)
    assert (status.open_windows, status.flush_seq) == (1, 0)
    rig.log.append(0, event(next_ms))
    status = await rig.until(handle, lambda s: s.flush_seq == 1 and not s.pending_flushes)
    assert rig.view() == {(short_ms, "a"): 2}
    assert status.open_windows == 1
    rows = list(rig.sinks["clickhouse"].rows.values())
    assert [row["window_end"].timestamp() * 1000 for row in rows] == [next_ms]
    rig.log.append(0, event(short_ms + 5))
    await rig.until(handle, lambda s: s.flush_seq == 2 and not s.pending_flushes)
    assert rig.view() == {(short_ms, "a"): 3}
    rig.log.append(0, event(next_ms + 3_600_000))
    await rig.until(handle, lambda s: s.ledger.consumed == 5)
    rig.log.append(0, event(short_ms + 6))
    status = await rig.until(handle, lambda s: s.ledger.late == 1)
    await handle.signal("drain")
    result = await rig.ended(handle)
    assert result.ledger.balanced
    assert rig.view("timescaledb") == {(short_ms, "a"): 3}


async def test_a_bounded_run_over_both_changes_of_the_clock_gives_each_day_once(
    rig: StreamRig,
) -> None:
    hours = [at("2026-03-27T00:00") + h * 3_600_000 for h in range(96)]
    hours += [at("2026-10-24T00:00") + h * 3_600_000 for h in range(72)]
    rig.log.append(0, *(event(hour) for hour in hours))
    handle = await rig.start(
        rig.spec(window=BERLIN, max_records=7), until=StreamUntil(kind="latest"), history_events=60
    )
    result = await rig.ended(handle)
    assert result.ledger.balanced
    expected = {
        "2026-03-26T23:00": 23, "2026-03-27T23:00": 24, "2026-03-28T23:00": 23,
        "2026-03-29T22:00": 24, "2026-03-30T22:00": 2,
        "2026-10-23T22:00": 22, "2026-10-24T22:00": 25, "2026-10-25T23:00": 24,
        "2026-10-26T23:00": 1,
    }  # fmt: skip
    assert rig.view() == {(at(start), "a"): count for start, count in expected.items()}


async def test_days_from_a_local_midnight_on_are_computed_again(rig: StreamRig) -> None:
    first_ms = at("2026-03-27T00:00")
    for hour in range(5 * 24):
        rig.log.append(
            0, event(first_ms + hour * 3_600_000), event(first_ms + hour * 3_600_000, "b")
        )
    spec = rig.spec(window=BERLIN, max_records=10)
    handle = await rig.start(spec)
    await rig.until(handle, lambda s: s.ledger.consumed == 240 and not s.pending_flushes)
    for values in rig.log.partitions.values():
        values[:] = [value and value.replace(b'"b"', b'"c"') for value in values]
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await rig.rewind(handle, RewindTo(offsets={0: 999}))
    assert "expected an offset up to 240" in str(caught.value.cause)
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await rig.rewind(handle, RewindTo(offsets={0: 240}))
    assert "name earlier offsets" in str(caught.value.cause)
    floor_ms = at("2026-03-28T23:00")
    rewound = await rig.rewind(handle, RewindTo(time_ms=at("2026-03-29T21:59")))
    assert (rewound.epoch, rewound.floor_ms) == (2, floor_ms)
    left = 240 - rewound.offsets[0]
    status = await rig.until(
        handle, lambda s: s.epoch == 2 and s.ledger.consumed == left and not s.pending_flushes
    )
    assert status.ledger.balanced
    days = {"2026-03-26T23:00": 23, "2026-03-27T23:00": 24}
    again = {"2026-03-28T23:00": 23, "2026-03-29T22:00": 24, "2026-03-30T22:00": 24}
    expected = {(at(day), key): n for day, n in days.items() for key in "ab"}
    expected |= {(at(day), key): n for day, n in again.items() for key in "ac"}
    await rig.until(handle, lambda _: rig.view() == rig.view("timescaledb") == expected)
    await handle.signal("stop")
    await rig.ended(handle)
    to = RewindTo(time_ms=at("2026-03-27T12:00"))
    result = await rig.ended(await rig.start(spec, until=StreamUntil(kind="latest"), rewind=to))
    assert (result.epoch, result.ledger.balanced) == (3, True)
    days |= {**again, "2026-03-31T22:00": 2}
    assert rig.view() == {(at(day), key): n for day, n in days.items() for key in "ac"}
