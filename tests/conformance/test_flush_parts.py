"""A flush in several objects, written by the activity into every sink, with a crash on the way."""

from typing import cast

import polars as pl
import pyarrow as pa
import pytest
from temporalio.testing import ActivityEnvironment

from activities.ports import FlushChunk, FlushSink, SinkTable
from activities.sliced_blob import encode, freeze_slices
from activities.stream_io import WriteFlushInput
from activities.stream_sink import StreamSinkActivities, sink_table
from common.errors import ServiceUnavailableError
from pipelines.stream import EventTime, SinkSpec, StreamSpec, Window
from streaming.chunk_span import ChunkSpan, chunk_count
from streaming.combine import finish
from streaming.partial import start_partials
from streaming.plan import compile_stream
from streaming.segment import Blob
from streaming.state import Flush
from streaming.window import PANE
from tests.conformance.sink_case import SinkCase
from tests.workflows.memory import MemoryRecordSink, MemoryStore

ROWS, CHUNK_ROWS = 23, 5


class _Breaking:
    """A sink that goes away before and after a certain chunk's write, once each."""

    def __init__(self, sink: FlushSink, chunk: int) -> None:
        self._sink = sink
        self._chunk = chunk
        self._troubles = ["before", "after"]
        self.written: list[int] = []

    async def write(self, table: SinkTable, chunk: FlushChunk, rows: pa.Table) -> None:
        """Write, or lose the request or the answer."""
        lost = chunk.chunk == self._chunk and self._troubles and self._troubles.pop(0)
        if lost != "before":
            await self._sink.write(table, chunk, rows)
            self.written.append(chunk.chunk)
        if lost:
            raise ServiceUnavailableError("sink", "here", f"reset {lost} the write")


def _spec(kind: str, name: str) -> StreamSpec:
    return StreamSpec(
        name="parts",
        topic="events",
        fields={"at": "timestamp_ms", "user": "int64"},
        event_time=EventTime(field="at"),
        group_by=["user"],
        window=Window(kind="tumbling", size_ms=60_000),
        aggregate={"n": "count(*)"},
        sinks=[SinkSpec.model_validate({"kind": kind, "table": name})],
    )


async def _freeze(store: MemoryStore, spec: StreamSpec, first: int, stop: int) -> Blob:
    """Freeze the rows of some users as one object of slices of at most three rows."""
    events = pl.DataFrame({"user": range(first, stop), PANE: [0] * (stop - first)})
    plan = compile_stream(spec)
    rows = finish(plan, start_partials(plan, events))
    slices = [encode(rows.slice(at, 3)) for at in range(0, rows.height, 3)]
    blob = await freeze_slices(store, "rows", slices)
    assert blob is not None
    return blob


@pytest.mark.parametrize("broken_chunk", [0, 2, 4])
async def test_a_flush_in_parts_is_there_once_whatever_breaks_between_its_chunks(
    case: SinkCase, name: str, broken_chunk: int
) -> None:
    spec, store = _spec(case.kind, name), MemoryStore()
    parts = [await _freeze(store, spec, *cut) for cut in ((0, 4), (4, 17), (17, ROWS))]
    flush = Flush(
        flush_seq=1, rows=Blob(row_count=ROWS, size_bytes=1), chunk_rows=CHUNK_ROWS,
        sha256="a" * 64, parts=parts,
    )  # fmt: skip
    (sink,) = spec.sinks
    await case.sink.prepare(sink_table(spec, sink))
    breaking = _Breaking(case.sink, broken_chunk)
    writer = StreamSinkActivities(store, lambda _: cast(FlushSink, breaking), MemoryRecordSink())
    count = chunk_count(flush)
    for span in (ChunkSpan(first=0, stop=3), ChunkSpan(first=3, stop=count)):
        work = WriteFlushInput(spec=spec, epoch=1, sink=sink, flush=flush, chunks=span)
        while True:
            try:
                await ActivityEnvironment().run(writer.write_flush, work)
                break
            except ServiceUnavailableError:
                continue
    assert set(breaking.written) == set(range(count))
    assert len(breaking.written) > count
    found = await case.sink.final_rows(name)
    assert sorted(found["user"].to_pylist()) == list(range(ROWS))
    assert set(found["n"].to_pylist()) == {1}
