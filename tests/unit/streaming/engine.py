"""The engine without Temporal, run step by step over a log in memory."""

from dataclasses import dataclass, field

import polars as pl

from activities.seen_store import close_duplicates, open_duplicates
from pipelines.stream import StreamSpec, Window
from streaming.combine import DELETED, KEY, WINDOW_END, WINDOW_START
from streaming.decode import OFFSET, Decoded
from streaming.early import wanted
from streaming.floor import look_up
from streaming.frame import from_bytes, to_bytes
from streaming.late_event import late_event_frame
from streaming.ledger import Ledger
from streaming.offset_range import OffsetRange
from streaming.partial import aggregate_events
from streaming.plan import StreamPlan, compile_stream
from streaming.planner import limits_of, plan_ranges
from streaming.progress import (
    CombineTask,
    RangeResult,
    merge_next,
    next_combine,
    take_combined,
    take_delivered,
    take_flushed,
)
from streaming.quiet import observe_quiet
from streaming.retirement import retire
from streaming.rewind import Rewind, apply_rewind, forget_results, plan_rewind, times_to_look_up
from streaming.segment import Blob
from streaming.side_record import pieces
from streaming.state import (
    Flush,
    PartitionState,
    RangeTask,
    Retirement,
    SinkCursor,
    StreamState,
    decode_state,
)
from streaming.status import RewindTo
from streaming.tuning import tuned
from streaming.watermark import advance, observe_ends
from tests.unit.streaming.event_log import Event, Log, to_frame
from tests.unit.streaming.key_engine import combine_with, freeze_range, rows_of, run
from tests.unit.streaming.record_maker import block_of
from tests.unit.streaming.window_oracle import last_end_of
from tests.workflows.memory import MemoryStore

SINKS = ("fast", "slow")

View = dict[tuple[int, str], tuple[int, tuple[object, ...] | None]]
"""Version and values by window and key; a tombstone has no values."""


