"""Early rows and windows closed by the clock, step by step."""

import polars as pl
import pytest

from pipelines.stream import BY_CLOCK, StreamSpec, Window
from streaming.combine import DELETED, KEY, WINDOW_START
from streaming.early import Early, bounded_step, due_ms, unended_windows, wanted
from streaming.firing import MOST_COPIES
from streaming.progress import CombineResult, CombineTask, next_combine, take_combined
from streaming.quiet import observe_quiet, quiet_check_ms, silent_since_ms
from streaming.state import StreamState
from streaming.watermark import forget_observations, observe_ends
from streaming.window import END_OF_TIME_MS, Windowing
from tests.unit.streaming.engine import SINKS, Engine
from tests.unit.streaming.event_log import Event, Log, brute_force, make_spec, patient
from tests.unit.streaming.key_engine import rows_of
from tests.unit.streaming.state_maker import flush, partition, segment, state_of

SLIDING = Windowing(size_ms=1_000, slide_ms=400)
LAST = Event(900_000, "a", 1, 1)
"""What keeps a run from its end, never shown."""

WINDOWS = Windowing(1_000, 1_000)


def early_spec(
    *,
    updates_ms: int | None = None,
    close_ms: int | None = None,
    max_records: int = 10,
    allowed_ms: int = 0,
    disorder_ms: int = 0,
    window: Window | None = None,
) -> StreamSpec:
    spec = patient(make_spec(disorder_ms, max_records, allowed_ms, window))
    event_time = spec.event_time.model_copy(update={"close_after_ms": close_ms})
    return spec.model_copy(update={"event_time": event_time, "emit_updates_ms": updates_ms})


def turn(engine: Engine) -> None:
    """Do what the workflow does until nothing is left to do at this time."""
    for _ in range(4):
        engine.merge()
        engine.plan()
        engine.run_range(0)
        engine.merge()
        engine.begin_combine()
        engine.end_combine()
        for number in range(len(SINKS)):
            engine.write(number)
        engine.deliver()


class Watched(Engine):
    """An engine whose every row must say something new, and that keeps the mark of each."""

    def _write(self, sink: str, version: int, rows: pl.DataFrame) -> None:
        view, marks = self.views[sink], self.marks
        for row in rows.iter_rows(named=True):
            name = (round(row[WINDOW_START].timestamp() * 1000), row[KEY])
            mark = row.get(BY_CLOCK, False)
            if name in view and view[name][0] < version and not row[DELETED]:
                values = tuple(row[column] for column in self.spec.aggregate)
                news = view[name][1] != values or marks[sink, *name] != mark
                assert news or self._repeats, "a row is emitted again only with news"
            if name not in view or view[name][0] <= version:
                marks[sink, *name] = mark and not row[DELETED]
        super()._write(sink, version, rows)

    @property
    def marks(self) -> dict[tuple[str, int, str], bool]:
        """Whether the clock closed the row that a reader of a sink sees."""
        found: dict[tuple[str, int, str], bool] = self.__dict__.setdefault("_marks", {})
        return found

    @property
    def _repeats(self) -> bool:
        """Whether panes of overlapping windows may be shown again for others' sake."""
        closes = self.spec.event_time.close_after_ms is not None
        slides = self.plan_of_stream.windowing.slides
        return closes and slides and self.spec.emit_updates_ms is not None


def watched(spec: StreamSpec, log: Log, *, hidden: bool = False) -> Watched:
    engine = Watched.start(spec, log, hidden=hidden)
    assert isinstance(engine, Watched)
    return engine


def closed(engine: Engine) -> bool:
    return engine.state.closed


def closing(engine: Engine) -> bool:
    return engine.state.closing


def counts(engine: Watched) -> dict[tuple[int, str], tuple[object, bool]]:
    marks = engine.marks
    return {name: (values[0], marks["fast", *name]) for name, values in engine.rows().items()}


