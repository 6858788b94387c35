"""The engine with a state cut by key: the same rows as uncut, and as brute force."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming import key_range
from streaming.combine import KEY, WINDOW_START
from streaming.key_range import KeyLimits
from streaming.partial import aggregate_events
from streaming.progress import CombineResult, CombineTask, take_combined
from streaming.segment import Blob, KeySpan, Segment
from streaming.state import Flush
from streaming.status import RewindTo
from tests.unit.streaming.engine import SINKS, Engine
from tests.unit.streaming.event_log import Event, Log, brute_force, make_spec, patient, to_frame
from tests.unit.streaming.key_engine import SMALL, combine_with, freeze_range, rows_of
from tests.unit.streaming.state_maker import partition, ref, state_of
from tests.unit.streaming.test_early import early_spec, watched
from tests.unit.streaming.test_early_model import EARLY_STEPS, go
from tests.unit.streaming.test_engine_model import (
    STEP_LISTS,
    Steps,
    assert_late_output,
    canonical,
    take,
)
from tests.unit.streaming.test_rewind_model import REWINDS, go_back
from tests.unit.streaming.window_strategy import KINDS
from tests.workflows.memory import MemoryStore

KEYS = [*"abcdefghij", None, "", "m\\n"]


@st.composite
def wide_logs(draw: st.DrawFn) -> Log:
    """Draw a log of many keys."""
    log: Log = {}
    for number in range(draw(st.integers(1, 2))):
        base_ms, events = 0, []
        for _ in range(draw(st.integers(0, 30))):
            base_ms += draw(st.integers(0, 400))
            at_ms = base_ms - draw(st.integers(0, 800))
            key = draw(st.sampled_from(KEYS))
            events.append(Event(at_ms, key, draw(st.integers(-99, 99)), draw(st.integers(0, 5))))
        log[number] = events
    return log


LIMITS = st.sampled_from([SMALL, KeyLimits(rows=8, most=4, lanes=2, slice_rows=3, part_rows=5)])


def cut(log: Log, kind: str, max_records: int, *, extended: bool = False) -> Engine:
    """Make an engine for a log of many keys whose partitions never become idle."""
    suited = KINDS[kind]
    disorder_ms = 800 * suited.stretch
    spec = make_spec(disorder_ms, max_records, window=suited.window, extended=extended)
    return Engine.start(patient(spec), suited.log(log))


def assert_exact(engine: Engine, *, extended: bool = False) -> None:
    expected = brute_force(canonical(engine.log), engine.window, extended=extended)
    for sink in SINKS:
        assert engine.rows(sink) == expected
    assert engine.state.ledger.late == 0
    assert engine.state.ledger.balanced


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(240)
@settings(max_examples=6, deadline=None)
@given(log=wide_logs(), max_records=st.sampled_from([3, 9, 1000]), steps=STEP_LISTS, limits=LIMITS)
def test_state_cut_by_key_gives_the_brute_force_rows_whatever_the_cuts_and_crashes(
    kind: str, log: Log, max_records: int, steps: Steps, limits: KeyLimits
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_range, "LIMITS", limits)
        engine = cut(log, kind, max_records, extended=True)
        take(engine, steps)
        engine.finish()
    assert_exact(engine, extended=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(240)
@settings(max_examples=5, deadline=None)
@given(
    log=wide_logs(),
    features=st.sampled_from([(2_000, None), (1, None), (None, 3_000), (2_000, 5_000)]),
    allowed_ms=st.sampled_from([0, 1_500]),
    max_records=st.sampled_from([3, 9, 1000]),
    steps=EARLY_STEPS,
    limits=LIMITS,
)
def test_state_cut_by_key_that_is_shown_early_ends_with_the_brute_force_rows(
    kind: str,
    log: Log,
    features: tuple[int | None, int | None],
    allowed_ms: int,
    max_records: int,
    steps: Steps,
    limits: KeyLimits,
) -> None:
    suited, (updates_ms, close_ms) = KINDS[kind], features
    spec = early_spec(
        updates_ms=updates_ms, close_ms=close_ms, max_records=max_records,
        allowed_ms=allowed_ms, disorder_ms=800 * suited.stretch, window=suited.window,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_range, "LIMITS", limits)
        engine = watched(spec, suited.log(log), hidden=True)
        go(engine, steps)
        engine.finish()
    assert_exact(engine)
    assert not any(engine.marks.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(240)
@settings(max_examples=6, deadline=None)
@given(
    log=wide_logs(),
    max_records=st.sampled_from([3, 9, 1000]),
    before=STEP_LISTS,
    rewinds=REWINDS,
    limits=LIMITS,
)
def test_state_cut_by_key_is_rewound_to_the_brute_force_rows(
    kind: str,
    log: Log,
    max_records: int,
    before: Steps,
    rewinds: list[tuple[RewindTo, Steps, bool]],
    limits: KeyLimits,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_range, "LIMITS", limits)
        engine = cut(log, kind, max_records)
        take(engine, before)
        for to, steps, ends in rewinds:
            go_back(engine, KINDS[kind].to(to))
            take(engine, steps)
            if ends:
                engine.finish()
        engine.finish()
    assert_exact(engine)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(240)
@settings(max_examples=5, deadline=None)
@given(
    log=wide_logs(),
    allowed_ms=st.sampled_from([0, 300]),
    max_records=st.sampled_from([1, 3, 9]),
    steps=STEP_LISTS,
    limits=LIMITS,
)
def test_state_cut_by_key_loses_no_late_event_and_takes_in_all_others(
    kind: str, log: Log, allowed_ms: int, max_records: int, steps: Steps, limits: KeyLimits
) -> None:
    spec = make_spec(0, max_records, allowed_ms, KINDS[kind].window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_range, "LIMITS", limits)
        engine = Engine.start(spec, KINDS[kind].log(log), hidden=True)
        take(engine, steps)
        engine.finish()
    ledger = engine.state.ledger
    assert ledger.balanced
    assert ledger.late == len(engine.judged)
    assert_late_output(engine)
    assert engine.rows("fast") == engine.rows("slow")
    if kind != "sliding":
        counted = sum(int(str(values[0])) for values in engine.rows().values())
        assert counted == ledger.aggregated == ledger.consumed - ledger.late


def test_many_keys_are_merged_in_ranges_and_flushed_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_range, "LIMITS", SMALL)
    log = {0: [Event(i * 10, f"k{i}", 1, 1) for i in range(90)]}
    engine = Engine.start(make_spec(0, 30), log)
    while not engine.state.flushes:
        engine.plan()
        engine.run_range(0)
        engine.merge()
        engine.begin_combine()
        engine.end_combine()
    (flush,) = engine.state.flushes
    assert engine.state.key_ranges == 8
    assert len(flush.parts) >= SMALL.lanes
    assert flush.rows.row_count == 90
    engine.finish()
    assert engine.rows() == brute_force(log)


@pytest.mark.timeout(240)
@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 39), st.sampled_from([1, 2, 4, 16])), max_size=6),
    count=st.sampled_from([2, 4, 8]),
    step=st.sampled_from([1, 2]),
    fire_ms=st.sampled_from([None, 0, 1_000, 10**6]),
)
def test_merge_by_key_is_the_merge_of_all_whatever_the_segments_are_cut_into(
    cuts: list[tuple[int, int]], count: int, step: int, fire_ms: int | None
) -> None:
    """Finer and coarser segments than the merge, and such as are not cut."""
    events = [Event(i * 37 % 3_000, f"k{i * 7 % 23}", i, i % 5) for i in range(40)]
    engine = Engine.start(make_spec(0, 1_000), {0: events})
    store, segments, start = engine.store, [], 0
    for stop, key_ranges in [*sorted({c[0]: c for c in cuts}.values()), (40, 4)]:
        segments += _segments(engine, events[start:stop], key_ranges)
        start = stop
    spans = [KeySpan(count=count, first=n, stop=n + step) for n in range(0, count, step)]
    task = CombineTask(
        name_seq=1, segments=segments, fire_ms=fire_ms, keep_ms=None, inline=False,
        key_ranges=count,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_range, "LIMITS", SMALL)
        found = combine_with(store, engine.spec, task, spans)
    whole = combine_with(store, engine.spec, task.model_copy(update={"key_ranges": 1}))
    assert _emitted(store, task, found) == _emitted(store, task, whole)
    again = CombineTask(
        name_seq=2, segments=found.pieces, fire_ms=10**9, keep_ms=None, inline=False,
        fired_ms=fire_ms,
    )  # fmt: skip
    if found.pieces:
        assert whole.kept is not None
        last = again.model_copy(update={"segments": [whole.kept]})
        assert _emitted(store, again, combine_with(store, engine.spec, again)) == _emitted(
            store, last, combine_with(store, engine.spec, last)
        )
        assert min(s.first_pane_ms for s in found.pieces) == whole.kept.first_pane_ms
        assert max(s.last_pane_ms for s in found.pieces) == whole.kept.last_pane_ms
        fresh = [s.first_fresh_ms for s in found.pieces if s.first_fresh_ms is not None]
        assert min(fresh, default=None) == whole.kept.first_fresh_ms
    else:
        assert whole.kept is None


def _segments(engine: Engine, events: list[Event], key_ranges: int) -> list[Segment]:
    if not events:
        return []
    frame = aggregate_events(engine.plan_of_stream, to_frame(events), None, 0).frame
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_range, "LIMITS", SMALL)
        return [freeze_range(engine.store, engine.plan_of_stream, frame, key_ranges)]


def _emitted(
    store: MemoryStore, task: CombineTask, result: CombineResult
) -> list[dict[str, object]]:
    """Give the rows that a combine would flush, ordered."""
    state = state_of(partition())
    state.segments = list(task.segments)
    take_combined(state, task, result)
    if not state.flushes:
        return []
    return rows_of(store, state.flushes[0]).sort(WINDOW_START, KEY).to_dicts()


def test_state_in_very_many_key_ranges_stays_small() -> None:
    """It travels through continue-as-new as it is, so its size is bounded by references."""
    lanes, most = key_range.LIMITS.lanes, key_range.LIMITS.most
    name = "streams/a-stream-with-a-rather-long-name/e000001/combine-123456-255-of-256-rows-9"

    def table(number: int) -> Blob:
        one = ref(f"{name}-{number:016x}.slices256").model_copy(update={"codec": "slices256"})
        return Blob(row_count=10**7, size_bytes=10**8, ref=one)

    def piece(number: int, span: KeySpan) -> Segment:
        at_ms = 1_767_225_600_000
        return Segment(
            blob=table(number), first_pane_ms=at_ms, last_pane_ms=at_ms, first_fresh_ms=at_ms,
            keys=span,
        )  # fmt: skip

    state = state_of(*(partition() for _ in range(64)))
    whole = KeySpan(count=most, first=0, stop=most)
    fresh = [piece(n, whole) for n in range(key_range.LIMITS.waiting + 1)]
    kept = [piece(n, KeySpan(count=most, first=n, stop=n + 1)) for n in range(lanes)]
    state.segments = kept + fresh
    for number in range(8):
        parts = [table(n) for n in range(lanes * 2)]
        state.flushes.append(
            Flush(
                flush_seq=number, rows=Blob(row_count=1, size_bytes=1), chunk_rows=1,
                sha256="0" * 64, parts=parts,
            )
        )  # fmt: skip
    assert len(state.encode()) < 256 * 1024
