"""What a stream tells about itself."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer

from common.payloads import Model
from streaming.ledger import Ledger
from streaming.offset_map import PLAIN_PARTITIONS, OffsetMap
from streaming.packing import pack_columns, unpack_columns
from streaming.tuning import Operation

StreamState = Literal[
    "starting", "running", "paused", "draining", "stopping", "completed", "drained", "stopped"
]

Outcome = Literal["completed", "drained", "stopped"]


class PartitionStatus(Model):
    """Where one partition stands.

    Attributes:
        offset: Next one to merge.
        lag: Offsets from there to `end`.
    """

    partition: int
    offset: int
    end: int
    lag: int
    watermark_ms: int | None = None
    idle: bool = False


def _write(partitions: list[PartitionStatus]) -> list[PartitionStatus] | str:
    if len(partitions) <= PLAIN_PARTITIONS:
        return partitions
    names = PartitionStatus.model_fields
    return pack_columns([[getattr(p, name) for p in partitions] for name in names])


def _read(value: Any) -> Any:  # noqa: ANN401 - whatever came, to be validated
    if not isinstance(value, str):
        return value
    names = PartitionStatus.model_fields
    rows = zip(*unpack_columns(value, len(names)), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


PartitionList = Annotated[
    list[PartitionStatus], BeforeValidator(_read), PlainSerializer(_write, when_used="json")
]
"""Partitions; in JSON those of a topic of many are packed."""


class SinkStatus(Model):
    """How far one sink got: the last flush it committed and how many wait.

    Attributes:
        complete_through_ms: Every window that ended at or before this time is whole in this sink.
    """

    sink: str
    flush_seq: int
    pending: int
    error: str | None = None
    complete_through_ms: int | None = None


class StreamStatus(Model):
    """The answer to the query `status`.

    Attributes:
        reason: Why the stream is in this state, or what it waits for; empty when all is well.
        target_lag: Offsets still to read up to `until` (bounded run) or to the ends last seen.
        events_per_second: Records merged per second of workflow time since this run of the stream
            was started.
        flushed_rows: Rows of all flushes frozen in this epoch.
        flush_seq: Last flush frozen.
        started_ms: Workflow time at which the stream was started, milliseconds since the epoch.
        floor_ms: Windows that begin before it are those of an older epoch; None in an epoch that
            was started afresh.
        operation: Operational options in force; None before the stream was opened.
        complete_through_ms: Every window that ended at or before this time is whole in every sink.
    """

    pipeline: str
    state: StreamState
    reason: str = ""
    epoch: int = 0
    floor_ms: int | None = None
    bounded: bool = False
    watermark_ms: int | None = None
    partitions: PartitionList = []
    target_lag: int = 0
    open_windows: int = 0
    pending_flushes: int = 0
    flush_seq: int = 0
    flushed_rows: int = 0
    sinks: list[SinkStatus] = []
    events_per_second: float = 0.0
    started_ms: int = 0
    now_ms: int = 0
    ledger: Ledger = Ledger()
    operation: Operation | None = None
    complete_through_ms: int | None = None


class StreamFrom(Model):
    """Where a fresh stream begins.

    `earliest`, `latest`, or the first records at or after a record time.
    """

    kind: Literal["earliest", "latest", "time"] = "earliest"
    time_ms: int | None = None


class StreamUntil(Model):
    """Where a bounded run ends; pinned to offsets when the run starts.

    `latest` pins the ends at the start, `time` the first offsets at or after a record time,
    `offsets` names them.
    """

    kind: Literal["latest", "time", "offsets"] = "latest"
    time_ms: int | None = None
    offsets: OffsetMap | None = None


class RewindTo(Model):
    """Where a stream is to compute again from: a time, or offsets of some partitions."""

    time_ms: int | None = None
    offsets: OffsetMap | None = None


class Rewound(Model):
    """What a rewind came to.

    Attributes:
        epoch: The new one.
        floor_ms: Windows that begin at or after it are computed again; None of a raw stream.
        offsets: Where each partition is read from again.
        rows_from: Of a raw stream, from which offsets on events are written again.
    """

    epoch: int
    floor_ms: int | None
    offsets: OffsetMap
    rows_from: OffsetMap = {}


class StreamResult(Model):
    """How a run of a stream ended.

    Attributes:
        events: Records consumed since this run was started; the ledger is of the whole epoch.
    """

    state: Outcome
    epoch: int
    ledger: Ledger
    events: int = 0
    flush_seq: int
    flushed_rows: int
    watermark_ms: int | None = None
    elapsed_ms: int = 0
