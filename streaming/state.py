"""The state of a stream: all that a run must know to go on exactly where another one ended."""

import json
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from common.errors import StateVersionError
from common.payloads import Ref
from streaming.alert import Alert
from streaming.ledger import Ledger
from streaming.offset_index import Entry
from streaming.offset_map import SpanList
from streaming.offset_range import OffsetRange
from streaming.packing import PACKED_VERSION, PLAIN_BYTES, pack_state, unpack_state
from streaming.seen import Seen
from streaming.segment import Blob, Segment
from streaming.side_output import SideName, SideOutput
from streaming.tuning import Tuning

STATE_VERSION = 1
FLUSH_CHUNK_ROWS = 50_000

Mode = Literal["running", "paused", "draining", "stopping"]


class _Mutable(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="ignore")


class PartitionState(_Mutable):
    """One partition of the log.

    Attributes:
        cursor: Next offset to merge.
        planned: Next offset to plan; the ranges in between are planned and not merged.
        end: Last stable offset as last observed.
        until: Offset at which this run ends; None is open.
        max_event_ms: Maximum event time merged so far.
        silent_since_ms: Workflow time since when nothing with a valid event time was to be had;
            None after news.
        idle: Whether the partition no longer holds back the watermark.
        cut_ms: Workflow time at which the last range was cut.
        index: What is known of event times before some offsets, for rewinds.
        seen: What de-duplication remembers of the events before the cursor.
        stale: Offsets `[start, stop)` that a rewound raw stream has still to pass, or has passed,
            before the rows of older epochs there go.
        passed: What is known of the event times that de-duplication knew before some offsets: the
            maximum of what passed all steps, exactly.
        written_to: Offset up to which older epochs wrote rows that no rewind has taken back, of a
            raw stream with an identity; 0 where the cursor or `stale` tell.
        rows_from: Events before it are read for what de-duplication has to know; rows of an older
            epoch hold them.
    """

    cursor: int
    planned: int
    end: int
    until: int | None = None
    max_event_ms: int | None = None
    silent_since_ms: int | None = None
    idle: bool = False
    cut_ms: int = 0
    index: list[Entry] = []
    seen: Seen | None = None
    stale: list[tuple[int, int]] = []
    passed: list[Entry] = []
    rows_from: int = 0
    written_to: int = 0

    @property
    def target(self) -> int:
        """Offset up to which there is something to plan."""
        return self.end if self.until is None else min(self.end, self.until)

    @property
    def finished(self) -> bool:
        """Whether a bounded run has merged all of this partition."""
        return self.until is not None and self.cursor >= self.until


class RangeTask(_Mutable):
    """A planned range with everything its result depends on.

    Attributes:
        watermark_ms: The stream's watermark when the range was planned; lateness is judged against
            it.
        now_ms: Workflow time when it was planned; the clock for "too far in the future".
        floor_ms: Windows that begin before it are not computed again; None computes all.
        flush_seq: Flush that its rows go to, of a raw stream; None where windows are flushed.
        key_ranges: Into how many key ranges the state was cut then, and a big partial with it.
        seen: What de-duplication remembers of the events before it.
        inline_bytes: How much of its result travels inline; None for a range that was planned
            before there was a bound.
        rows_from: First offset whose event gives a row, of a raw stream; 0 where all do.
        flush_upto: Last flush that it may go to if it is cut, of a raw stream with an identity.
        waits: Whether it is what a cut left over, and not read yet.
    """

    span: OffsetRange
    epoch: int
    watermark_ms: int | None
    now_ms: int
    floor_ms: int | None = None
    flush_seq: int | None = None
    key_ranges: int = 1
    seen: Seen | None = None
    inline_bytes: int | None = None
    rows_from: int = 0
    flush_upto: int | None = None
    waits: bool = False


class Retirement(_Mutable):
    """Rows of older epochs that go when nothing of the new one has replaced them.

    They are those of windows from `floor_ms` on that end after `after_ms` and up to `until_ms`.

    Attributes:
        since_epoch: First epoch whose rows are meant: the one that was started afresh.
    """

    since_epoch: int
    floor_ms: int
    after_ms: int
    until_ms: int


