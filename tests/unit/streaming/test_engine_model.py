"""The engine against brute force, with crashes, odd cuts and any order of completion."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.transform import Step
from streaming.ledger import Ledger
from streaming.tuning import Tuning, TuningChange, changed, refusal
from tests.unit.streaming.engine import SINKS, Engine
from tests.unit.streaming.event_log import Event, Log, brute_force, make_spec

STEPS = (
    "plan", "range", "merge", "begin_combine", "end_combine", "write", "write_lost", "crash",
    "show", "deliver", "deliver_lost", "configure",
)  # fmt: skip
Steps = list[tuple[str, int]]


@st.composite
def logs(draw: st.DrawFn, disorder_ms: int) -> Log:
    """Draw a log whose partitions are each disordered by at most `disorder_ms`."""
    log: Log = {}
    for partition in range(draw(st.integers(1, 3))):
        base_ms = draw(st.integers(-5_000, 5_000))
        events = []
        for _ in range(draw(st.integers(0, 30))):
            base_ms += draw(st.integers(0, 700))
            events.append(
                Event(
                    base_ms - draw(st.integers(0, disorder_ms)),
                    draw(st.sampled_from(["a", "b", None, r"\N"])),
                    draw(st.integers(-(10**9), 10**9)),
                    draw(st.integers(0, 5)),
                )
            )
        log[partition] = events
    return log


def canonical(log: Log) -> Log:
    """Escape keys as the engine does, so that the text `\\N` and null stay two keys."""
    return {
        n: [replace(e, category=e.category and e.category.replace("\\", "\\\\")) for e in events]
        for n, events in log.items()
    }


def configure(engine: Engine, number: int) -> None:
    """Change operational options in the middle, or go back to the file's."""
    tuning = Tuning(
        max_records=(1, 2, 5, 40)[number % 4],
        parallelism=(1, 3, 64)[number % 3],
        max_pending_flushes=(1, 16)[number % 2],
    )
    change = TuningChange(change=Tuning() if number == 9 else tuning, reset=number > 5)
    assert refusal(change) is None
    engine.state.tuning = changed(engine.state.tuning, change)


def take(engine: Engine, steps: Steps) -> None:
    """Do some steps of a run in whatever order they come."""
    for step, number in steps:
        if step == "range":
            engine.run_range(number)
        elif step == "show":
            engine.show(number)
        elif step == "configure":
            configure(engine, number)
        elif step.startswith("deliver"):
            engine.deliver(lost=step == "deliver_lost")
        elif step.startswith("write"):
            engine.write(number, lost=step == "write_lost")
        else:
            getattr(engine, step)()


STEP_LISTS = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=80)


@settings(max_examples=150, deadline=None)
@given(
    log=logs(disorder_ms=800),
    max_records=st.sampled_from([1, 3, 7, 1000]),
    steps=STEP_LISTS,
    hidden=st.booleans(),
)
def test_engine_gives_the_brute_force_rows_whatever_the_cuts_order_and_crashes(
    log: Log, max_records: int, steps: Steps, hidden: bool
) -> None:
    spec = make_spec(800, max_records, extended=True)
    patient = spec.event_time.model_copy(update={"idle_timeout_ms": None})
    spec = spec.model_copy(update={"event_time": patient})
    engine = Engine.start(spec, log, hidden=hidden)
    take(engine, steps)
    engine.finish()
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(log), extended=True)
    assert engine.state.ledger.balanced
    assert engine.state.ledger.late == 0
    assert engine.state.ledger.consumed == sum(len(events) for events in log.values())


EXPANDED = {
    "where": "customer <> 5",
    "transform": [
        Step(derive={"names": "string_split(category || ',x,b', ',')"}),
        Step(expand={"name": "unnest(names)"}),
        Step(where="not (name = 'b' and customer < 2)"),
    ],
    "group_by": ["name"],
}


def expanded(events: list[Event]) -> list[Event]:
    """Expand by the steps of `EXPANDED`, in plain Python; the key is then the name."""
    return [
        replace(event, category=name)
        for event in events
        for name in (f"{event.category},x,b".split(",") if event.category is not None else [])
        if event.customer != 5 and not (name == "b" and event.customer < 2)
    ]


@settings(max_examples=60, deadline=None)
@given(
    log=logs(disorder_ms=800),
    max_records=st.sampled_from([1, 3, 1000]),
    steps=STEP_LISTS,
    hidden=st.booleans(),
)
def test_expanded_events_give_the_brute_force_rows_whatever_the_cuts_order_and_crashes(
    log: Log, max_records: int, steps: Steps, hidden: bool
) -> None:
    spec = make_spec(800, max_records)
    patient = spec.event_time.model_copy(update={"idle_timeout_ms": None})
    spec = spec.model_copy(update={"event_time": patient, **EXPANDED})
    engine = Engine.start(spec, log, hidden=hidden)
    take(engine, steps)
    engine.finish()
    rows = {n: expanded(events) for n, events in log.items()}
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(rows))
    ledger = engine.state.ledger
    assert ledger.balanced
    assert ledger.aggregated == sum(len(events) for events in rows.values())
    gone = sum(not expanded([event]) for events in log.values() for event in events)
    assert (ledger.filtered, ledger.late) == (gone, 0)


