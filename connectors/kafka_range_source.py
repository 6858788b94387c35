"""The records of a topic from one time to another as the source of a batch."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import numpy as np
import polars as pl

from activities.etl_ports import SourceBlock
from activities.ports import RecordLog, TopicState
from batch.chunk import Chunk, CursorWindow, SourceShape
from batch.json_row import JsonRows
from batch.read_row import ReadRows, check_kinds, record_batch, unreadable_rows
from common.errors import OffsetLostError, SourceRefusedError
from common.payloads import Model
from connectors.steady_source import SteadySource
from contracts.field_dtype import polars_type
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.data_interval import DataInterval
from pipelines.etl_source import KafkaSource
from streaming.offset_range import OffsetRange
from streaming.record_block import RecordBlock

POSITIONS = {"_partition": "int32", "_offset": "int64", "_timestamp": "timestamp"}
"""Columns with a record's place and time, for whoever declares them."""


class KafkaPart(Model):
    """What a chunk reads.

    Attributes:
        topic_id: Identity of the topic; another one means that it was made anew.
        span: The offsets.
    """

    topic_id: str
    span: OffsetRange


class KafkaRangeSource(SteadySource):
    """A topic between two times, by offsets.

    In each partition an interval goes from the first record at or after its start to the first one
    at or after its end. So intervals that follow each other share no record and leave none out,
    also where record times go back; what comes later belongs to the interval at whose place it is.

    Args:
        source: The topic.
        declared: Fields of the records with their types.
        interval: The times; None is all that the topic holds.
        log: The cluster.

    Raises:
        SourceRefusedError: A column of a record's place is declared with another type.
    """

    def __init__(
        self,
        source: KafkaSource,
        declared: Mapping[str, FieldType],
        interval: DataInterval | None,
        log: RecordLog,
    ) -> None:
        super().__init__(f"topic `{source.topic}`")
        self._topic = source.topic
        check_kinds(declared, self.what)
        self._declared = declared
        self._interval = interval
        self._log = log
        for name, wanted in POSITIONS.items():
            if name in declared and str(declared[name]) != wanted:
                raise SourceRefusedError(
                    f"source.fields.{name}: expected `{wanted}`, the type of a record's place, got "
                    f"`{declared[name]}`; correct it"
                )

    async def describe(self) -> SourceShape:
        """Give the declared fields, and say where records may be gone or still to come."""
        state, first, last = await self._bounds()
        notes = []
        gone = [p for p, at in first.items() if 0 < state.start[p] == at < state.end[p]]
        coming = [p for p, at in last.items() if at == state.end[p]]
        if gone and self._interval is not None:
            notes.append(
                f"{self.what}: the log of partitions {_listed(gone)} begins within or after the "
                "interval, records of it may be deleted"
            )
        if coming and self._interval is not None:
            notes.append(
                f"{self.what}: partitions {_listed(coming)} hold nothing behind the interval, "
                "records of it may still come"
            )
        return SourceShape(
            columns={name: str(kind) for name, kind in self._declared.items()},
            row_estimate=sum(last[p] - first[p] for p in first),
            notes=notes,
        )

    async def plan(self, shape: SourceShape, window: CursorWindow, chunk_rows: int) -> list[Chunk]:  # noqa: ARG002 (of the port)
        """Pin the offsets of the interval, and cut them into chunks."""
        state, first, last = await self._bounds()
        spans = [
            OffsetRange(
                topic=self._topic,
                partition=partition,
                start=start,
                stop=min(start + chunk_rows, last[partition]),
            )
            for partition in sorted(first)
            for start in range(first[partition], last[partition], chunk_rows)
        ]
        return [
            Chunk(
                number=number,
                part=KafkaPart(topic_id=state.topic_id, span=span).model_dump_json(),
                label=str(span),
                row_estimate=span.stop - span.start,
            )
            for number, span in enumerate(spans)
        ]

    async def read(
        self,
        shape: SourceShape,
        window: CursorWindow,  # noqa: ARG002 (of the port)
        chunk: Chunk,
        block_bytes: int,
    ) -> AsyncIterator[SourceBlock]:
        """Yield the records of a chunk; bad ones are unreadable, with their place."""
        kinds = {name: parse_field_type(text) for name, text in shape.columns.items()}
        reader = JsonRows(
            self.what, {name: kind for name, kind in kinds.items() if name not in POSITIONS}
        )
        part = KafkaPart.model_validate_json(chunk.part)
        first = 0
        try:
            async for block in self._log.read(part.span, part.topic_id, block_bytes):
                rows = await asyncio.to_thread(_read, reader, block, list(kinds))
                yield SourceBlock(
                    record_batch(rows.rows), unreadable_rows(rows.bad, chunk.number, first)
                )
                first += len(rows)
        except OffsetLostError as error:
            raise SourceRefusedError(
                f"{self.what}: expected offsets {part.span.start:,} to {part.span.stop:,} of "
                f"partition {part.span.partition} as when the run was planned, got another log: "
                "records were deleted or the topic was made anew; run again"
            ) from error

    async def close(self) -> None:
        """Close every connection."""
        close = getattr(self._log, "close", None)
        if close is not None:
            await close()

    async def _bounds(self) -> tuple[TopicState, dict[int, int], dict[int, int]]:
        """Find the topic's state, the first offsets, and those behind the last ones."""
        state = await self._log.describe(self._topic)
        if self._interval is None:
            return state, state.start, state.end
        ends_us = (self._interval.start_us, self._interval.end_us)
        first, last = [
            await self._log.offsets_at(self._topic, -(-moment_us // 1000)) for moment_us in ends_us
        ]
        shared = sorted(state.end.keys() & first.keys() & last.keys())
        return (
            state,
            {partition: first[partition] for partition in shared},
            {partition: max(last[partition], first[partition]) for partition in shared},
        )


def _read(reader: JsonRows, block: RecordBlock, names: list[str]) -> ReadRows:
    """Decode a block, and put the places of the records beside their fields."""

    def place(row: int) -> str:
        return f"{block.topic}-{block.partition} at offset {int(block.offset[row]):,}"

    read = reader.read(block, place)
    wanted = [name for name in names if name in POSITIONS]
    if not wanted:
        return read
    good = np.ones(len(block), dtype=bool)
    good[[one.row for one in read.bad]] = False
    columns = {
        "_partition": np.full(int(good.sum()), block.partition),
        "_offset": block.offset[good],
        "_timestamp": block.timestamp_ms[good],
    }
    places = [
        pl.Series(name, columns[name]).cast(polars_type(parse_field_type(POSITIONS[name])))
        for name in wanted
    ]
    rows = read.rows.hstack(places) if read.rows.width else pl.DataFrame(places)
    return ReadRows(rows.select(names), read.bad)


def _listed(partitions: list[int]) -> str:
    shown = ", ".join(str(partition) for partition in sorted(partitions)[:10])
    return shown + (f" and {len(partitions) - 10} more" if len(partitions) > 10 else "")