class OffsetRetirement(_Mutable):
    """Rows of older epochs of a raw stream that go when nothing of the new one has replaced them.

    Attributes:
        first_version: Rows of lower versions are not meant: those of epochs before the last fresh
            start, and of a topic that is gone.
        spans: Where the events of the rows are.
    """

    first_version: int
    spans: SpanList


class Flush(_Mutable):
    """Frozen rows on their way into the sinks.

    Attributes:
        flush_seq: Number of the flush, monotone per stream; it grows on through a rewind.
        rows: All of it, unless there are parts; then only its counts.
        parts: Objects that hold the rows, one after the other.
        chunk_rows: Rows of a chunk; bounds follow from it and the row count.
        sha256: Hash of the frozen bytes, or of what is to be retired.
        epoch: Epoch that it was frozen in; 0 is the stream's, of a flush from before there were
            rewinds.
        retire: Rows of older epochs that go by it; it then has none of its own.
        more: Further tables of its rows, in order; a raw stream's ranges give several.
        complete_ms: A sink that has this flush and all before it holds every window that ended at
            or before this time.
    """

    flush_seq: int
    rows: Blob
    chunk_rows: int
    sha256: str
    epoch: int = 0
    retire: Retirement | OffsetRetirement | None = None
    more: list[Blob] = []
    complete_ms: int | None = None
    parts: list[Blob] = []

    @property
    def tables(self) -> list[Blob]:
        """All tables of its rows, in order."""
        return self.parts or [self.rows, *self.more]


class Retiring(_Mutable):
    """How far a rewound stream has taken back what older epochs wrote.

    Attributes:
        since_epoch: First epoch whose rows are meant.
        until_ms: Latest end of a window that they emitted.
        done_ms: Ends of windows up to which it is frozen; None before the first time.
        step_ms: It goes on when windows have fired for so much longer.
    """

    since_epoch: int
    until_ms: int
    done_ms: int | None = None
    step_ms: int = 0


class SinkCursor(_Mutable):
    """How far one sink got: everything up to `done` is committed there.

    Attributes:
        complete_ms: `complete_ms` of the last flush committed there.
        published_ms: What the sink's readers are told.
        kept_ms: Workflow time at which the sink committed something last, where what it committed
            is forgotten after some quiet days.
    """

    name: str
    done: int = 0
    complete_ms: int | None = None
    published_ms: int | None = None
    kept_ms: int | None = None


