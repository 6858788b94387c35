"""A stream whose state is cut by key, with bounds small enough for a test."""

from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from common.errors import ServiceUnavailableError
from streaming import chunk_span, key_range, progress
from streaming.key_range import KeyLimits
from streaming.status import StreamUntil
from tests.workflows.rig import StreamRig, event

LATEST = StreamUntil(kind="latest")
SMALL = KeyLimits(rows=20, most=8, lanes=4, slice_rows=2, part_bytes=4_000, part_rows=5)
KEYS = 60


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_range, "LIMITS", SMALL)
    monkeypatch.setattr(progress, "FLUSH_CHUNK_ROWS", 7)
    monkeypatch.setattr(chunk_span, "MOST_CHUNKS", 3)


def fill(rig: StreamRig, windows: int) -> dict[tuple[int, str], int]:
    """Give every key two events in every window, over two partitions; gives the expected view."""
    for window in range(windows):
        for key in range(KEYS):
            for number in (0, 1):
                rig.log.append(number, event(window * 1_000 + key * 10, f"k{key:02}"))
    return {(w * 1_000, f"k{k:02}"): 2 for w in range(windows) for k in range(KEYS)}


async def activities(handle: WorkflowHandle[Any, Any]) -> list[str]:
    return [
        one.activity_task_scheduled_event_attributes.activity_type.name
        async for one in handle.fetch_history_events()
        if one.HasField("activity_task_scheduled_event_attributes")
    ]


async def test_many_keys_are_merged_side_by_side_and_flushed_as_one(rig: StreamRig) -> None:
    expected = fill(rig, windows=4)
    handle = await rig.start(rig.spec(max_records=50), until=LATEST)
    result = await rig.ended(handle)
    assert rig.view("clickhouse") == rig.view("timescaledb") == expected
    assert result.ledger.balanced
    ran = await activities(handle)
    assert ran.count("stream.combine_keys") >= 4
    for sink in rig.sinks.values():
        versions = {row["_version"] for row in sink.rows.values()}
        assert len(versions) <= result.flush_seq
        for chunk in sink.writes:
            assert 0 <= chunk.chunk < chunk.chunk_count
    left = [key for key in rig.store.objects if "/saved/" not in key and "/epochs/" not in key]
    assert all("/e000001/" in key for key in left)


async def test_cut_state_passes_through_continue_as_new_and_a_stop(clock_rig: StreamRig) -> None:
    rig = clock_rig
    expected = fill(rig, windows=5)
    spec = rig.spec(max_records=40)
    handle = await rig.start(spec, history_events=60)
    await rig.until_next_run(handle)
    await handle.signal("stop")
    assert (await rig.ended(handle)).state == "stopped"
    result = await rig.ended(await rig.start(spec, until=LATEST, history_events=60))
    assert result.ledger.consumed == 5 * KEYS * 2
    assert result.ledger.balanced
    assert rig.view("clickhouse") == rig.view("timescaledb") == expected


async def test_write_that_fails_between_the_parts_of_a_flush_is_repeated(rig: StreamRig) -> None:
    expected = fill(rig, windows=2)
    down = ServiceUnavailableError("ClickHouse", "127.0.0.1:1", "reset")
    sink = rig.sinks["clickhouse"]
    sink.spared, sink.failures = 4, [down]
    await rig.ended(await rig.start(rig.spec(max_records=60), until=LATEST))
    assert sink.failures == []
    names = [(chunk.flush_seq, chunk.chunk) for chunk in sink.writes]
    assert len(names) > len(set(names)) > 4, "chunks before the failure are written again"
    assert rig.view("clickhouse") == rig.view("timescaledb") == expected