@pytest.mark.parametrize(
    ("window", "starts"),
    [
        (Window(kind="tumbling", size_ms=1_000), [0]),
        (Window(kind="sliding", size_ms=1_000, slide_ms=500), [-500, 0]),
    ],
)
def test_quiet_stream_closes_by_the_clock_and_later_data_corrects_it(
    window: Window, starts: list[int]
) -> None:
    log = {0: [Event(100, "a", 1, 1), Event(200, "a", 1, 1), Event(5_000, "a", 1, 1), LAST]}
    engine = watched(early_spec(close_ms=3_000, window=window), log, hidden=True)
    engine.shown[0] = 1
    turn(engine)
    engine.now_ms += 2_000
    turn(engine)
    assert counts(engine) == {}
    engine.now_ms += 1_000
    turn(engine)
    assert counts(engine) == {(start, "a"): (1, True) for start in starts}
    assert engine.state.watermark_ms == 100
    assert not any(flush for flush in engine.state.flushes)
    assert closed(engine)
    flushed = engine.state.flush_seq
    engine.now_ms += 100_000
    turn(engine)
    assert engine.state.flush_seq == flushed
    engine.shown[0] = 2
    turn(engine)
    assert not closed(engine)
    assert counts(engine) == {(start, "a"): (1, True) for start in starts}
    engine.now_ms += 3_000
    turn(engine)
    assert counts(engine) == {(start, "a"): (2, True) for start in starts}
    engine.shown[0] = 3
    turn(engine)
    assert counts(engine) == {(start, "a"): (2, False) for start in starts}
    assert engine.state.ledger.late == 0


@pytest.mark.parametrize(
    "window",
    [
        Window(kind="tumbling", size_ms=10_000),
        Window(kind="session", size_ms=5_000),
        Window(kind="sliding", size_ms=10_000, slide_ms=5_000),
    ],
)
def test_what_the_clock_closed_is_not_shown_again_when_it_closes_others(window: Window) -> None:
    log = {0: [Event(100, "a", 1, 1), Event(200, "b", 1, 1), Event(300, "b", 1, 1), LAST]}
    engine = watched(early_spec(close_ms=3_000, window=window), log, hidden=True)
    for shown, emitted in ((2, {"a", "b"}), (3, {"b"})):
        engine.shown[0] = shown
        turn(engine)
        engine.now_ms += 3_000
        engine.merge()
        engine.begin_combine()
        engine.end_combine()
        (flush,) = engine.state.flushes
        assert set(rows_of(engine.store, flush)["category"]) == emitted
        turn(engine)
    assert not engine.state.flushes


def test_closing_marks_what_was_shown_early_and_nothing_that_has_ended() -> None:
    log = {0: [Event(100, "a", 1, 1), Event(1_500, "b", 1, 1), LAST]}
    engine = watched(early_spec(updates_ms=1_000, close_ms=3_000), log, hidden=True)
    engine.shown[0] = 2
    turn(engine)
    assert counts(engine) == {(0, "a"): (1, False)}
    engine.now_ms += 1_000
    turn(engine)
    assert counts(engine) == {(0, "a"): (1, False), (1_000, "b"): (1, False)}
    engine.now_ms += 2_000
    turn(engine)
    assert counts(engine) == {(0, "a"): (1, False), (1_000, "b"): (1, True)}
    assert engine.state.flush_seq == 3


def test_overlapping_windows_are_closed_in_bounded_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.early.MOST_COPIES", 6)
    window = Window(kind="sliding", size_ms=5_000, slide_ms=1_000)
    log = {0: [Event(0, "a", 1, 1), Event(2_000, "a", 1, 1), Event(60_000, "a", 1, 1)]}
    engine = watched(early_spec(close_ms=3_000, window=window), log, hidden=True)
    engine.shown[0] = 2
    turn(engine)
    before = engine.state.flush_seq
    engine.now_ms += 3_000
    turn(engine)
    assert engine.state.flush_seq - before > 1
    closed = {start: 1 + (start >= -2_000) for start in range(-2_000, 1_000, 1_000)}
    closed |= {1_000: 1, 2_000: 1}
    assert counts(engine) == {(start, "a"): (n, start > -3_000) for start, n in
                              {-4_000: 1, -3_000: 1, **closed}.items()}  # fmt: skip
    engine.finish()
    assert engine.rows() == brute_force(log, window)
    assert not any(engine.marks.values())


