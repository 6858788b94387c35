"""The typed specification of a stream, after its YAML was checked."""

import hashlib
from typing import Literal

from common.payloads import Model
from contracts.contract import PinnedContract
from pipelines.transform import PythonCall, Step

EPOCH_BITS = 40

BY_CLOCK = "closed_by_clock"
"""Column of streams with `close_after`: whether the clock closed the row's window."""

_LATER = frozenset({"identity", "late_table", "transform", "deduplicate", "contract"})
"""Options of a stream that came after states had been saved."""

POSITION = ("_topic", "_partition", "_offset")
"""Columns of a raw stream's rows that say where the event stands in the log."""

ELEMENT = "_element"
"""Column beside them of a raw stream that expands its records: the place of the row among those of
its record, from 0."""

MOST_RECORDS = 2_000_000
MOST_PARALLELISM = 64
MOST_FLUSHES = 16
"""Bounds of operational options; what is in flight and what waits travels in one payload."""

SinkKindName = Literal["clickhouse", "timescaledb", "postgres", "kafka", "lake"]
TARGET_OPTION: dict[str, str] = {"kafka": "topic", "lake": "path"}
"""The word by which a file names the target of a sink; `table` where none is given here."""


class EventTime(Model):
    """When a record happened, and how long to wait for others.

    Attributes:
        field: Name of the field that holds the event time.
        out_of_orderness_ms: Bound of disorder within one partition.
        idle_timeout_ms: A partition without news for this long no longer holds back the watermark;
            None is never.
        max_ahead_ms: An event time further than this after "now" is a dead letter.
        max_drift_ms: A partition further than this ahead of the slowest with unread data waits.
        close_after_ms: Quiet time after which windows close by the clock; None is never.
    """

    field: str
    out_of_orderness_ms: int = 0
    idle_timeout_ms: int | None = 30_000
    max_ahead_ms: int = 3_600_000
    max_drift_ms: int | None = None
    close_after_ms: int | None = None


class Window(Model):
    """A window in integer milliseconds, `[start, end)`; `size_ms` is the gap of a session.

    Attributes:
        slide_ms: Distance of window starts; None for tumbling and session windows.
        offset_ms: Shift of the alignment from the epoch.
        timezone: Zone whose days a window of whole days follows.
        max_length_ms: Distance of the cuts, aligned to the epoch, at which sessions also end.
    """

    kind: Literal["tumbling", "sliding", "session"]
    size_ms: int
    slide_ms: int | None = None
    offset_ms: int = 0
    timezone: str | None = None
    max_length_ms: int | None = None


class Late(Model):
    """What happens to late events."""

    allowed_ms: int = 0
    to: str | None = None


class Trigger(Model):
    """When a range is cut: after `interval_ms`, or when `max_records` wait in a partition."""

    interval_ms: int = 1_000
    max_records: int = 100_000


class Bounds(Model):
    """Bounds of work in flight, section `limits` of the file; none of them changes a result.

    Attributes:
        parallelism: Whole ranges in flight, over all partitions.
        max_pending_flushes: Flushes that wait for a sink before planning is held back.
    """

    parallelism: int = 8
    max_pending_flushes: int = 8


class SinkSpec(Model):
    """One sink of a stream.

    Attributes:
        kind: What the target is.
        table: Name of the target: a table, whose readers use the view `<table>_final`, a topic of
            `kafka`, or a path of `lake`.
        retention_ms: Age after which TimescaleDB drops chunks.
        compress_after_ms: Age after which TimescaleDB compresses chunks.
    """

    kind: SinkKindName
    table: str
    retention_ms: int | None = None
    compress_after_ms: int | None = None

    @property
    def name(self) -> str:
        """Name the sink within its stream."""
        return f"{self.kind}:{self.table}"


class Deduplicate(Model):
    """Which events are dropped because one before them was the same.

    Attributes:
        by: Columns whose values make two events the same; null is a value, too.
        within_ms: How far, in event time, the one before may be behind the latest of its partition.
    """

    by: list[str]
    within_ms: int


class StreamSpec(Model):
    """A stream as its file declares it; defaults filled in, durations in milliseconds.

    Attributes:
        fields: Types of the record's fields as written (`decimal(12,2)`, `string?`).
        aggregate: Output column to aggregate expression, in output order.
        transform: Further steps, after `where` and `derive`, in this order.
        emit_updates_ms: Interval of early emissions; None emits final rows only.
        contract: What the contract that gave the fields says of their values.
        identity: Columns that identify an event of a raw stream; none is its position in the log.
        late_table: Table that late events go to, where it is no topic.
        deduplicate: Which events are dropped as duplicates; None keeps all.
    """

    kind: Literal["stream"] = "stream"
    name: str
    description: str = ""
    owner: str = ""
    topic: str
    format: Literal["json"] = "json"
    fields: dict[str, str]
    event_time: EventTime
    where: str | PythonCall | None = None
    derive: dict[str, str | PythonCall] = {}
    transform: list[Step] = []
    group_by: list[str] = []
    window: Window | None = None
    aggregate: dict[str, str] = {}
    late: Late = Late()
    emit_updates_ms: int | None = None
    sinks: list[SinkSpec]
    trigger: Trigger = Trigger()
    identity: list[str] = []
    limits: Bounds = Bounds()
    late_table: SinkSpec | None = None
    deduplicate: Deduplicate | None = None
    contract: PinnedContract | None = None

    @property
    def raw(self) -> bool:
        """Whether every event goes to the sinks as it is, without windows."""
        return self.window is None

    @property
    def keeps_late(self) -> bool:
        """Whether late events go somewhere."""
        return self.late.to is not None or self.late_table is not None

    def result_hash(self) -> str:
        """Hash what changes results: all but what is operational or housekeeping.

        Neither does the version of a contract whose fields and rules stay the same. An option that
        came later and is not used leaves the hash as it was before.
        """
        housekeeping = {"__all__": {"retention_ms", "compress_after_ms"}}
        fields = type(self).model_fields
        unused = {name for name in _LATER if getattr(self, name) == fields[name].default}
        uncut = self.window is not None and self.window.max_length_ms is None
        content = self.model_dump_json(
            exclude={
                "kind": True,
                "description": True,
                "owner": True,
                "trigger": True,
                "limits": True,
                "sinks": housekeeping,
                **({"window": {"max_length_ms"}} if uncut else {}),
                **({"contract": {"version"}} if self.contract else {}),
                **dict.fromkeys(unused, True),
            }
        )
        return hashlib.sha256(content.encode()).hexdigest()[:16]
