"""Deliver what a stream froze: flushes into sinks, side outputs into topics or a table."""

from collections.abc import Callable, Mapping

import polars as pl
from temporalio import activity

from activities.blob import thaw
from activities.flush_rows import chunks
from activities.heartbeat import with_heartbeats
from activities.late_table import write_late_events
from activities.ports import (
    FlushChunk,
    FlushSink,
    Progress,
    RecordSink,
    RetiredEvents,
    RetiredRows,
    SinkColumn,
    SinkTable,
)
from activities.stream_io import (
    Done,
    PublishInput,
    RefreshInput,
    SideOutputInput,
    WriteFlushInput,
)
from common.names import dead_letter_topic, dead_letter_writer, late_event_writer
from common.payloads import ObjectStore
from contracts.field_type import FieldType
from pipelines.stream import BY_CLOCK, EPOCH_BITS, SinkSpec, StreamSpec
from streaming.chunk_span import chunk_count
from streaming.combine import TIMESTAMP, WINDOW_END, WINDOW_START
from streaming.plan import StreamPlan, compile_stream
from streaming.raw_row import raw_columns
from streaming.side_record import SCHEMA
from streaming.state import OffsetRetirement, Retirement

SinkOpener = Callable[[str], FlushSink]


class StreamSinkActivities:
    """Writes under names: doing one twice is doing it once."""

    def __init__(self, store: ObjectStore, open_sink: SinkOpener, topics: RecordSink) -> None:
        self._store = store
        self._open_sink = open_sink
        self._topics = topics

    @activity.defn(name="sink.write_flush")
    @with_heartbeats
    async def write_flush(self, task: WriteFlushInput) -> Done:
        """Write one frozen flush into one sink, chunk by chunk, or retire what it names."""
        if task.flush.retire is not None:
            return await self._retire(task, task.flush.retire)
        table = sink_table(task.spec, task.sink)
        sink = self._open_sink(task.sink.kind)
        count, written = chunk_count(task.flush), 0
        async for number, rows in chunks(self._store, task.flush, task.chunks):
            chunk = FlushChunk(
                stream=task.spec.name,
                epoch=task.epoch,
                flush_seq=task.flush.flush_seq,
                chunk=number,
                chunk_count=count,
                sha256=task.flush.sha256,
                complete_ms=task.flush.complete_ms,
            )
            version = pl.lit(chunk.version, pl.Int64).alias("_version")
            await sink.write(table, chunk, rows.with_columns(version).to_arrow())
            written += rows.height
        return Done(count=written)

    async def _retire(self, task: WriteFlushInput, what: Retirement | OffsetRetirement) -> Done:
        chunk = FlushChunk(
            task.spec.name, task.epoch, task.flush.flush_seq, 0, 1, task.flush.sha256
        )
        rows: RetiredRows | RetiredEvents
        if isinstance(what, OffsetRetirement):
            rows = RetiredEvents(what.first_version, tuple(what.spans))
        else:
            rows = RetiredRows(what.since_epoch, what.floor_ms, what.after_ms, what.until_ms)
        sink = self._open_sink(task.sink.kind)
        await sink.retire(sink_table(task.spec, task.sink), chunk, rows)
        return Done()

    @activity.defn(name="sink.publish_progress")
    @with_heartbeats
    async def publish_progress(self, task: PublishInput) -> Done:
        """Tell a sink's readers up to where it is whole, when no rows say so."""
        progress = Progress(task.epoch, task.complete_ms, task.epoch << EPOCH_BITS | task.flush_seq)
        sink = self._open_sink(task.sink.kind)
        await sink.publish(sink_table(task.spec, task.sink), progress)
        return Done(count=1)

    @activity.defn(name="sink.refresh_offset")
    @with_heartbeats
    async def refresh_offset(self, task: RefreshInput) -> Done:
        """Let a sink commit its version again, before what keeps it forgets it."""
        sink = self._open_sink(task.sink.kind)
        version = task.epoch << EPOCH_BITS | task.flush_seq
        await sink.refresh(sink_table(task.spec, task.sink), version)
        return Done(count=1)

    @activity.defn(name="stream.deliver_dead_letters")
    @with_heartbeats
    async def deliver_dead_letters(self, task: SideOutputInput) -> Done:
        """Append a batch of dead letters to `<topic>.dlq`, once."""
        writer = dead_letter_writer(task.pipeline, task.epoch)
        return await self._deliver(task, writer, dead_letter_topic(task.topic))

    @activity.defn(name="stream.deliver_late_events")
    @with_heartbeats
    async def deliver_late_events(self, task: SideOutputInput) -> Done:
        """Put a batch of late events where `late.to` says, into a topic or a table, once."""
        if task.table is not None:
            sink = self._open_sink(task.table.kind)
            return await write_late_events(self._store, sink, task, task.table)
        return await self._deliver(task, late_event_writer(task.pipeline, task.epoch), task.to)

    async def _deliver(self, task: SideOutputInput, writer: str, topic: str) -> Done:
        records = []
        for batch in task.batch:
            frame = await thaw(self._store, batch.records)
            records += [_record(task, row) for row in frame.iter_rows(named=True)]
        await self._topics.write_once(writer, topic, task.batch[-1].sequence, records)
        return Done(count=len(records))


def sink_table(spec: StreamSpec, sink: SinkSpec) -> SinkTable:
    """Describe a sink's table from the stream's specification."""
    plan = compile_stream(spec)
    if spec.raw:
        return _raw_table(plan, sink)
    columns = [SinkColumn(WINDOW_START, TIMESTAMP), SinkColumn(WINDOW_END, TIMESTAMP)]
    columns += [SinkColumn(name, kind) for name, kind in plan.keys]
    columns += [SinkColumn(aggregate.column, aggregate.type) for aggregate in plan.aggregates]
    if spec.event_time.close_after_ms is not None:
        columns.append(SinkColumn(BY_CLOCK, FieldType("bool")))
    return SinkTable(
        stream=spec.name,
        name=sink.table,
        columns=tuple(columns),
        retention_ms=sink.retention_ms,
        compress_after_ms=sink.compress_after_ms,
    )


def _raw_table(plan: StreamPlan, sink: SinkSpec) -> SinkTable:
    """Describe a table of events.

    The position of an event settles its event time, so both together identify it; an event id does
    not, so it stands alone.
    """
    at = plan.spec.event_time.field
    return SinkTable(
        stream=plan.spec.name,
        name=sink.table,
        columns=tuple(SinkColumn(name, kind) for name, kind in raw_columns(plan).items()),
        identity=() if plan.spec.identity else (at,),
        time=at,
        recurring_key=False,
        retention_ms=sink.retention_ms,
        compress_after_ms=sink.compress_after_ms,
    )


Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


def _record(task: SideOutputInput, row: Mapping[str, object]) -> Record:
    headers = {
        **{name: value for name, value in row.items() if name not in SCHEMA},
        "topic": task.topic,
        "partition": row["partition"],
        "offset": row["offset"],
        "pipeline": task.pipeline,
    }
    encoded = [(name, str(value).encode()) for name, value in headers.items()]
    key, value = row["key"], row["value"]
    assert key is None or isinstance(key, bytes)  # noqa: S101 - a binary column
    assert value is None or isinstance(value, bytes)  # noqa: S101 - a binary column
    return key, value, encoded