@settings(max_examples=60, deadline=None)
@given(
    log=logs(disorder_ms=3_000),
    max_records=st.sampled_from([1, 4]),
    allowed_ms=st.sampled_from([0, 700]),
    steps=STEP_LISTS,
)
def test_every_late_event_leaves_once_and_the_ledger_balances_beyond_the_bound_of_disorder(
    log: Log, max_records: int, allowed_ms: int, steps: Steps
) -> None:
    engine = Engine.start(make_spec(100, max_records, allowed_ms), log, hidden=True)
    take(engine, steps)
    engine.finish()
    ledger = engine.state.ledger
    assert ledger.balanced
    assert ledger.consumed == sum(len(events) for events in log.values())
    assert engine.rows("fast") == engine.rows("slow")
    assert sum(int(str(values[0])) for values in engine.rows().values()) == ledger.aggregated
    assert_late_output(engine)
    assert ledger.late == len(engine.judged)


def assert_late_output(engine: Engine) -> None:
    """Hold the late output against the judgement in plain Python, record by record."""
    delivered = [row for sequence in sorted(engine.topic) for row in engine.topic[sequence]]
    assert len(delivered) == len(engine.judged)
    assert {(r["partition"], r["offset"]): r["late_by_ms"] for r in delivered} == engine.judged
    for number, events in engine.log.items():
        mine = [row for row in delivered if row["partition"] == number]
        offsets = [int(str(row["offset"])) for row in mine]
        assert offsets == sorted(offsets)
        for row, event in zip(mine, (events[offset] for offset in offsets), strict=True):
            at = datetime.fromtimestamp(event.event_ms // 1000, UTC)
            text = f"{at:%Y-%m-%dT%H:%M:%S}.{event.event_ms % 1000:03}Z"
            key = None if event.category is None else event.category.encode()
            assert (row["event_time"], row["key"]) == (text, key)
            assert row["value"] == b"%d" % event.cents


def test_a_late_event_within_the_allowance_revises_its_window() -> None:
    early = [Event(100, "a", 100, 1), Event(2_500, "a", 100, 1)]
    log = {0: [*early, Event(900, "a", 100, 2)]}
    engine = Engine.start(make_spec(0, 1, allowed_ms=5_000), log)
    engine.finish()
    assert engine.rows()[0, "a"][0] == 2
    assert engine.state.ledger.late == 0


def test_an_event_of_a_closed_window_is_late_and_leaves_its_row_as_it_was() -> None:
    log = {0: [Event(100, "a", 100, 1), Event(2_500, "a", 100, 1), Event(900, "a", 100, 2)]}
    engine = Engine.start(make_spec(0, 10), log, hidden=True)
    engine.shown[0] = 2
    for _ in range(2):
        engine.merge()
        engine.plan()
        engine.run_range(0)
        engine.merge()
        engine.begin_combine()
        engine.end_combine()
        engine.shown[0] = 3
    engine.finish()
    assert engine.state.ledger == Ledger(consumed=3, aggregated=2, late=1)
    assert engine.judged == {(0, 2): 1_500}
    assert_late_output(engine)
    assert engine.rows()[0, "a"][0] == 1


def test_partitions_of_very_different_length_lose_nothing_when_caught_up_from_the_start() -> None:
    long = [Event(i * 100, "a", 1, i) for i in range(400)]
    short = [Event(i * 13_000, "a", 1, i) for i in range(3)]
    log = {0: long, 1: short, 2: []}
    engine = Engine.start(make_spec(0, 10), log)
    engine.finish()
    assert engine.state.ledger.late == 0
    assert engine.rows() == brute_force(log)


@st.composite
def uneven_logs(draw: st.DrawFn) -> Log:
    """Draw partitions of very different length and speed; a key is in all of them."""
    log: Log = {}
    for number, most in enumerate((200, 12, 3, 0)):
        step_ms = draw(st.sampled_from([1, 40, 900, 20_000]))
        at_ms, events = draw(st.integers(-5_000, 5_000)), []
        for n in range(draw(st.integers(0, most))):
            at_ms += step_ms
            early_ms = draw(st.integers(0, 300)) if most < 20 else n * 37 % 300
            events.append(Event(at_ms - early_ms, "ab"[n % 2], n, n % 5))
        log[number] = events
    return log


@settings(max_examples=30, deadline=None)
@given(
    log=uneven_logs(),
    max_records=st.sampled_from([3, 50, 1000]),
    steps=st.lists(
        st.tuples(st.sampled_from((*STEPS, "wait", "range", "merge", "plan")), st.integers(0, 9)),
        max_size=80,
    ),
)
def test_an_open_stream_that_catches_up_from_the_start_judges_no_event_late(
    log: Log, max_records: int, steps: Steps
) -> None:
    """Whatever becomes idle on the way has nothing more to read; the log does not grow."""
    engine = Engine.start(make_spec(300, max_records), log)
    for partition in engine.state.partitions.values():
        partition.until = None
    for step, number in steps:
        if step == "wait":
            engine.now_ms += number * 3_000
        else:
            take(engine, [(step, number)])
    while any(p.cursor < p.end for p in engine.state.partitions.values()):
        take(engine, [("plan", 0), ("range", 0), ("merge", 0), ("begin_combine", 0)])
        take(engine, [("end_combine", 0), ("write", 0), ("write", 1), ("deliver", 0)])
        engine.now_ms += 3_000
    assert engine.judged == {}
    assert engine.state.ledger.late == 0
    for partition in engine.state.partitions.values():
        partition.until = partition.cursor
    engine.finish()
    assert engine.rows() == brute_force(log)
