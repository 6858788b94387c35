import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import StateVersionError
from streaming.frame import from_bytes
from streaming.packing import pack_columns, unpack_columns
from streaming.seen import Seen, SeenTable
from streaming.segment import Blob, Segment
from streaming.side_output import SideOutput
from streaming.state import STATE_VERSION, PartitionState, StreamState, decode_state
from tests.unit.streaming.state_maker import (
    batches,
    blob,
    flush,
    partition,
    plan_all,
    ref,
    segment,
    sequences,
    state_of,
)

KEY_RANGES = {"key_ranges"}
STATES = Path(__file__).parent / "states"


@given(
    content=st.binary(max_size=200),
    watermark_ms=st.none() | st.integers(-(2**62), 2**62),
    numbers=st.lists(st.integers(0, 2**53), min_size=4, max_size=4),
    idle=st.booleans(),
)
def test_state_is_the_same_after_writing_and_reading(
    content: bytes, watermark_ms: int | None, numbers: list[int], idle: bool
) -> None:
    one = PartitionState(
        cursor=numbers[0], planned=numbers[1], end=numbers[2], until=numbers[3],
        max_event_ms=watermark_ms, idle=idle,
    )  # fmt: skip
    state = state_of(one, partition(end=9))
    state.watermark_ms = watermark_ms
    plan_all(state, lambda _: [(0, 5)])
    table = Blob(row_count=1, size_bytes=len(content), inline=content)
    state.segments = [
        Segment(blob=table, first_pane_ms=-1, last_pane_ms=1), segment(0, None),
    ]  # fmt: skip
    state.flushes = [flush(1), flush(2, "rows")]
    state.dead, state.late = batches(None, "dead"), batches("late", None)
    state.late.upto = 1
    state.garbage = [ref("old")]
    assert decode_state(state.encode()) == state
    assert decode_state(state.encode().encode()) == state


def test_state_of_a_newer_version_is_refused_with_what_to_do() -> None:
    state = state_of(partition())
    state.version = STATE_VERSION + 1
    with pytest.raises(StateVersionError, match=r"got 2; run a worker at least as new"):
        decode_state(state.encode())


def test_state_of_a_newer_version_is_refused_though_its_fields_are_unknown() -> None:
    with pytest.raises(StateVersionError):
        decode_state('{"version": 99, "shape": "another"}')


def test_unknown_fields_of_a_state_are_passed_over() -> None:
    text = state_of(partition()).encode()
    assert decode_state(text.replace("{", '{"later": 1, ', 1)) == state_of(partition())


def test_state_written_by_version_1_is_still_read() -> None:
    state = decode_state((STATES / "v1.json").read_text())
    assert (state.version, state.epoch, state.mode) == (1, 3, "paused")
    assert (state.watermark_ms, state.flush_seq) == (1_767_225_655_000, 4)
    assert {n: (p.cursor, p.planned, p.end, p.idle) for n, p in state.partitions.items()} == {
        0: (120, 170, 200, False), 1: (95, 95, 95, True),
    }  # fmt: skip
    [task] = state.planned
    assert str(task.span) == "events-0[120,170)"
    assert (task.epoch, task.watermark_ms) == (3, 1_767_225_650_000)
    inline, far = state.segments
    assert from_bytes(inline.blob.inline or b"").height == inline.blob.row_count == 2
    assert far.blob.ref is not None
    assert far.blob.ref.key == "streams/model/e000003/combine-7-kept-00000000deadbeef.arrow"
    assert [f.flush_seq for f in state.flushes] == [4]
    assert {c.name: c.done for c in state.sinks} == {"clickhouse:t": 3, "postgres:t": 4}
    assert (state.dead.sequence, state.dead.upto, sequences(state.dead.waiting)) == (2, 2, [2])
    assert state.late == SideOutput()
    assert state.ledger.balanced
    assert state.ledger.consumed == 215


def test_every_field_of_a_version_1_state_is_in_the_recorded_one() -> None:
    recorded = StreamState.model_validate_json((STATES / "v1.json").read_text())
    added = {
        "late", "fired_ms", "emitted_ms", "floor_ms", "base_epoch", "retiring", "tuning",
        "accepting_loss", "complete_ms", "unshown_since_ms", "closing", "closed", "early_ms",
        "alerts", "alert_seq", "base_version", "stale_step", "combining_bytes",
    }  # fmt: skip
    assert recorded.model_fields_set == set(StreamState.model_fields) - added - KEY_RANGES


def test_dead_letters_are_written_in_the_form_of_version_1() -> None:
    recorded = json.loads((STATES / "v1.json").read_text())
    written = json.loads(decode_state(json.dumps(recorded)).encode())
    dead = ("dead", "dead_sequence", "dead_upto")
    for batch in written["dead"]:
        assert batch.pop("epoch") == 0
    assert [written[name] for name in dead] == [recorded[name] for name in dead]
    assert recorded["dead"]


def test_partitions_that_were_packed_alone_are_still_read() -> None:
    state = decode_state((STATES / "v1-partitions-packed.json").read_text())
    assert [(n, p.cursor, p.end, p.max_event_ms) for n, p in state.partitions.items()] == [
        (n, n * 10, n * 10 + 5, 1_767_225_600_000 + n if n % 7 else None) for n in range(257)
    ]
    assert [p.index for p in state.partitions.values()] == [[(n * 5, None)] for n in range(257)]
    [remembered] = [n for n, p in state.partitions.items() if p.seen is not None]
    assert remembered == 3


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_state_of_many_partitions_is_the_same_after_writing_and_reading(seed: int) -> None:
    state = state_of(partition())
    chance = random.Random(seed)
    numbers = chance.sample(range(10_000), 700)
    state.partitions = {
        number: PartitionState(
            cursor=chance.randrange(2**40), planned=2**40, end=2**41,
            max_event_ms=chance.choice([None, chance.randrange(2**41)]),
            index=[(n, chance.choice([None, 9])) for n in range(chance.randrange(4))],
            stale=[(n, n + 9) for n in range(0, chance.choice([0, 0, 40]), 20)],
            passed=[(n, chance.choice([None, 9])) for n in range(chance.randrange(4))],
            rows_from=chance.choice([0, 2**40]),
            idle=chance.random() < 0.5, until=chance.choice([None, 2**41]),
        )
        for number in numbers
    }  # fmt: skip
    one, other = chance.sample(sorted(numbers), 2)
    state.partitions[one].seen = Seen(tables=[SeenTable(blob=blob("seen"), newest_ms=1)])
    plan_all(state, lambda number: [(0, 5)] if number in (one, other) else [])
    for task in state.planned:
        task.seen = state.partitions[one].seen
    state.segments, state.garbage = [segment(0, None, blob("state"))], [ref("old")]
    state.flushes = [flush(1), flush(2, "rows")]
    text = state.encode()
    assert "cursor" not in text
    assert decode_state(text) == state
    assert [key for key in ("seen", "state", "old", "rows") if f'"{key}"' not in text] == []


@given(rows=st.lists(st.tuples(*[st.none() | st.integers(1 - 2**63, 2**63 - 1)] * 3), max_size=40))
def test_columns_are_the_same_after_packing(rows: list[tuple[int | None, ...]]) -> None:
    columns = [[row[place] for row in rows] for place in range(3)]
    text = pack_columns(columns)
    assert unpack_columns(text, 3) == columns
    assert not {'"', "\\", "/"} & set(text)


def test_packed_state_of_a_newer_version_is_refused() -> None:
    with pytest.raises(StateVersionError, match="expected version 2 or older, got 3"):
        decode_state('{"version": 3, "refs": [], "packed": ""}')
