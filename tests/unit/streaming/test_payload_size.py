"""Every payload of a stream at the limits that are accepted, measured as it would travel.

Results are as big as they may be, their bytes do not compress, and no sink commits anything for as
long as something is planned.
"""

import dataclasses
import random
from collections import defaultdict

import pytest

from activities import stream_io
from common.errors import UsageError
from common.payloads import Ref
from common.payloads_converter import BoundedPayloadConverter
from pipelines.stream import Bounds, Deduplicate, Late, SinkSpec, StreamSpec, Trigger
from streaming.key_merge import part_of
from streaming.key_range import lanes
from streaming.ledger import Ledger
from streaming.loss import LogSurvey
from streaming.offset_index import Entry, at_most
from streaming.plan import compile_stream
from streaming.planner import limits_of, plan_ranges
from streaming.progress import (
    CombineResult,
    CombineTask,
    RangeResult,
    merge_next,
    next_combine,
    take_combined,
    take_delivered,
    take_flushed,
)
from streaming.raw_retirement import expect_rows, retire_passed
from streaming.report import stream_status
from streaming.retirement import settle_below
from streaming.rewind import Rewind, require_room
from streaming.room import (
    MOST_DEDUPLICATED,
    MOST_PARTITIONS,
    PAYLOAD_BYTES,
    seen_inline_bytes,
    seen_tables,
)
from streaming.seen import Seen, SeenTable
from streaming.segment import Blob, Segment
from streaming.side_output import BATCH_ROWS, SideName
from streaming.state import (
    PartitionState,
    RangeTask,
    Retiring,
    SinkCursor,
    StreamState,
    decode_state,
)
from streaming.status import RewindTo, Rewound, StreamUntil
from tests.unit.streaming.event_log import make_spec
from workflows.garbage import MOST, leave_to_sweep
from workflows.stream_input import StreamInput

pytestmark = pytest.mark.timeout(300)

NOW_MS = 1_780_000_000_000
DAY_MS = 86_400_000


@dataclasses.dataclass(frozen=True)
class Case:
    """A stream at some of its limits.

    Attributes:
        far: Share of the tables that travel by reference though they need not.
        unread: Records that each partition has.
        window: Whether it has windows; else it is raw.
        dead: Whether every range has dead letters; they hold it back before there are many flushes.
        rewound: Whether it was taken back, and is still on its way to where it was.
    """

    partitions: int
    unread: int
    window: bool = True
    late: bool = False
    dead: bool = True
    deduplicate: bool = False
    max_records: int = 100_000
    sinks: int = 4
    far: float = 0.2
    rewound: bool = False


CASES = {
    "thousands of quiet partitions": Case(MOST_PARTITIONS, 3, late=True),
    "thousands of full partitions": Case(MOST_PARTITIONS, 10**6, late=True),
    "few partitions with big ranges": Case(4, 10**7, late=True, max_records=2_000_000),
    "flushes of thousands of partitions": Case(MOST_PARTITIONS, 10**6, dead=False, far=0),
    "flushes of few partitions": Case(8, 500, dead=False, far=0, max_records=20),
    "small ranges": Case(64, 500, late=True, max_records=200, sinks=12),
    "without duplicates": Case(MOST_DEDUPLICATED, 5_000, late=True, deduplicate=True),
    "rewound of thousands of partitions": Case(
        MOST_PARTITIONS, 10**6, dead=False, far=0, rewound=True
    ),
    "rewound without duplicates": Case(
        MOST_DEDUPLICATED, 5_000, late=True, deduplicate=True, rewound=True
    ),
    "raw and rewound, of thousands of partitions": Case(
        MOST_PARTITIONS, 10**6, window=False, rewound=True
    ),
    "raw and rewound, without duplicates": Case(
        MOST_DEDUPLICATED, 50_000, window=False, deduplicate=True, rewound=True
    ),
    "raw of thousands of partitions": Case(MOST_PARTITIONS, 50, window=False),
    "raw without duplicates": Case(MOST_DEDUPLICATED, 50_000, window=False, deduplicate=True),
}


