"""Reading a whole source as a run does."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from activities.etl_ports import BatchSource
from batch.chunk import Chunk, CursorWindow, SourceShape
from common.settings import Settings
from connectors.batch_sources import open_source
from contracts.field_dtype import polars_type
from contracts.field_type_parse import parse_field_type
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec
from pipelines.etl_source import FileSource, Source


@dataclass
class Read:
    """Everything that a source gave."""

    shape: SourceShape
    chunks: list[Chunk]
    rows: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[dict[str, Any]] = field(default_factory=list)

    def reasons(self) -> list[str]:
        return [str(row["reason"]) for row in self.unreadable]


def settings_of(folder: Path) -> Settings:
    return Settings(project_dir=folder, data_dir=folder / ".sluice")


def source_of(
    folder: Path,
    source: Source,
    fields: dict[str, str] | None = None,
    interval: DataInterval | None = None,
    settings: Settings | None = None,
) -> BatchSource:
    spec = EtlSpec(
        name="load", source=source, fields=fields or {}, targets=[], base_dir=str(folder)
    )
    return open_source(spec, interval, settings or settings_of(folder))


async def read_all(
    source: BatchSource, chunk_rows: int = 250_000, block_bytes: int = 1 << 20, seed: int = 0
) -> Read:
    """Describe, plan and read every chunk, in any order; rows come back in the order of chunks."""
    try:
        shape = await source.describe()
        read = Read(shape, await source.plan(shape, CursorWindow(), chunk_rows))
        order = list(read.chunks)
        random.Random(seed).shuffle(order)
        found = {one.number: await read_chunk(source, shape, one, block_bytes) for one in order}
    finally:
        await source.close()
    for number in sorted(found):
        read.rows += found[number].rows
        read.unreadable += found[number].unreadable
    return read


async def read_chunk(
    source: BatchSource, shape: SourceShape, chunk: Chunk, block_bytes: int = 1 << 20
) -> Read:
    read = Read(shape, [chunk])
    types = {name: polars_type(parse_field_type(text)) for name, text in shape.columns.items()}
    async for block in source.read(shape, CursorWindow(), chunk, block_bytes):
        rows = pl.DataFrame(block.rows)
        assert dict(rows.schema) == types
        read.rows += rows.to_dicts()
        if block.unreadable is not None:
            assert set(block.unreadable["chunk"]) == {chunk.number}
            read.unreadable += block.unreadable.to_dicts()
    places = [row["row"] for row in read.unreadable]
    assert places == sorted(set(places))
    assert all(place < len(read.rows) + len(places) for place in places)
    return read


async def read_files(
    folder: Path,
    url: str,
    file_format: Any = "csv",  # noqa: ANN401 (a literal of the model)
    fields: dict[str, str] | None = None,
    chunk_rows: int = 250_000,
    block_bytes: int = 1 << 20,
    **options: Any,  # noqa: ANN401 (options of the source)
) -> Read:
    source = source_of(folder, FileSource(url=url, format=file_format, **options), fields)
    return await read_all(source, chunk_rows, block_bytes)
