"""Rewinds of raw streams against plain Python, at any moment, with crashes and any order."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.errors import OffsetLostError, UsageError
from pipelines.stream import Deduplicate, StreamSpec
from streaming import offset_index
from streaming.loss import LogSurvey, accept_loss
from streaming.offset_map import PartitionSpan
from streaming.plan import compile_stream
from streaming.raw_retirement import retire_passed
from streaming.rewind import plan_rewind
from streaming.state import OffsetRetirement, decode_state
from streaming.status import RewindTo
from tests.unit.streaming.event_log import Event, Log
from tests.unit.streaming.test_raw_flush import LOGS, SINKS, STEPS, RawEngine, engine_of
from tests.unit.streaming.test_raw_row import raw_spec

STEP_LISTS = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=40)
TIMES = st.builds(RewindTo, time_ms=st.integers(-1, 11))
OFFSETS = st.builds(
    RewindTo, offsets=st.dictionaries(st.integers(0, 2), st.integers(0, 20), min_size=1)
)
REWINDS = st.lists(st.tuples(TIMES | OFFSETS, STEP_LISTS, st.booleans()), min_size=1, max_size=3)


def spec_of(max_records: int, **changes: object) -> StreamSpec:
    spec = raw_spec(derive={}, **changes)
    trigger = spec.trigger.model_copy(update={"max_records": max_records})
    return spec.model_copy(update={"trigger": trigger})


def take(engine: RawEngine, steps: list[tuple[str, int]]) -> None:
    for step, number in steps:
        getattr(engine, step)(number)


def go_back(engine: RawEngine, to: RewindTo) -> dict[int, int] | None:
    """Rewind if it can be; gives from where on events are written again."""
    try:
        return engine.rewind(to).rows_from
    except UsageError:
        return None


def flipped(log: Log, number: int) -> Log:
    """Let some events no longer pass, and others pass that did not."""
    return {
        n: [replace(e, cents=1 - e.cents) if e.customer == number else e for e in events]
        for n, events in log.items()
    }


def passing(log: Log) -> dict[str, tuple[object, ...]]:
    return {
        f"events|{n}|{offset}": (event.event_ms, event.cents, event.customer)
        for n, events in log.items()
        for offset, event in enumerate(events)
        if event.cents > 0
    }


def found(engine: RawEngine, sink: str) -> dict[str, tuple[object, ...]]:
    return {
        key: (round(row[0].timestamp() * 1000), int(row[2] * 100), row[3])  # type: ignore[attr-defined, operator] # rows of frames are untyped
        for key, row in engine.rows(sink).items()
    }


@settings(max_examples=80, deadline=None)
@given(
    log=LOGS,
    max_records=st.sampled_from([1, 3, 1000]),
    before=STEP_LISTS,
    ended=st.booleans(),
    rewinds=REWINDS,
)
def test_from_the_offsets_on_the_view_is_that_of_the_log_as_it_is_now(
    log: Log,
    max_records: int,
    before: list[tuple[str, int]],
    ended: bool,
    rewinds: list[tuple[RewindTo, list[tuple[str, int]], bool]],
) -> None:
    engine = engine_of(spec_of(max_records), log)
    read = engine.log
    take(engine, before)
    if ended:
        engine.finish()
    for number, (to, steps, ends) in enumerate(rewinds):
        since = go_back(engine, to)
        if since is not None:
            engine.log = flipped(engine.log, number)
            read = {n: read[n][: since[n]] + engine.log[n][since[n] :] for n in read}
        take(engine, steps)
        if ends:
            engine.finish()
    engine.finish()
    for sink in SINKS:
        assert found(engine, sink) == passing(read)
    assert engine.state.ledger.balanced
    assert not any(p.stale for p in engine.state.partitions.values())


def last_by_id(log: Log, starts: dict[int, int], stops: dict[int, int]) -> dict[str, int]:
    """Give the offset of the last event that passes of each identity, of those that were read."""
    return {
        f"{n}|{log[n][offset].customer}": offset
        for n in log
        for offset in range(starts[n], stops[n])
        if log[n][offset].cents > 0
    }


# A rewind that takes nothing back, and then one to the beginning before anything was read again:
# the rows of the first partition were forgotten, and stayed.
@example(
    log={1: [Event(0, "a", 1, 1)], 0: [Event(0, "a", 0, 0)]},
    before=[],
    rewinds=[
        (RewindTo(time_ms=0), [], True),
        (RewindTo(offsets={1: 0}), [], False),
        (RewindTo(time_ms=0), [], False),
    ],
    ended=False,
)
@settings(max_examples=60, deadline=None)
@given(log=LOGS, before=STEP_LISTS, rewinds=REWINDS, ended=st.booleans())
def test_by_event_id_rows_go_only_if_all_is_read_again(
    log: Log,
    before: list[tuple[str, int]],
    rewinds: list[tuple[RewindTo, list[tuple[str, int]], bool]],
    ended: bool,
) -> None:
    log = {n: [replace(e, category=str(n)) for e in events] for n, events in log.items()}
    spec = spec_of(2, identity=["category", "customer"])
    spec = spec.model_copy(update={"fields": {**spec.fields, "category": "string"}})
    engine = engine_of(spec, log)
    expected: dict[str, int] = {}
    begun = dict.fromkeys(engine.log, 0)
    take(engine, before)
    if ended:
        engine.finish()
    for number, (to, steps, ends) in enumerate(rewinds):
        stops = {n: p.cursor for n, p in engine.state.partitions.items()}
        since = go_back(engine, to)
        if since is not None:
            expected |= last_by_id(engine.log, begun, stops)
            engine.log, begun = flipped(engine.log, number), since
            if not any(since.values()):
                expected.clear()
        take(engine, steps)
        if ends:
            engine.finish()
    engine.finish()
    expected |= last_by_id(engine.log, begun, {n: len(e) for n, e in engine.log.items()})
    for sink in SINKS:
        assert {key: row[-3] for key, row in engine.rows(sink).items()} == expected


def once(log: Log, within_ms: int) -> dict[str, tuple[object, ...]]:
    """Give the events that pass and are no duplicates, by the definition."""
    left: dict[str, tuple[object, ...]] = {}
    for n, partition in log.items():
        passed: list[Event] = []
        for offset, event in enumerate(partition):
            if event.cents <= 0:
                continue
            reach_ms = max((e.event_ms for e in passed), default=0) - within_ms
            if not any(e.customer == event.customer and e.event_ms >= reach_ms for e in passed):
                left[f"events|{n}|{offset}"] = (event.event_ms, event.cents, event.customer)
            passed.append(event)
    return left


@settings(max_examples=80, deadline=None)
@given(
    log=LOGS,
    max_records=st.sampled_from([1, 3]),
    within_ms=st.sampled_from([1, 3, 8]),
    before=STEP_LISTS,
    ended=st.booleans(),
    rewinds=REWINDS,
)
def test_with_deduplication_a_rewind_writes_the_events_that_were_written_before(
    log: Log,
    max_records: int,
    within_ms: int,
    before: list[tuple[str, int]],
    ended: bool,
    rewinds: list[tuple[RewindTo, list[tuple[str, int]], bool]],
) -> None:
    # Times that rise along the log, so that much of it is out of reach.
    log = {
        n: [replace(e, event_ms=e.event_ms // 3 + at) for at, e in enumerate(events)]
        for n, events in log.items()
    }
    options = Deduplicate(by=["customer"], within_ms=within_ms)
    engine = engine_of(spec_of(max_records, deduplicate=options), log)
    take(engine, before)
    if ended:
        engine.finish()
    for to, steps, ends in rewinds:
        go_back(engine, to)
        take(engine, steps)
        if ends:
            engine.finish()
    engine.finish()
    for sink in SINKS:
        assert found(engine, sink) == once(log, within_ms)
    ledger = engine.state.ledger
    assert ledger.balanced
    assert not any(p.stale for p in engine.state.partitions.values())


def test_with_deduplication_offsets_are_exact_and_what_has_to_be_known_is_read_before() -> None:
    options = Deduplicate(by=["customer"], within_ms=5)
    log = {0: [Event(at, "a", 1, at % 4) for at in range(40)]}
    engine = engine_of(spec_of(4, deduplicate=options), log)
    engine.finish()
    assert len(engine.rows()) == 4
    rewind = engine.rewind(RewindTo(offsets={0: 22}))
    assert (rewind.rows_from[0], rewind.offsets[0]) == (22, 12)
    engine.finish()
    ledger = engine.state.ledger
    assert (ledger.consumed, ledger.delivered, ledger.below_floor) == (28, 0, 4)
    assert sorted(row[-3] for row in engine.rows().values()) == [0, 1, 2, 3]  # type: ignore[type-var] # offsets


def test_a_partition_that_still_reads_what_it_has_to_know_goes_on_with_it() -> None:
    """Its memory was taken for whole when the next rewind left it where it stood."""
    options = Deduplicate(by=["customer"], within_ms=9)
    log = {0: [Event(at, "a", 1, at % 8) for at in range(40)], 1: [Event(0, "a", 1, 0)]}
    engine = engine_of(spec_of(4, deduplicate=options), log)
    engine.finish()
    assert engine.rewind(RewindTo(offsets={0: 22})).offsets[0] == 8
    engine.plan()
    for _ in range(3):
        engine.range(0)
    engine.merge()
    rewind = engine.rewind(RewindTo(offsets={1: 0}))
    assert (rewind.offsets[0], rewind.rows_from[0]) == (12, 22)
    engine.finish()
    assert len(engine.rows()) == 9


def events(count: int, *, cents: int = 1) -> list[Event]:
    return [Event(at, "a", cents, at) for at in range(count)]


def test_a_time_begins_where_all_before_is_older_and_offsets_where_they_say() -> None:
    engine = engine_of(spec_of(4), {0: events(20), 1: events(20)})
    engine.finish()
    by_time = plan_rewind(
        engine.state, engine.spec, compile_stream(engine.spec).windowing, RewindTo(time_ms=10), {}
    )
    assert by_time.rows_from == by_time.offsets == {0: 8, 1: 8, 2: 0}
    rewind = engine.rewind(RewindTo(offsets={1: 7}))
    assert (rewind.floor_ms, rewind.offsets) == (None, {0: 20, 1: 7, 2: 0})
    engine.finish()
    assert engine.state.ledger.delivered == 13


def test_a_time_after_odd_offsets_is_found_by_what_is_known_of_the_log() -> None:
    """An offset between two entries was noted with the maximum of the one before it."""
    engine = engine_of(spec_of(10), {0: events(20)})
    engine.finish()
    engine.rewind(RewindTo(offsets={0: 17}))
    engine.finish()
    assert engine.rewind(RewindTo(time_ms=15)).rows_from[0] == 10


def test_rows_that_are_gone_are_taken_back_in_steps_while_the_log_is_passed() -> None:
    engine = engine_of(spec_of(1), {0: events(200)})
    engine.finish()
    engine.rewind(RewindTo(offsets={0: 0}))
    engine.log = {**engine.log, 0: events(200, cents=-1)}
    steps: dict[int, list[PartitionSpan]] = {}
    while engine.state.ledger.consumed < 200:
        engine.plan()
        engine.range(0)
        engine.merge()
        for flush in engine.state.flushes:
            if isinstance(flush.retire, OffsetRetirement):
                steps[flush.flush_seq] = flush.retire.spans
        for number in range(len(SINKS)):
            engine.write(number)
    assert 15 <= len(steps) <= 17
    assert list(steps.values())[:2] == [[(0, 0, 12)], [(0, 12, 24)]]
    assert engine.rows() == {}


def test_with_a_sink_that_is_down_one_step_waits_and_takes_all_that_is_passed_since() -> None:
    """Up to 16 steps of all partitions waited, which no payload had room for."""
    engine = engine_of(spec_of(1), {0: events(100)})
    engine.finish()
    engine.rewind(RewindTo(offsets={0: 0}))
    engine.log = {**engine.log, 0: events(100, cents=-1)}
    while engine.state.ledger.consumed < 100:
        engine.plan()
        engine.range(0)
        engine.merge()
        assert len(engine.state.flushes) <= 1
    assert retire_passed(decode_state(engine.state.encode()), lambda: False)
    engine.finish()
    assert engine.rows() == engine.rows("slow") == {}


def test_of_very_many_partitions_a_second_rewind_reads_what_only_the_first_epoch_has_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offset_index, "MOST_OF_ALL", 1)
    log = [Event(50 if at == 10 else at, "a", 1, at) for at in range(20)]
    engine = engine_of(spec_of(2), {0: log})
    engine.finish()
    engine.rewind(RewindTo(offsets={0: 15}))
    engine.finish()
    assert engine.rewind(RewindTo(time_ms=30)).rows_from[0] == 0


def test_a_drained_stream_has_taken_back_all_that_it_passed() -> None:
    engine = engine_of(spec_of(5), {0: events(20)})
    engine.finish()
    engine.rewind(RewindTo(offsets={0: 0}))
    engine.log = {**engine.log, 0: events(20, cents=-1)}
    engine.plan()
    engine.range(0)
    engine.merge()
    engine.state.mode = "draining"
    engine.crash()
    engine.stop()
    while engine.state.flushes or not engine.state.partitions[0].stale:
        engine.merge()
        engine.write(0)
        engine.write(1)
    assert [row[-3] for row in engine.rows().values()] == list(range(5, 20))
    engine.state.mode = "running"
    engine.finish()
    assert engine.rows() == {}


def test_rows_of_offsets_that_are_given_up_stay() -> None:
    engine = engine_of(spec_of(5), {0: events(20)})
    engine.finish()
    engine.rewind(RewindTo(offsets={0: 2}))
    survey = LogSurvey(topic_id="t", start={0: 10, 1: 0, 2: 0}, end={0: 20, 1: 0, 2: 0})
    accept_loss(engine.state, engine.spec, engine.results, survey, 0)
    engine.log = {**engine.log, 0: events(20, cents=-1)}
    engine.finish()
    assert [row[-3] for row in engine.rows().values()] == list(range(10))


def test_rows_of_a_topic_that_is_gone_stay() -> None:
    engine = engine_of(spec_of(5), {0: events(20)})
    engine.finish()
    survey = LogSurvey(topic_id="new", start={0: 0}, end={0: 10})
    accept_loss(engine.state, engine.spec, engine.results, survey, 0)
    engine.log = {0: events(10, cents=-1)}
    engine.finish()
    engine.rewind(RewindTo(offsets={0: 0}))
    engine.finish()
    assert len(engine.rows()) == 20


def test_rows_that_a_rewind_froze_are_taken_back_in_its_epoch_only() -> None:
    """By an identity, a rewind to a higher offset also took back what its predecessor had written.

    Offsets that were passed while a sink was down were frozen, and expected again.
    """
    engine = engine_of(spec_of(1, identity=["customer"]), {0: events(40)})
    engine.finish()
    engine.rewind(RewindTo(time_ms=0))
    while engine.state.partitions[0].cursor < 8:
        engine.plan()
        engine.range(0)
        engine.merge()
    engine.rewind(RewindTo(offsets={0: 6}))
    assert engine.state.partitions[0].stale == [(8, 40)]
    engine.finish()
    assert len(engine.rows()) == len(engine.rows("slow")) == 40


def test_what_cannot_be_gone_back_to_is_refused() -> None:
    engine = engine_of(spec_of(5), {0: events(20)})
    engine.finish()
    windows = compile_stream(engine.spec).windowing
    for offsets, refusal in (({7: 0}, "expected partitions"), ({0: 21}, "up to 20")):
        with pytest.raises(UsageError, match=refusal):
            plan_rewind(engine.state, engine.spec, windows, RewindTo(offsets=offsets), {})
    with pytest.raises(OffsetLostError, match="0 from 3 on in topic `events`, got 0 from 4"):
        plan_rewind(engine.state, engine.spec, windows, RewindTo(offsets={0: 3}), {0: 4})
