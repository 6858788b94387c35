"""Flushes of a raw stream with odd cuts, crashes, stops and ranges that end in any order."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.seen_store import close_duplicates, open_duplicates
from pipelines.stream import EPOCH_BITS, StreamSpec
from streaming.flush_chunk import GROUP_BYTES, chunk_count, groups
from streaming.frame import from_bytes, to_bytes
from streaming.ledger import Ledger
from streaming.offset_range import OffsetRange
from streaming.plan import compile_stream
from streaming.planner import Limits, plan_ranges
from streaming.progress import RangeResult, forget_planned, is_finished, merge_next, take_flushed
from streaming.raw_flush import due_rests, next_flush, number_flushes, take_rows
from streaming.raw_retirement import retire_passed
from streaming.raw_row import raw_rows
from streaming.rewind import Rewind, apply_rewind, forget_results, plan_rewind
from streaming.segment import Blob
from streaming.state import Flush, OffsetRetirement, RangeTask, StreamState, decode_state
from streaming.status import RewindTo
from tests.unit.streaming.event_log import Event, Log, to_frame
from tests.unit.streaming.key_engine import run
from tests.unit.streaming.state_maker import blob, partition, plan_all, ref, state_of
from tests.unit.streaming.test_raw_row import raw_spec
from tests.workflows.memory import MemoryStore

SINKS = ("fast", "slow")
STEPS = ("plan", "range", "merge", "write", "write_lost", "crash", "stop")
View = dict[str, tuple[int, tuple[object, ...] | None]]
"""Version and row by identity; a tombstone has no row."""


@dataclass
class RawEngine:
    """A raw stream without Temporal: what the workflow does, one step at a time.

    Attributes:
        views: What a reader of each sink sees, and its version.
        frozen: Content under which each flush was ever written.
    """

    spec: StreamSpec
    log: Log
    state: StreamState
    flying: list[RangeTask] = field(default_factory=list)
    results: dict[tuple[int, int], RangeResult] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=lambda: {name: {} for name in SINKS})
    frozen: dict[int, tuple[str, list[tuple[object, ...]]]] = field(default_factory=dict)
    store: MemoryStore = field(default_factory=MemoryStore)

    def plan(self, _: int = 0) -> None:
        for batch in plan_ranges(self.state, self.spec, Limits(small_records=5), 0).batches:
            self.flying.extend(batch)

    def range(self, index: int) -> None:
        if not self.flying:
            return
        cut = index % 2 == 1  # ends after its first table
        task = self.flying.pop(index % len(self.flying))
        span = task.span
        tables, ledger, maximum = [], Ledger(), None
        plan = compile_stream(self.spec)
        duplicates = run(open_duplicates(plan, self.store, task))
        for start in range(span.start, span.stop, 2):  # a table for every two records
            events = self.log[span.partition][start : min(start + 2, span.stop)]
            [rows] = raw_rows(
                plan, to_frame(events, start), span.partition, duplicates, task.rows_from
            )
            ledger = ledger.plus(rows.ledger).plus(Ledger(consumed=len(events)))
            if rows.max_event_ms is not None:
                maximum = max(rows.max_event_ms, rows.max_event_ms if maximum is None else maximum)
            if not rows.frame.is_empty():
                content = to_bytes(rows.frame)
                tables.append(
                    Blob(row_count=rows.frame.height, size_bytes=len(content), inline=content)
                )
            if cut and tables:
                span = span.model_copy(update={"stop": min(start + 2, span.stop)})
                break
        name = f"range-{task.epoch}-{span}"
        self.results[span.partition, span.start] = RangeResult(
            span=span, epoch=task.epoch, ledger=ledger, max_event_ms=maximum, rows=tables,
            seen=run(close_duplicates(self.store, name, duplicates, 2_048, 64)),
        )  # fmt: skip

    def merge(self, _: int = 0) -> None:
        merge_next(self.state, self.spec, self.results, 0)
        self.flying += due_rests(self.state)
        retire_passed(self.state)

    def write(self, number: int, *, lost: bool = False) -> None:
        cursor = self.state.sinks[number % len(SINKS)]
        flush = next_flush(self.state, cursor)
        if flush is None:
            return
        if isinstance(flush.retire, OffsetRetirement):
            self._retire(self.views[cursor.name], flush, flush.retire)
        rows = [
            row
            for table in flush.tables
            if table.inline
            for row in from_bytes(table.inline).iter_rows()
        ]
        content = (flush.sha256, rows)
        assert self.frozen.setdefault(flush.flush_seq, content) == content
        keys = [str(row[-2]) for row in rows]
        assert len(keys) == len(set(keys)), "a flush holds each identity once"
        view, version = self.views[cursor.name], self._version(flush)
        for key, row in zip(keys, rows, strict=True):
            if key not in view or view[key][0] <= version:
                view[key] = (version, row)
        if not lost:
            assert flush.flush_seq > cursor.done
            take_flushed(self.state, cursor.name, flush.flush_seq)

    def _version(self, flush: Flush) -> int:
        return (flush.epoch or self.state.epoch) << EPOCH_BITS | flush.flush_seq

    def _retire(self, view: View, flush: Flush, meant: OffsetRetirement) -> None:
        """Hide what is left of older epochs, by the definition."""
        for key, (version, row) in view.items():
            is_old = meant.first_version <= version < flush.epoch << EPOCH_BITS
            if row is None or not is_old:
                continue
            number, offset = row[-4], row[-3]
            assert isinstance(offset, int)
            if any(n == number and start <= offset < stop for n, start, stop in meant.spans):
                view[key] = (self._version(flush), None)

    def rewind(self, to: RewindTo) -> Rewind:
        """Go back, as the workflow does once an epoch is claimed."""
        windows = compile_stream(self.spec).windowing
        rewind = plan_rewind(self.state, self.spec, windows, to, {})
        self.flying = []
        forget_results(self.state, self.results)
        apply_rewind(self.state, windows, rewind, self.state.epoch + 1, 0)
        return rewind

    def rows(self, sink: str = "fast") -> dict[str, tuple[object, ...]]:
        """Give the final view of one sink."""
        return {key: row for key, (_, row) in self.views[sink].items() if row is not None}

    def write_lost(self, number: int) -> None:
        self.write(number, lost=True)

    def crash(self, _: int = 0) -> None:
        """Lose everything but the state; what was planned is done again."""
        self.state = decode_state(self.state.encode())
        self.flying = [task for task in self.state.planned if not task.waits]
        self.results = {}

    def stop(self, _: int = 0) -> None:
        """Take back what is planned, save, and start again; ranges are cut anew."""
        forget_planned(self.state)
        self.crash()

    def finish(self) -> None:
        while not is_finished(self.state):
            self.plan()
            self.range(0)
            self.merge()
            for number in range(len(SINKS)):
                self.write(number)
            self.merge()  # as the workflow does before it looks whether there is an end


LOGS = st.dictionaries(
    st.integers(0, 2),
    st.lists(
        st.builds(
            Event, st.integers(0, 9), st.sampled_from(["a", None]), st.integers(-2, 5),
            st.integers(0, 4),
        ),
        max_size=20,
    ),
    min_size=1,
)  # fmt: skip


def engine_of(spec: StreamSpec, log: Log) -> RawEngine:
    parts = [partition(end=len(log.get(n, [])), until=len(log.get(n, []))) for n in range(3)]
    return RawEngine(spec, {n: log.get(n, []) for n in range(3)}, state_of(*parts, sinks=SINKS))


@settings(max_examples=200, deadline=None)
@given(
    log=LOGS,
    max_records=st.sampled_from([1, 3, 1000]),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=60),
)
def test_every_sink_shows_each_passing_event_once_whatever_the_cuts_and_crashes(
    log: Log, max_records: int, steps: list[tuple[str, int]]
) -> None:
    spec = raw_spec(derive={})
    spec = spec.model_copy(
        update={"trigger": spec.trigger.model_copy(update={"max_records": max_records})}
    )
    engine = engine_of(spec, log)
    for step, number in steps:
        getattr(engine, step)(number)
    engine.finish()
    expected = {
        f"events|{n}|{offset}": (event.category, event.customer)
        for n, events in log.items()
        for offset, event in enumerate(events)
        if event.cents > 0
    }
    for name in SINKS:
        assert {k: (row[1], row[3]) for k, row in engine.rows(name).items()} == expected
    ledger = engine.state.ledger
    assert ledger.balanced
    assert (ledger.delivered, ledger.late, ledger.aggregated) == (len(expected), 0, 0)
    assert ledger.consumed == sum(len(events) for events in log.values())


def test_a_range_that_is_cut_again_and_again_has_few_tables_waiting() -> None:
    """A range of long lists came to hundreds of tables, all of which waited for a sink at once."""
    for identity, numbers in (([], [1, 3, 4, 5]), (["customer"], [1, 2, 3, 4])):
        state, spec = state_of(partition(end=40)), raw_spec(identity=identity)
        plan_all(state, lambda _: [(0, 30), (30, 40)])
        number_flushes(state, spec, [[task] for task in state.planned])
        found: list[int] = []
        for start in range(0, 30, 8):
            span = state.planned[0].span.model_copy(update={"stop": min(start + 8, 30)})
            tables = [blob(f"{start}-{n}") for n in range(9)]
            result = RangeResult(span=span, epoch=1, ledger=Ledger(), rows=tables)
            merge_next(state, spec, {(0, start): result}, 0)
            rests = [task for task in state.planned if task.waits]
            assert [task.span.start for task in rests] == ([start + 8] if start < 24 else [])
            assert due_rests(state) == []
            found.append(state.flushes[0].flush_seq)
            assert len(state.flushes[0].tables) == 9
            take_flushed(state, state.sinks[0].name, found[-1])
            assert due_rests(state) == rests
            assert not any(task.waits for task in state.planned)
        assert found == numbers
        assert [task.flush_seq for task in state.planned] == [65 if identity else 2]


@settings(max_examples=100, deadline=None)
@given(
    log=LOGS,
    max_records=st.sampled_from([1, 2]),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=60),
)
def test_by_event_id_the_last_event_of_the_log_shows_where_ids_keep_to_a_partition(
    log: Log, max_records: int, steps: list[tuple[str, int]]
) -> None:
    mine = {
        n: [Event(e.event_ms, str(n), e.cents, e.customer) for e in events]
        for n, events in log.items()
    }
    spec = raw_spec(derive={}, where=None, identity=["category", "customer"])
    spec = spec.model_copy(
        update={
            "fields": {**spec.fields, "category": "string"},
            "trigger": spec.trigger.model_copy(update={"max_records": max_records}),
        }
    )
    engine = engine_of(spec, mine)
    for step, number in steps:
        getattr(engine, step)(number)
    engine.finish()
    expected = {
        f"{n}|{event.customer}": (n, offset)
        for n, events in mine.items()
        for offset, event in enumerate(events)
    }
    for name in SINKS:
        assert {k: (row[5], row[6]) for k, row in engine.rows(name).items()} == expected


def test_a_later_flush_waits_for_the_ranges_of_an_earlier_one() -> None:
    state = state_of(partition(end=5), partition(end=5))
    plan_all(state, lambda _: [(0, 5)])
    number_flushes(state, raw_spec(), [[task] for task in state.planned])
    assert [task.flush_seq for task in state.planned] == [1, 2]
    second = state.planned[1]
    take_rows(state, second.span, [blob(rows=3)])
    state.planned = [state.planned[0]]
    [cursor] = state.sinks
    assert next_flush(state, cursor) is None
    forget_planned(state)
    flush = next_flush(state, cursor)
    assert flush is not None
    assert (flush.flush_seq, state.flush_seq, state.flushed_rows) == (2, 2, 3)


def test_small_ranges_that_travel_together_share_a_flush_but_not_with_an_identity() -> None:
    for identity, numbers in (([], [1, 1, 2]), (["customer"], [1, 65, 129])):
        state = state_of(partition(), partition(), partition())
        plan_all(state, lambda _: [(0, 5)])
        batches = [state.planned[:2], state.planned[2:]]
        number_flushes(state, raw_spec(identity=identity), batches)
        assert [task.flush_seq for task in state.planned] == numbers
    spans = [task.span for task in state.planned]
    state.planned[1].flush_seq = 1
    take_rows(state, spans[0], [blob("one"), blob("two")])
    before = state.flushes[0].sha256
    take_rows(state, spans[1], [blob("three")])
    [flush] = state.flushes
    assert [table.ref.key for table in flush.tables if table.ref] == ["one", "two", "three"]
    assert flush.sha256 != before


def test_all_objects_of_a_flush_that_every_sink_has_are_let_go() -> None:
    state = state_of(partition())
    state.flushes = [
        Flush(flush_seq=1, rows=blob("a"), more=[blob("b"), blob()], chunk_rows=9, sha256="")
    ]
    take_flushed(state, "s", 1)
    assert state.garbage == [ref("a"), ref("b")]


def test_objects_superseded_in_a_range_are_let_go_when_it_is_merged() -> None:
    state = state_of(partition(end=5))
    plan_all(state, lambda _: [(0, 5)])
    number_flushes(state, raw_spec(), [state.planned])
    span = OffsetRange(topic="events", partition=0, start=0, stop=5)
    done = RangeResult(
        span=span, epoch=1, ledger=Ledger(), rows=[blob("new")], superseded=[ref("old")]
    )
    merge_next(state, raw_spec(), {(0, 0): done}, 0)
    assert state.garbage == [ref("old")]
    assert [f.flush_seq for f in state.flushes] == [1]


@pytest.mark.parametrize(
    ("tables", "expected", "chunks"),
    [
        ([(5, 1)], [[5]], 1),
        ([(25, 1)], [[25]], 3),
        ([(4, 1), (6, 1), (1, 1)], [[4, 6], [1]], 2),
        ([(4, 1), (11, 1), (1, 1)], [[4], [11], [1]], 4),
        ([(1, GROUP_BYTES), (1, 1), (1, 1)], [[1], [1, 1]], 2),
    ],
)
def test_chunks_follow_from_the_recorded_rows_and_sizes(
    tables: list[tuple[int, int]], expected: list[list[int]], chunks: int
) -> None:
    blobs = [blob(rows=rows, size_bytes=size) for rows, size in tables]
    flush = Flush(flush_seq=1, rows=blobs[0], more=blobs[1:], chunk_rows=10, sha256="")
    assert [[table.row_count for table in group] for group in groups(flush)] == expected
    assert chunk_count(flush) == chunks
