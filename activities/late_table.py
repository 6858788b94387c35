"""A table of late events: its description, and how a batch gets into it."""

import hashlib

import polars as pl

from activities.blob import thaw
from activities.ports import FlushChunk, FlushSink, SinkColumn, SinkTable
from activities.stream_io import Done, SideOutputInput
from common.payloads import ObjectStore
from pipelines.stream import SinkSpec
from streaming.late_row import COLUMNS, EVENT_TIME, late_rows


def late_table(stream: str, target: SinkSpec) -> SinkTable:
    """Describe a table of late events, whose time may be one that no table holds."""
    return SinkTable(
        stream=stream,
        name=target.table,
        columns=tuple(SinkColumn(name, kind) for name, kind in COLUMNS.items()),
        identity=(),
        time=EVENT_TIME,
        recurring_key=False,
    )


async def write_late_events(
    store: ObjectStore, sink: FlushSink, task: SideOutputInput, target: SinkSpec
) -> Done:
    """Write a pinned batch as one chunk, under the sequence of its last part."""
    parts = [batch.records for batch in task.batch]
    records = pl.concat([await thaw(store, part) for part in parts])
    chunk = FlushChunk(
        stream=task.pipeline,
        epoch=task.epoch,
        flush_seq=task.batch[-1].sequence,
        chunk=0,
        chunk_count=1,
        sha256=hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest(),
    )
    rows = late_rows(records, task.pipeline, task.topic, task.epoch)
    rows = rows.with_columns(pl.lit(chunk.version, pl.Int64).alias("_version"))
    await sink.write(late_table(task.pipeline, target), chunk, rows.to_arrow())
    return Done(count=rows.height)