def showing(updates_ms: int = 500, fresh_ms: int | None = 0) -> tuple[StreamState, StreamSpec]:
    state = state_of(partition(3, at_ms=100))
    state.segments = [segment(0, fresh_ms)]
    state.unshown_since_ms = 1_000
    return state, early_spec(updates_ms=updates_ms)


def test_early_rows_are_due_an_interval_after_the_first_unshown_data() -> None:
    state, spec = showing()
    assert due_ms(state, spec) == 1_500
    assert wanted(state, spec, 1_499) is None
    assert wanted(state, spec, 1_500) == Early(asked_ms=1_500)
    assert due_ms(state, early_spec(close_ms=5)) is None
    assert due_ms(showing(fresh_ms=None)[0], spec) is None


def test_no_early_rows_while_a_flush_waits_or_the_stream_ends() -> None:
    state, spec = showing()
    state.flushes = [flush(1)]
    assert due_ms(state, spec) is None
    state.flushes, state.mode = [], "draining"
    assert due_ms(state, spec) is None
    state.mode = "paused"
    assert due_ms(state, spec) == 1_500


def test_data_that_came_during_an_emission_is_due_an_interval_after_its_decision() -> None:
    log = {0: [Event(100, "a", 1, 1), Event(200, "a", 1, 1), LAST]}
    engine = watched(early_spec(updates_ms=500, max_records=1), log, hidden=True)
    engine.shown[0] = 1
    turn(engine)
    engine.now_ms += 1_000
    engine.shown[0] = 2
    engine.begin_combine()
    engine.now_ms += 2_000
    engine.merge()
    engine.plan()
    engine.run_range(0)
    engine.merge()
    engine.end_combine()
    assert engine.state.unshown_since_ms == 1_000
    engine.write(0)
    engine.write(1)
    turn(engine)
    assert counts(engine) == {(0, "a"): (2, False)}
    assert engine.state.unshown_since_ms is None


def test_a_merge_takes_bounded_steps_through_overlapping_windows() -> None:
    state = state_of(partition(at_ms=0))
    rows = MOST_COPIES // 2
    state.segments = [segment(0, 0).model_copy(update={"last_pane_ms": 10_000})]
    blob = state.segments[0].blob.model_copy(update={"row_count": rows})
    state.segments[0] = state.segments[0].model_copy(update={"blob": blob})
    assert bounded_step(Early(), state, WINDOWS, None) == Early()
    assert bounded_step(Early(), state, SLIDING, None).upto_ms == 200 + 2 * 400
    assert bounded_step(Early(), state, SLIDING, 600).upto_ms == 600 + 2 * 400
    assert bounded_step(Early(after_ms=1_000), state, SLIDING, 600).upto_ms == 1_000 + 2 * 400
    assert bounded_step(Early(after_ms=10_300), state, SLIDING, 600).last


QUIET = early_spec(close_ms=100).event_time


def quiet_state() -> StreamState:
    state = state_of(partition(5, at_ms=1), partition(7, at_ms=2))
    state.segments = [segment(0, 0)]
    observe_ends(state, QUIET, {0: 5, 1: 7}, 10, 20)
    return state


def look(state: StreamState, ends: dict[int, int], asked_ms: int) -> bool:
    observe_ends(state, QUIET, ends, asked_ms, asked_ms)
    observe_quiet(state, QUIET, ends, asked_ms)
    return state.closing


