"""Early rows and windows closed by the clock, against brute force, with crashes and odd cuts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stream import Window
from tests.unit.streaming.engine import SINKS, Engine
from tests.unit.streaming.event_log import Log, brute_force
from tests.unit.streaming.test_early import early_spec, turn, watched
from tests.unit.streaming.test_engine_model import STEPS, Steps, canonical, logs, take
from tests.unit.streaming.window_strategy import sessions, sliding

EARLY_STEPS = st.lists(
    st.tuples(st.sampled_from((*STEPS, "wait", "wait", "show", "round")), st.integers(0, 9)),
    max_size=40,
)
TUMBLING = st.just(Window(kind="tumbling", size_ms=1_000))


def go(engine: Engine, steps: Steps) -> None:
    """Take steps; a round is all of them in order, so that quiet streams and rows come about."""
    for step, number in steps:
        if step == "wait":
            engine.now_ms += number * 1_000
        elif step == "round":
            turn(engine)
        else:
            take(engine, [(step, number)])


@settings(max_examples=50, deadline=None)
@given(
    log=logs(disorder_ms=800),
    window=TUMBLING | sliding() | sessions(),
    features=st.sampled_from([(2_000, None), (1, None), (None, 3_000), (2_000, 5_000)]),
    allowed_ms=st.sampled_from([0, 1_500]),
    max_records=st.sampled_from([1, 3, 1000]),
    steps=EARLY_STEPS,
    hidden=st.booleans(),
)
def test_final_view_is_that_of_brute_force_and_no_row_comes_twice_without_news(
    log: Log,
    window: Window,
    features: tuple[int | None, int | None],
    allowed_ms: int,
    max_records: int,
    steps: Steps,
    hidden: bool,
) -> None:
    updates_ms, close_ms = features
    spec = early_spec(
        updates_ms=updates_ms, close_ms=close_ms, max_records=max_records,
        allowed_ms=allowed_ms, disorder_ms=800, window=window,
    )  # fmt: skip
    engine = watched(spec, log, hidden=hidden)
    go(engine, steps)
    engine.finish()
    for sink in SINKS:
        assert engine.rows(sink) == brute_force(canonical(log), window)
    assert not any(engine.marks.values())
    assert engine.state.ledger.late == 0
    assert engine.state.ledger.balanced


@settings(max_examples=20, deadline=None)
@given(
    log=logs(disorder_ms=3_000),
    allowed_ms=st.sampled_from([0, 700]),
    max_records=st.sampled_from([1, 4]),
    steps=EARLY_STEPS,
    close_ms=st.sampled_from([None, 2_000]),
)
def test_beyond_the_bound_of_disorder_every_event_that_is_not_late_is_in_its_row(
    log: Log, allowed_ms: int, max_records: int, steps: Steps, close_ms: int | None
) -> None:
    spec = early_spec(
        updates_ms=1_000, close_ms=close_ms, max_records=max_records,
        allowed_ms=allowed_ms, disorder_ms=100,
    )  # fmt: skip
    engine = watched(spec, log, hidden=True)
    go(engine, steps)
    engine.finish()
    ledger = engine.state.ledger
    assert ledger.balanced
    assert ledger.late == len(engine.judged)
    assert engine.rows("fast") == engine.rows("slow")
    assert sum(int(str(values[0])) for values in engine.rows().values()) == ledger.aggregated
