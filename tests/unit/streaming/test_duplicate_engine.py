"""The engine with de-duplication against the definition, with crashes, odd cuts and any order."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities import seen_store
from common.errors import UsageError
from pipelines.stream import Deduplicate, StreamSpec
from streaming.ledger import Ledger
from streaming.status import RewindTo
from tests.unit.streaming.engine import SINKS, Engine
from tests.unit.streaming.event_log import Event, Log, brute_force, make_spec
from tests.unit.streaming.test_engine_model import STEP_LISTS, Steps, canonical, logs, take


def once(log: Log, within_ms: int) -> Log:
    """Leave duplicates out, by the definition."""
    left: Log = {}
    for number, events in log.items():
        left[number] = []
        for place, event in enumerate(events):
            before = events[:place]
            reach_ms = max((e.event_ms for e in before), default=0) - within_ms
            if not any(is_copy(event, e) and e.event_ms >= reach_ms for e in before):
                left[number].append(event)
    return left


def is_copy(one: Event, other: Event) -> bool:
    return (one.category, one.customer) == (other.category, other.customer)


def deduplicated(spec: StreamSpec, within_ms: int) -> StreamSpec:
    options = Deduplicate(by=["category", "customer"], within_ms=within_ms)
    return spec.model_copy(update={"deduplicate": options})


@settings(max_examples=60, deadline=None)
@given(
    log=logs(disorder_ms=800),
    max_records=st.sampled_from([1, 3, 7, 1000]),
    within_ms=st.sampled_from([1, 700, 4_000]),
    steps=STEP_LISTS,
    hidden=st.booleans(),
    inline_bytes=st.sampled_from([0, 2_048]),
)
def test_engine_gives_the_rows_without_duplicates_whatever_the_cuts_order_and_crashes(
    log: Log, max_records: int, within_ms: int, steps: Steps, hidden: bool, inline_bytes: int
) -> None:
    spec = deduplicated(make_spec(800, max_records), within_ms)
    patient = spec.event_time.model_copy(update={"idle_timeout_ms": None})
    spec = spec.model_copy(update={"event_time": patient})
    engine = Engine.start(spec, log, hidden=hidden)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen_store, "INLINE_BYTES", inline_bytes)
        take(engine, steps)
        engine.finish()
    expected = once(log, within_ms)
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(expected))
    ledger = engine.state.ledger
    assert ledger.balanced
    assert ledger.late == 0
    assert ledger.consumed == sum(len(events) for events in log.values())
    assert ledger.aggregated == sum(len(events) for events in expected.values())
    kept = {ref.key for p in engine.state.partitions.values() if p.seen for ref in p.seen.refs}
    assert not kept & {ref.key for ref in engine.state.garbage}
    written = {key for key in engine.store.objects if "-seen-" in key}
    assert kept <= written
    if not any(step == "crash" for step, _ in steps):
        assert written == kept | {ref.key for ref in engine.state.garbage}


def test_one_range_of_a_partition_is_in_flight_at_a_time() -> None:
    log = {n: [Event(at, "a", 1, at) for at in range(50)] for n in range(2)}
    engine = Engine.start(deduplicated(make_spec(0, 5), 100), log)
    engine.plan()
    assert [str(task.span) for task in engine.flying] == ["events-0[0,5)", "events-1[0,5)"]
    engine.plan()
    assert len(engine.flying) == 2
    engine.run_range(1)
    engine.merge()
    engine.plan()
    assert [str(task.span) for task in engine.flying] == ["events-0[0,5)", "events-1[5,10)"]
    pinned = engine.flying[1].seen
    assert pinned is not None
    assert pinned.max_event_ms == 4


def test_a_copy_of_a_late_event_is_a_duplicate_and_the_event_late_once() -> None:
    late = Event(100, "a", 1, 3)
    log = {0: [Event(5_000, "a", 1, 1), Event(9_000, "a", 1, 2), late, late]}
    engine = Engine.start(deduplicated(make_spec(0, 2), 60_000), log)
    engine.finish()
    assert engine.state.ledger == Ledger(consumed=4, aggregated=2, duplicate=1, late=1)


REWINDS = st.lists(
    st.tuples(
        st.builds(RewindTo, time_ms=st.integers(-8_000, 25_000))
        | st.builds(
            RewindTo,
            offsets=st.dictionaries(st.integers(0, 2), st.integers(0, 30), min_size=1),
        ),
        STEP_LISTS,
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=80, deadline=None)
@given(
    log=logs(disorder_ms=800),
    max_records=st.sampled_from([1, 3, 7]),
    within_ms=st.sampled_from([1, 700, 4_000]),
    before=STEP_LISTS,
    ended=st.booleans(),
    rewinds=REWINDS,
    inline_bytes=st.sampled_from([0, 2_048]),
)
def test_rewound_at_any_moment_it_drops_the_events_that_it_would_have_dropped(
    log: Log,
    max_records: int,
    within_ms: int,
    before: Steps,
    ended: bool,
    rewinds: list[tuple[RewindTo, Steps, bool]],
    inline_bytes: int,
) -> None:
    spec = deduplicated(make_spec(800, max_records), within_ms)
    patient = spec.event_time.model_copy(update={"idle_timeout_ms": None})
    engine = Engine.start(spec.model_copy(update={"event_time": patient}), log, hidden=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen_store, "INLINE_BYTES", inline_bytes)
        take(engine, before)
        if ended:
            engine.finish()
        for to, steps, ends in rewinds:
            with contextlib.suppress(UsageError):
                engine.rewind(to)
            kept = {r.key for p in engine.state.partitions.values() if p.seen for r in p.seen.refs}
            assert not kept & {ref.key for ref in engine.state.garbage}
            take(engine, steps)
            if ends:
                engine.finish()
        engine.finish()
    expected = once(log, within_ms)
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(expected))
    assert engine.state.ledger.balanced
    assert engine.state.ledger.late == 0


def test_a_rewind_reads_as_much_more_as_can_still_be_a_copy() -> None:
    log = {0: [Event(at * 1_000 + 10, "a", 1, at % 7) for at in range(60)]}
    engine = Engine.start(deduplicated(make_spec(0, 4), 6_500), log)
    engine.finish()
    rewind = engine.rewind(RewindTo(time_ms=40_000))
    assert (rewind.floor_ms, rewind.rows_from, rewind.offsets) == (40_000, {0: 40}, {0: 32})
    engine.finish()
    assert engine.rows() == brute_force(once(log, 6_500))
    assert engine.state.ledger.consumed == 28


def test_a_state_that_does_not_know_what_passed_reads_from_the_beginning() -> None:
    log = {0: [Event(at * 1_000, "a", 1, at % 7) for at in range(60)]}
    engine = Engine.start(deduplicated(make_spec(0, 4), 6_500), log)
    engine.finish()
    engine.state.partitions[0].passed = []
    assert engine.rewind(RewindTo(time_ms=40_000)).offsets == {0: 0}
    engine.finish()
    assert engine.rows() == brute_force(once(log, 6_500))