def test_quiet_takes_a_second_look_that_was_asked_for_after_the_time_had_passed() -> None:
    state = quiet_state()
    assert not look(state, {0: 5, 1: 7}, 119)
    assert not look(state, {0: 5}, 120)
    assert look(state, {0: 5, 1: 7}, 120)
    assert wanted(state, early_spec(close_ms=100), 130) == Early(by_clock=True, asked_ms=130)


def test_unread_records_on_any_partition_are_no_quiet() -> None:
    state = quiet_state()
    assert not look(state, {0: 5, 1: 8}, 500)
    assert silent_since_ms(state) is None


def test_records_without_a_valid_event_time_do_not_end_the_quiet() -> None:
    state = quiet_state()
    assert not look(state, {0: 6, 1: 7}, 500)
    state.partitions[0].cursor = 6
    assert look(state, {0: 6, 1: 7}, 501)


def test_paused_stream_or_one_without_windows_is_not_closed() -> None:
    state = quiet_state()
    state.mode = "paused"
    assert not look(state, {0: 5, 1: 7}, 500)
    state.mode, state.segments = "running", []
    assert not look(state, {0: 5, 1: 7}, 500)


def test_forgotten_observations_are_made_anew() -> None:
    state = quiet_state()
    assert look(state, {0: 5, 1: 7}, 500)
    forget_observations(state)
    assert not state.closing
    assert not look(state, {0: 5, 1: 7}, 600)
    assert not look(state, {0: 5, 1: 7}, 699)
    assert look(state, {0: 5, 1: 7}, 700)


def test_long_poll_ends_when_quiet_can_be_confirmed() -> None:
    state = quiet_state()
    assert quiet_check_ms(state, QUIET, 50, 10_000) == 70
    assert quiet_check_ms(state, QUIET, 50, 60) == 60
    assert quiet_check_ms(state, QUIET, 500, 10_000) == 0
    state.partitions[0].silent_since_ms = None
    assert quiet_check_ms(state, QUIET, 50, 10_000) == 25
    state.closed = True
    assert quiet_check_ms(state, QUIET, 50, 10_000) == 10_000
    state.closed, state.segments = False, []
    assert quiet_check_ms(state, QUIET, 50, 10_000) == 10_000


def test_news_in_the_middle_of_closing_ends_it() -> None:
    log = {0: [Event(100, "a", 1, 1), Event(200, "a", 1, 1), LAST]}
    engine = watched(early_spec(close_ms=3_000), log, hidden=True)
    engine.shown[0] = 1
    turn(engine)
    engine.now_ms += 3_000
    engine.merge()
    assert closing(engine)
    engine.begin_combine()
    task = engine.combining
    assert isinstance(task, CombineTask)
    engine.shown[0] = 2
    engine.merge()
    engine.plan()
    engine.run_range(0)
    engine.merge()
    engine.end_combine()
    assert not closing(engine)
    assert not closed(engine)
    turn(engine)
    assert counts(engine) == {(0, "a"): (1, True)}
    engine.now_ms += 3_000
    turn(engine)
    assert counts(engine) == {(0, "a"): (2, True)}


def test_open_windows_of_a_stream_with_early_rows_are_those_that_have_not_ended() -> None:
    state = state_of(partition(at_ms=0))
    assert unended_windows(state, WINDOWS) == 0
    state.segments = [segment(0, None).model_copy(update={"last_pane_ms": 4_000})]
    assert unended_windows(state, WINDOWS) == 5
    state.watermark_ms = 2_500
    assert unended_windows(state, WINDOWS) == 3
    state.watermark_ms = END_OF_TIME_MS
    assert unended_windows(state, WINDOWS) == 0


def test_early_rows_do_not_change_up_to_where_windows_have_fired() -> None:
    state, spec = showing()
    state.watermark_ms = 300
    task = next_combine(state, spec, WINDOWS, early=wanted(state, spec, 2_000))
    assert task is not None
    assert (task.fire_ms, task.early) == (300, Early(asked_ms=2_000))
    take_combined(state, task, CombineResult(kept=state.segments[0]))
    assert state.fired_ms == 300