class StreamState(_Mutable):
    """All of a stream that outlives a run.

    Attributes:
        version: Version of this format.
        spec_hash: Hash of what changes results; ranges of another one are not merged.
        topic_id: Identity of the topic that the offsets belong to.
        watermark_ms: Never goes back within an epoch; None until every partition that counts has an
            event time.
        planned: Ranges planned and not merged.
        segments: Window state.
        fresh_segments: Segments added since the last combine.
        key_ranges: Into how many ranges of keys big partials and combines are cut; 1 is not cut.
        fired_ms: Up to where windows have fired; None when none has.
        emitted_ms: Latest end of a window emitted since the last fresh start; None when none was.
        floor_ms: Windows that begin before it are those of an older epoch; None in one that was
            started afresh.
        base_epoch: The epoch that was started afresh; 0 when it is this one.
        base_version: Last version of what was written from a topic that is gone; 0 when none is.
        retiring: What older epochs wrote and may have to go; None when nothing has.
        stale_step: Of a raw stream, how many stale offsets are passed before their rows are looked
            at.
        unshown_since_ms: Workflow time since when a stream with early rows has data that no
            emission has shown; None when it has none.
        closing: Whether the stream was seen to be quiet, so that the clock closes what is open.
        closed: Whether it has done so, and nothing came since.
        early_ms: Up to where a pass over windows that have not ended got; None between passes.
        flush_seq: Last flush numbered: frozen, or of a raw stream planned.
        flushes: Flushes that some sink has not committed.
        dead: Dead letters on their way to their topic.
        late: Late events on their way to the topic named in `late.to`.
        mode: What the stream was last told to do.
        reason: Why it is paused.
        started_ms: Workflow time at which this run was started by a person or schedule.
        started_consumed: Records consumed before that, in this epoch.
        garbage: Objects that nothing needs any more.
        tuning: Operational options that somebody changed.
        complete_ms: Every window that ended at or before this time is in a flush.
        combining_bytes: What may travel inline of the merge that runs; a next run begins it anew.
        accepting_loss: Whether somebody asked to go on without what is gone, and it is not yet so.
        alerts: Those that are open, or not yet recorded and told.
        alert_seq: Last alert numbered.
    """

    version: int = STATE_VERSION
    pipeline: str
    spec_hash: str
    epoch: int
    topic: str
    topic_id: str
    partitions: dict[int, PartitionState]
    watermark_ms: int | None = None
    planned: list[RangeTask] = []
    segments: list[Segment] = []
    fresh_segments: int = 0
    key_ranges: int = 1
    fired_ms: int | None = None
    emitted_ms: int | None = None
    floor_ms: int | None = None
    base_epoch: int = 0
    base_version: int = 0
    retiring: Retiring | None = None
    stale_step: int = 0
    unshown_since_ms: int | None = None
    closing: bool = False
    closed: bool = False
    early_ms: int | None = None
    combine_seq: int = 0
    flush_seq: int = 0
    flushed_rows: int = 0
    flushes: list[Flush] = []
    sinks: list[SinkCursor] = []
    dead: SideOutput = SideOutput()
    late: SideOutput = SideOutput()
    garbage: list[Ref] = []
    mode: Mode = "running"
    reason: str = ""
    started_ms: int = 0
    started_consumed: int = 0
    ledger: Ledger = Ledger()
    tuning: Tuning = Tuning()
    accepting_loss: bool = False
    alerts: list[Alert] = []
    alert_seq: int = 0
    complete_ms: int | None = None
    combining_bytes: int = Field(default=0, exclude=True)

    @property
    def bounded(self) -> bool:
        """Whether this run has an end."""
        return any(p.until is not None for p in self.partitions.values())

    def side_output(self, name: SideName) -> SideOutput:
        """Give one of the side outputs."""
        return self.dead if name == "dead" else self.late

    @property
    def side_batches(self) -> int:
        """Batches that wait for the side output that is furthest behind."""
        return max(len(self.dead.waiting), len(self.late.waiting))

    def encode(self) -> str:
        """Write the state as JSON; a big one is packed, with references to objects in clear."""
        text = self.model_dump_json()
        if len(text) <= PLAIN_BYTES:
            return text
        return json.dumps(pack_state(json.loads(text)), separators=(",", ":"))

    @model_validator(mode="before")
    @classmethod
    def _gather_dead(cls, values: object) -> object:
        """Read dead letters in the form that version 1 writes: beside each other, not nested."""
        if not isinstance(values, dict) or not isinstance(values.get("dead"), list):
            return values
        moved = {"dead", "dead_sequence", "dead_upto"}
        dead = {
            "waiting": values["dead"],
            "sequence": values.get("dead_sequence", 0),
            "upto": values.get("dead_upto", 0),
        }
        return {**{name: values[name] for name in values if name not in moved}, "dead": dead}

    @model_serializer(mode="wrap")
    def _spread_dead(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        dead = values["dead"]
        return {
            **values,
            "dead": dead["waiting"],
            "dead_sequence": dead["sequence"],
            "dead_upto": dead["upto"],
        }


def decode_state(text: str | bytes) -> StreamState:
    """Read a state of this or an older version.

    Raises:
        StateVersionError: It was written by a newer version.
    """
    envelope = _Envelope.model_validate_json(text)
    if envelope.packed is None:
        _require_version(envelope.version, STATE_VERSION)
        return StreamState.model_validate_json(text)
    _require_version(envelope.version, PACKED_VERSION)
    values = unpack_state(json.loads(text))
    _require_version(values["version"], STATE_VERSION)
    return StreamState.model_validate_json(json.dumps(values))


def _require_version(version: int, newest: int) -> None:
    if version > newest:
        raise StateVersionError(
            f"stream state: expected version {newest} or older, got {version}; "
            "run a worker at least as new as the one that wrote it"
        )


class _Envelope(BaseModel):
    version: int
    packed: str | None = None
