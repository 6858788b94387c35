"""Rows into Parquet files of bounded size in an object store."""

import asyncio
import io
from collections.abc import AsyncIterator

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from common.payloads import ObjectStore, Ref
from streaming.resource import RECORD

PART_BYTES = 16 * 1024 * 1024
"""Size in memory at which a file is closed."""


class PartWriter:
    """Collects rows and stores a file for each so many bytes of them.

    Args:
        store: Where the files go.
        prefix: Beginning of their keys.
        schema: Columns of the files.
    """

    def __init__(self, store: ObjectStore, prefix: str, schema: pa.Schema) -> None:
        self._store, self._prefix, self._schema = store, prefix, schema
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0
        self.rows = 0
        self.parts: list[Ref] = []

    async def add(self, rows: pa.RecordBatch) -> None:
        """Take rows; they are stored once enough wait."""
        if rows.num_rows == 0:
            return
        self._waiting.append(rows)
        self._bytes += rows.nbytes
        self.rows += rows.num_rows
        if self._bytes >= PART_BYTES:
            await self._store_part()

    async def close(self) -> list[Ref]:
        """Store what waits; gives all files, in order."""
        if self._waiting:
            await self._store_part()
        return self.parts

    async def _store_part(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        table = pa.Table.from_batches([one.cast(self._schema) for one in waiting])
        content = await asyncio.to_thread(encode, table)
        prefix = f"{self._prefix}-p{len(self.parts):03d}"
        self.parts.append(await self._store.put(prefix, content, "parquet"))


def arrow(rows: pl.DataFrame, *, with_record: bool = False) -> pa.Table:
    """Give rows as Arrow, without the place of their record unless that is wanted."""
    wanted = rows if with_record else rows.drop(RECORD, strict=False)
    return wanted.to_arrow(compat_level=pl.CompatLevel.oldest())


def encode(table: pa.Table) -> bytes:
    """Write a table as Parquet; quick rather than small."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="lz4", use_dictionary=False, write_statistics=False)
    return buffer.getvalue()


async def read_part(store: ObjectStore, part: Ref) -> pl.DataFrame:
    """Read one file."""
    content = await store.get(part)
    return await asyncio.to_thread(pl.read_parquet, io.BytesIO(content))


async def read_parts(store: ObjectStore, parts: list[Ref]) -> AsyncIterator[pl.DataFrame]:
    """Read files one after the other."""
    for part in parts:
        yield await read_part(store, part)