@dataclass
class Engine:
    """The stream engine without Temporal: what the workflow does, one step at a time.

    Attributes:
        views: What a reader of each sink sees: highest version per window and key; no values for a
            tombstone.
        ends: End of each window by sink, start and key.
        flying: Ranges handed out and not yet returned.
        shown: Records of each partition that the log has shown so far.
        judged: How late each late event is by its (partition, offset), from the watermark pinned
            in its range.
        topic: Late events as delivered, by sequence.
        store: Objects of states that are cut by key.
        ledgers: What each range came to, by epoch and span.
    """

    spec: StreamSpec
    log: Log
    state: StreamState
    now_ms: int = 0
    views: dict[str, View] = field(default_factory=lambda: {name: {} for name in SINKS})
    ends: dict[tuple[str, int, str], int] = field(default_factory=dict)
    flying: list[RangeTask] = field(default_factory=list)
    results: dict[tuple[int, int], RangeResult] = field(default_factory=dict)
    combining: CombineTask | None = None
    shown: dict[int, int] = field(default_factory=dict)
    judged: dict[tuple[int, int], int] = field(default_factory=dict)
    topic: dict[int, list[dict[str, object]]] = field(default_factory=dict)
    store: MemoryStore = field(default_factory=MemoryStore)
    ledgers: dict[tuple[int, OffsetRange], Ledger] = field(default_factory=dict)

    @classmethod
    def start(cls, spec: StreamSpec, log: Log, *, hidden: bool = False) -> "Engine":
        """Open a bounded run over the whole log; a hidden one is shown step by step."""
        shown = {n: 0 if hidden else len(events) for n, events in log.items()}
        partitions = {
            n: PartitionState(cursor=0, planned=0, end=shown[n], until=len(events))
            for n, events in log.items()
        }
        state = StreamState(
            pipeline=spec.name, spec_hash=spec.result_hash(), epoch=1, topic=spec.topic,
            topic_id="t", partitions=partitions, sinks=[SinkCursor(name=name) for name in SINKS],
        )  # fmt: skip
        return cls(spec, log, state, shown=shown)

    @property
    def plan_of_stream(self) -> StreamPlan:
        """The compiled stream."""
        return compile_stream(self.spec)

    @property
    def window(self) -> Window:
        """The windows of the stream."""
        assert self.spec.window is not None
        return self.spec.window

    def show(self, count: int) -> None:
        """Let every partition grow by up to `count` records, and some workflow time pass."""
        self.now_ms += 1_000 * count
        for number, events in self.log.items():
            self.shown[number] = min(len(events), self.shown[number] + (count + number) % 10)

    def plan(self) -> None:
        """Hand out ranges."""
        spec = tuned(self.spec, self.state.tuning)
        for batch in plan_ranges(self.state, spec, limits_of(spec), self.now_ms).batches:
            self.flying.extend(batch)

    def run_range(self, index: int) -> None:
        """Finish one of the ranges in flight, whichever."""
        if not self.flying:
            return
        task = self.flying.pop(index % len(self.flying))
        span = task.span
        events = self.log[span.partition][span.start : span.stop]
        duplicates = run(open_duplicates(self.plan_of_stream, self.store, task))
        partial = aggregate_events(
            self.plan_of_stream, to_frame(events, span.start), task.watermark_ms,
            span.partition, task.floor_ms, duplicates,
        )  # fmt: skip
        segment = None
        if not partial.frame.is_empty():
            segment = freeze_range(self.store, self.plan_of_stream, partial.frame, task.key_ranges)
        self._judge(task, events)
        ledger = partial.ledger.plus(Ledger(consumed=len(events)))
        self._conserve(task, ledger)
        self.results[span.partition, span.start] = RangeResult(
            span=span,
            epoch=task.epoch,
            ledger=ledger,
            max_event_ms=partial.max_event_ms,
            segment=segment,
            late=self._late(task, events, partial.late),
            seen=run(
                close_duplicates(self.store, f"range-{task.epoch}-{span}", duplicates, 2_048, 64)
            ),
            ends=dict(self.shown),
        )

    def _conserve(self, task: RangeTask, ledger: Ledger) -> None:
        """Account for every record of a range, in the same way each time that it is read."""
        span = task.span
        assert ledger.balanced, span
        assert ledger.consumed == span.stop - span.start
        assert self.ledgers.setdefault((task.epoch, span), ledger) == ledger, "read twice is once"
        if self.spec.where is None and not self.spec.transform and self.spec.deduplicate is None:
            mine = [n for p, n in self.judged if p == span.partition]
            assert ledger.late == sum(span.start <= n < span.stop for n in mine)

    def _judge(self, task: RangeTask, events: list[Event]) -> None:
        """Tell late events by the definition, in plain Python."""
        if task.watermark_ms is not None:
            for offset, event in enumerate(events, task.span.start):
                end_ms = last_end_of(event.event_ms, self.window)
                late_by_ms = task.watermark_ms - (end_ms + self.spec.late.allowed_ms)
                if late_by_ms >= 0:
                    self.judged[task.span.partition, offset] = late_by_ms

    def _late(self, task: RangeTask, events: list[Event], late: pl.DataFrame) -> list[Blob]:
        offsets = list(range(task.span.start, task.span.stop))
        records: list[tuple[bytes | None, bytes | None]] = [
            (None if event.category is None else event.category.encode(), b"%d" % event.cents)
            for event in events
        ]
        block = block_of(records, offsets, partition=task.span.partition)
        decoded = Decoded(pl.DataFrame({OFFSET: offsets}, schema={OFFSET: pl.Int64}), [])
        frozen = []
        for piece in pieces(late_event_frame(block, decoded, late), 2, 10**9):
            content = to_bytes(piece)
            frozen.append(Blob(row_count=piece.height, size_bytes=len(content), inline=content))
        return frozen

    def deliver(self, *, lost: bool = False) -> None:
        """Deliver late events in one transaction; the answer may be lost, and it is repeated."""
        batch = self.state.late.next_batches()
        if not batch:
            return
        frames = [from_bytes(one.records.inline or b"") for one in batch]
        rows = [row for frame in frames for row in frame.iter_rows(named=True)]
        written = self.topic.setdefault(batch[-1].sequence, rows)
        assert written == rows, "a sequence has the same records whenever it is written"
        if not lost:
            take_delivered(self.state, "late", batch[-1].sequence)

    def merge(self) -> None:
        """Merge what has its turn."""
        observe_ends(self.state, self.spec.event_time, self.shown, self.now_ms, self.now_ms)
        observe_quiet(self.state, self.spec.event_time, self.shown, self.now_ms)
        advance(self.state, self.spec.event_time)
        merge_next(self.state, self.spec, self.results, self.now_ms)

    def begin_combine(self) -> None:
        """Decide on a combine unless one is under way."""
        if self.combining is None:
            windows, spec = self.plan_of_stream.windowing, tuned(self.spec, self.state.tuning)
            early = wanted(self.state, spec, self.now_ms)
            self.combining = next_combine(self.state, spec, windows, early=early)
            if self.combining is None:
                retire(self.state, windows)

    def end_combine(self) -> None:
        """Take the result of a combine; its rows are frozen and not yet written."""
        if self.combining is None:
            return
        result = combine_with(self.store, self.spec, self.combining)
        take_combined(self.state, self.combining, result)
        self.combining = None

    def write(self, number: int, *, lost: bool = False) -> None:
        """Write the next flush of one sink; the answer may be lost, and it is written again."""
        sink = SINKS[number % len(SINKS)]
        done = next(cursor.done for cursor in self.state.sinks if cursor.name == sink)
        flush = next((f for f in self.state.flushes if f.flush_seq > done), None)
        if flush is None:
            return
        if flush.retire is not None:
            self._retire(sink, flush)
        else:
            version = flush.epoch << 40 | flush.flush_seq
            self._write(sink, version, rows_of(self.store, flush))
        if not lost:
            take_flushed(self.state, sink, flush.flush_seq)

    def _write(self, sink: str, version: int, rows: pl.DataFrame) -> None:
        view, seen = self.views[sink], set()
        for row in rows.iter_rows(named=True):
            start_ms = round(row[WINDOW_START].timestamp() * 1000)
            name = (start_ms, row[KEY])
            assert name not in seen, "a flush holds each identity once"
            seen.add(name)
            values = None if row[DELETED] else tuple(row[name] for name in self.spec.aggregate)
            shown = name in view and view[name][1] is not None
            again = name in view and view[name][0] == version
            assert values is not None or shown or again, "a tombstone hides what was shown"
            if name not in view or view[name][0] <= version:
                view[name] = (version, values)
                self.ends[sink, *name] = round(row[WINDOW_END].timestamp() * 1000)

    def _retire(self, sink: str, flush: Flush) -> None:
        """Hide what is left of older epochs, by the definition."""
        meant, view = flush.retire, self.views[sink]
        assert isinstance(meant, Retirement)
        for (start_ms, key), (version, values) in view.items():
            ended = meant.after_ms < self.ends[sink, start_ms, key] <= meant.until_ms
            old = meant.since_epoch <= version >> 40 < flush.epoch
            if values is not None and start_ms >= meant.floor_ms and ended and old:
                view[start_ms, key] = (flush.epoch << 40 | flush.flush_seq, None)

    def rewind(self, to: RewindTo) -> Rewind:
        """Go back, as the workflow does once an epoch is claimed."""
        windows = self.plan_of_stream.windowing
        bounds = look_up(windows, times_to_look_up(self.state, self.spec, windows, to))
        rewind = plan_rewind(self.state, self.spec, windows, to, {}, bounds)
        self.flying, self.combining, self.judged = [], None, {}
        forget_results(self.state, self.results)
        apply_rewind(self.state, windows, rewind, self.state.epoch + 1, self.now_ms)
        return rewind

    def _conserve_all(self) -> None:
        """Count each range of this epoch that was merged once, and no other."""
        cursors = {number: p.cursor for number, p in self.state.partitions.items()}
        merged = Ledger()
        for (epoch, span), ledger in self.ledgers.items():
            if epoch == self.state.epoch and span.stop <= cursors[span.partition]:
                merged = merged.plus(ledger)
        assert self.state.ledger == merged

    def crash(self) -> None:
        """Lose everything but the state; what was planned is done again from its pinned input."""
        self._conserve_all()
        self.state = decode_state(self.state.encode())
        self.flying = list(self.state.planned)
        self.results = {}
        self.combining = None

    @property
    def finished(self) -> bool:
        """Whether all is read, merged, emitted and written."""
        merged = all(p.finished for p in self.state.partitions.values())
        merged = merged and not self.state.flushes and not self.state.side_batches
        merged = merged and self.state.retiring is None
        return merged and all(s.first_fresh_ms is None for s in self.state.segments)

    def finish(self) -> None:
        """Run to the end."""
        self.shown = {n: len(events) for n, events in self.log.items()}
        self.merge()
        while not self.finished:
            self.plan()
            self.run_range(0)
            self.merge()
            self.begin_combine()
            self.end_combine()
            for number in range(len(SINKS)):
                self.write(number)
            self.deliver()
        self._conserve_all()

    def rows(self, sink: str = "fast") -> dict[tuple[int, str], tuple[object, ...]]:
        """Give the final view of one sink."""
        return {name: values for name, (_, values) in self.views[sink].items() if values}