class Worst:
    """A stream whose every answer is as big as it may be.

    Attributes:
        sizes: Largest size of each kind of payload, in bytes.
    """

    def __init__(self, case: Case, seed: int) -> None:
        self.case, self.chance = case, random.Random(seed)
        self.spec = self._spec()
        self.windows = compile_stream(self.spec).windowing
        self.sizes: dict[str, int] = defaultdict(int)
        self._convert = BoundedPayloadConverter()
        self.state = self._state()

    def _spec(self) -> StreamSpec:
        case = self.case
        sinks = [SinkSpec(kind="clickhouse", table=f"sales_{n:03}") for n in range(case.sinks)]
        changes: dict[str, object] = {
            "name": "s" * 63,
            "sinks": sinks,
            "limits": Bounds(parallelism=64, max_pending_flushes=16),
            "trigger": Trigger(interval_ms=0, max_records=case.max_records),
        }
        if case.late:
            changes["late"] = Late(to="late-events")
        if case.deduplicate:
            changes["deduplicate"] = Deduplicate(by=["customer"], within_ms=DAY_MS)
        if not case.window:
            changes |= {"window": None, "aggregate": {}, "group_by": []}
        return make_spec(1_000, case.max_records).model_copy(update=changes)

    def _state(self) -> StreamState:
        chance = self.chance
        state = StreamState(
            pipeline=self.spec.name, spec_hash="0123456789abcdef", epoch=123, topic=self.spec.topic,
            topic_id="AAAAAAAAAAAAAAAAAAAAAA", partitions={}, key_ranges=1,
            sinks=[SinkCursor(name=s.name, complete_ms=NOW_MS) for s in self.spec.sinks],
            watermark_ms=NOW_MS, fired_ms=NOW_MS, emitted_ms=NOW_MS, floor_ms=0, base_epoch=100,
            retiring=Retiring(since_epoch=100, until_ms=NOW_MS, done_ms=NOW_MS),
        )  # fmt: skip
        for number in range(self.case.partitions):
            cursor = chance.randrange(10**9, 10**10)
            state.partitions[number] = PartitionState(
                cursor=cursor, planned=cursor, end=cursor + self.case.unread, index=self.entries(),
                max_event_ms=NOW_MS - chance.randrange(DAY_MS), idle=chance.random() < 0.5,
                silent_since_ms=NOW_MS - chance.randrange(DAY_MS // 10),
                cut_ms=NOW_MS - chance.randrange(DAY_MS // 10),
            )  # fmt: skip
        for number in range(self.case.partitions if self.case.deduplicate else 0):
            limits = (seen_inline_bytes(state), seen_tables(state))
            state.partitions[number].seen = self.seen(number, None, *limits)
            state.partitions[number].passed = self.entries()[::2]
        if self.case.rewound:
            self.take_back(state)
        return state

    def entries(self) -> list[Entry]:
        """Give as much as a partition notes of event times before some offsets."""
        chance = self.chance
        return sorted(
            (chance.randrange(10**9, 10**10), NOW_MS - chance.randrange(30 * DAY_MS))
            for _ in range(at_most(self.case.partitions))
        )

    def take_back(self, state: StreamState) -> None:
        """Let each partition be between where it was taken back to and where it stood."""
        chance = self.chance
        for partition in state.partitions.values():
            known_ms = NOW_MS + chance.randrange(DAY_MS)
            partition.end += chance.randrange(10**9)
            begun = partition.cursor - chance.randrange(1, 10**9)
            most = max(2, at_most(self.case.partitions))
            partition.index = [*partition.index, (begun, known_ms)][-most:]
            partition.rows_from = partition.cursor + 10**6 if self.case.deduplicate else 0
            partition.stale = [] if self.spec.window else [(begun, partition.end)]
        if self.spec.raw:
            assert retire_passed(state)
        with pytest.raises(UsageError, match="wait for"):
            self.take_back_again(state, times=100)
        assert len(state.flushes) >= 2

    def take_back_again(self, state: StreamState, times: int) -> None:
        """Get on a little, and let each partition begin there, again and again; sinks are down.

        A third rewind of thousands of partitions left more behind than a payload has room for.
        """
        chance = self.chance
        for _ in range(times):
            for partition in state.partitions.values():
                partition.cursor = partition.planned = partition.cursor + chance.randrange(1, 10**6)
                partition.end += 10**6
            since = {n: p.cursor for n, p in state.partitions.items()}
            floor_ms = (
                None if self.spec.raw else (state.floor_ms or 0) + chance.randrange(1, DAY_MS)
            )
            require_room(state, self.spec, Rewind(floor_ms, since, since))
            if floor_ms is None:
                expect_rows(state, since, takes_back=True)
            else:
                state.retiring = Retiring(since_epoch=100, until_ms=NOW_MS)
                settle_below(state, self.windows, floor_ms)
                state.floor_ms = floor_ms

    def travel(self, kind: str, value: object) -> None:
        """Measure a value as a payload."""
        [payload] = self._convert.to_payloads([value])
        self.sizes[kind] = max(self.sizes[kind], len(payload.data))

    def ref(self, what: str) -> Ref:
        digest = self.chance.randbytes(32).hex()
        run = "0193a5c8-11d2-7c31-9d1e-0123456789ab"
        folder = f"streams/{self.spec.name}/e000123/run-{run}/{what}"
        return Ref(key=f"{folder}-{digest[:16]}.arrow", sha256=digest, size_bytes=10**7)

    def table(self, what: str, inline_bytes: int, rows: int = 1_000) -> Blob:
        """Make a table that is as big as may travel inline, or is far above it."""
        if inline_bytes < 1_000 or self.chance.random() < self.case.far:
            return Blob(row_count=rows, size_bytes=10**6, ref=self.ref(what))
        content = self.chance.randbytes(inline_bytes)
        return Blob(row_count=rows, size_bytes=inline_bytes, inline=content)

    def seen(self, number: int, known: Seen | None, inline_bytes: int, most: int) -> Seen:
        """Give what a range leaves: full tables as they were, and a new one."""
        what = f"range-{number}-4000000000-4000100000-seen"
        kept = known.tables[:-1] if known is not None else []
        while len(kept) < most - 1:
            kept.append(SeenTable(blob=self.table(what, 0), newest_ms=NOW_MS))
        last = SeenTable(blob=self.table(what, inline_bytes), newest_ms=NOW_MS)
        return Seen(max_event_ms=NOW_MS, tables=[*kept, last])

    def answer(self, given: stream_io.AggregateInput, task: RangeTask) -> RangeResult:
        """Give the biggest result of a range."""
        span, share = task.span, task.inline_bytes or 0
        what = f"range-{span.partition}-{span.start}-{span.stop}"
        side, count = min(4_096, share // 8), span.stop - span.start
        late = [self.table(f"{what}-late", 0) for _ in range(count // BATCH_ROWS)]
        blob = self.table(
            f"{what}-rows0", min(32_768 if self.spec.window else 4_096, share - 2 * side)
        )
        at_ms = NOW_MS - self.chance.randrange(DAY_MS)
        segment = Segment(blob=blob, first_pane_ms=at_ms, last_pane_ms=NOW_MS, first_fresh_ms=at_ms)
        return RangeResult(
            span=span, epoch=123, max_event_ms=at_ms,
            ledger=Ledger(consumed=count, aggregated=count),
            dead=self.table(f"{what}-dead", side) if self.case.dead else None,
            late=[*late, self.table(f"{what}-late", side)] if self.case.late else [],
            segment=segment if self.spec.window else None,
            rows=[] if self.spec.window else [blob, *(self.table(what, 0) for _ in late)],
            seen=self.seen(span.partition, task.seen, given.seen_inline_bytes, given.seen_tables)
            if given.spec.deduplicate
            else None,
            timings_us={"fetch": 10**7, "decode": 10**7, "aggregate": 10**7, "merge": 10**7},
        )  # fmt: skip

    def read(self) -> bool:
        """Plan what may be planned, and merge all of it; tells whether there was something."""
        state, spec = self.state, self.spec
        batches = plan_ranges(state, spec, limits_of(spec), NOW_MS).batches
        self.carry()
        results: dict[tuple[int, int], RangeResult] = {}
        for batch in batches:
            given = stream_io.AggregateInput(
                spec=spec, topic_id=state.topic_id, tasks=batch, run_id="0" * 36,
                seen_inline_bytes=seen_inline_bytes(state), seen_tables=seen_tables(state),
            )  # fmt: skip
            self.travel("ranges", given)
            answers = [self.answer(given, task) for task in batch]
            answers[-1] = answers[-1].model_copy(
                update={"ends": {n: p.end for n, p in state.partitions.items()}}
            )
            self.travel("results", stream_io.AggregateResult(results=answers))
            results |= {(one.span.partition, one.span.start): one for one in answers}
        merge_next(state, spec, results, NOW_MS)
        assert not results
        if not spec.window:
            retire_passed(state)
        self.carry()
        return bool(batches)

    def merge(self) -> bool:
        """Merge what is due, to as much as may come of it."""
        state, spec = self.state, self.spec
        state.partitions[0].max_event_ms = NOW_MS
        task = next_combine(state, spec, self.windows)
        if task is None:
            return False
        given = stream_io.CombineInput(spec=spec, epoch=123, task=task, run_id="0" * 36)
        if not task.inline and task.key_ranges == 1:
            self.travel("merge", given)
        for span in lanes(task.segments, task.key_ranges) if task.key_ranges > 1 else []:
            part = part_of(task, span)
            self.travel(
                "merge", stream_io.KeyCombineInput(spec=spec, epoch=123, task=part, keys=span)
            )
        result = self.merged(task)
        self.travel("merged", result)
        take_combined(state, task, result)
        self.carry()
        return True

    def merged(self, task: CombineTask) -> CombineResult:
        """Give the biggest result of a merge."""
        size = sum(segment.blob.size_bytes for segment in task.segments)
        kept, rows = task.kept_inline_bytes, task.rows_inline_bytes
        if task.inline:
            assert task.rows_beside_bytes is not None
            kept, rows = size // 2, size + task.rows_beside_bytes
        what = f"combine-{task.name_seq}"
        segment = Segment(
            blob=self.table(f"{what}-kept", kept), first_pane_ms=NOW_MS, last_pane_ms=NOW_MS
        )
        emitted = self.table(f"{what}-rows", rows)
        parts: list[Blob] = []
        if task.key_ranges > 1:
            parts = [self.table(f"{what}-{n}", 0) for n in range(16)]
            emitted = Blob(row_count=1, size_bytes=1)
        return CombineResult(kept=segment, emitted=emitted, emitted_sha256="0" * 64, parts=parts)

    def carry(self) -> None:
        """Hand the state to the next run, as it is at this moment."""
        state = self.state.model_copy(update={"garbage": list(self.state.garbage)})
        leave_to_sweep(state)
        text = state.encode()
        self.travel("carried", StreamInput(spec=self.spec, carried=text))
        self.travel("opened", stream_io.OpenResult(state=text, notes=["a note of a sink"] * 20))
        self.travel("saved", stream_io.SaveInput(pipeline="p", epoch=1, owner="0" * 36, state=text))

    def deliver(self) -> None:
        """Let the sinks have what waits, and release what nobody needs."""
        state, spec = self.state, self.spec
        for sink in spec.sinks:
            for flush in state.flushes:
                work = stream_io.WriteFlushInput(spec=spec, epoch=123, sink=sink, flush=flush)
                self.travel("flush", work)
        for flush in list(state.flushes):
            for sink in spec.sinks:
                take_flushed(state, sink.name, flush.flush_seq)
        names: tuple[SideName, ...] = ("dead", "late")
        for name in names:
            while batch := state.side_output(name).next_batches():
                delivery = stream_io.SideOutputInput(
                    pipeline="p", topic=state.topic, epoch=1, batch=batch, to="late-events"
                )
                self.travel("side output", delivery)
                take_delivered(state, name, batch[-1].sequence)
        while state.garbage:
            self.travel("released", stream_io.ReleaseInput(refs=state.garbage[:MOST]))
            del state.garbage[:MOST]

    def steer(self) -> None:
        """Everything that goes by partition."""
        state = self.state
        assert decode_state(state.encode()) == state
        ends = {n: p.end for n, p in state.partitions.items()}
        self.travel("status", stream_status(self.spec, self.windows, state, {}, NOW_MS))
        self.travel("survey", LogSurvey(topic_id="t", start=ends, end=ends))
        self.travel("ends", stream_io.WaitResult(ends=ends))
        self.travel("claimed", stream_io.ClaimResult(epoch=1, starts=ends))
        self.travel("rewound", Rewound(epoch=1, floor_ms=0, offsets=ends))
        rewind, until = RewindTo(offsets=ends), StreamUntil(kind="offsets", offsets=ends)
        self.travel("rewind", rewind)
        self.travel("started", StreamInput(spec=self.spec, until=until, rewind=rewind))
        wait = stream_io.WaitInput(topic="t", topic_id="t", cursors=ends, timeout_ms=1)
        self.travel("waits", wait)


@pytest.mark.parametrize("name", CASES)
def test_no_payload_is_above_256_kb_at_the_limits(name: str) -> None:
    worst = Worst(CASES[name], seed=1)
    for _ in range(2):
        for _ in range(20):
            read = worst.read()
            merged = worst.spec.window is not None and worst.merge()
            if not read and not merged:
                break
        worst.deliver()
    worst.steer()
    assert {kind: size for kind, size in worst.sizes.items() if size > PAYLOAD_BYTES} == {}
    assert worst.state.combine_seq or not worst.spec.window
