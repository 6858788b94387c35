"""PostgreSQL's binary COPY into Arrow: no Python object per row or value, memory bounded."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import asyncpg
import numpy as np
import pyarrow as pa

from common.errors import FatalError
from connectors import postgres_wire
from connectors.postgres_copy import SIGNATURE, encode_copy
from connectors.postgres_decode import BadValues, column_of
from connectors.postgres_field import Bytes8, Fields
from connectors.postgres_jit import address
from connectors.postgres_split import (
    AT_TRAILER,
    ROWS_DONE,
    WRONG_COUNT,
    WRONG_LENGTH,
    split_rows,
)
from connectors.postgres_type import PostgresType, type_named
from connectors.postgres_wire import CopyWire

BATCH_ROWS: Final = 65_536
BATCH_BYTES: Final = 8 * 1024 * 1024

Column = tuple[str, PostgresType]


@dataclass(frozen=True)
class CopyBatch:
    """Rows that PostgreSQL sent.

    Attributes:
        rows: In the order in which they came.
        first_row: Position of the first in the whole output.
        bad: Values that Arrow cannot hold; null in `rows`.
    """

    rows: pa.RecordBatch
    first_row: int
    bad: list[BadValues]


class CopyReader:
    """Turns binary COPY, fed in any pieces, into batches.

    A batch ends at `batch_rows` rows, or with the row that brings it to `batch_bytes` bytes as they
    were sent; so batches depend on the rows alone, not on the pieces.

    Args:
        columns: Name and type of every column of the query. Text comes as large_string, json too;
            uuid as its text; timestamps in microseconds. Lower bounds of arrays are not kept.
        batch_rows: Rows of a batch.
        batch_bytes: Bytes of a batch.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        batch_rows: int = BATCH_ROWS,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self.schema = pa.schema([(name, kind.arrow) for name, kind in columns])
        self._columns = list(columns)
        self._limits = batch_rows, batch_bytes
        self._starts = np.empty((len(columns), batch_rows), np.int64)
        self._sizes = np.empty((len(columns), batch_rows), np.int32)
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._wanted_bytes = len(SIGNATURE) + 8
        self._in_rows = False
        self._noted, self._at, self._row = 0, 0, 0
        self._ended = False

    def feed(self, piece: bytes) -> list[CopyBatch]:
        """Take the next bytes, and give the batches that they complete.

        Raises:
            FatalError: The bytes are not what COPY sends for these columns.
        """
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes < self._wanted_bytes:
            return []
        return self._split(last=False)

    def finish(self) -> list[CopyBatch]:
        """Give the last batches.

        Raises:
            FatalError: The output was cut off.
        """
        batches = self._split(last=True)
        if not self._ended:
            raise FatalError(
                f"copy from PostgreSQL: expected its end after row {self._row + self._noted}, got "
                "no more bytes; read the table again"
            )
        return batches

    def _split(self, *, last: bool) -> list[CopyBatch]:
        """Note rows as far as the bytes reach; what is not given out yet is kept."""
        content = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        if not self._in_rows:
            begin = _header_end(content)
            if begin < 0:
                self._pieces = [content]
                return []
            self._in_rows = True
            content = content[begin:]
        buffer, base = np.frombuffer(content, np.uint8), 0
        batches: list[CopyBatch] = []
        while not self._ended:
            why = self._note(buffer[base:])
            if why == ROWS_DONE or (why == AT_TRAILER and self._noted):
                batches.append(self._batch(buffer[base:]))
                base += self._at
                self._row, self._noted, self._at = self._row + self._noted, 0, 0
            if why == AT_TRAILER:
                self._ended = True
            elif why != ROWS_DONE:
                break
        rest = content[base:]
        self._pieces, self._held_bytes = [rest], len(rest)
        grown = len(rest) if not last and self._noted == 0 else 0
        self._wanted_bytes = len(rest) + max(self._limits[1], grown)
        return batches

    def _note(self, buffer: Bytes8) -> int:
        rows, size = self._limits
        base = address(buffer)
        self._noted, self._at, why = split_rows(
            base, self._at, len(buffer), len(self._columns), self._noted, rows, size,
            address(self._starts), address(self._sizes),
        )  # fmt: skip
        if why in (WRONG_COUNT, WRONG_LENGTH):
            raise FatalError(
                f"copy from PostgreSQL, row {self._row + self._noted}: expected "
                f"{len(self._columns)} columns, got other bytes; name every column of the query"
            )
        return int(why)

    def _batch(self, buffer: Bytes8) -> CopyBatch:
        arrays, bad = [], []
        for place, (name, kind) in enumerate(self._columns):
            fields = Fields(
                buffer, self._starts[place, : self._noted], self._sizes[place, : self._noted]
            )
            values, wrong = column_of(name, fields, kind)
            arrays.append(values)
            bad += wrong
        return CopyBatch(pa.record_batch(arrays, schema=self.schema), self._row, bad)


def _header_end(content: bytes) -> int:
    """Find the end of the header, -1 if it is not there yet."""
    known = len(SIGNATURE)
    if content[:known] != SIGNATURE[: len(content)]:
        raise FatalError(
            f"copy from PostgreSQL: expected its binary format, got {content[:known]!r}; "
            "copy WITH (FORMAT binary)"
        )
    if len(content) < known + 8:
        return -1
    if int.from_bytes(content[known : known + 4], "big"):
        raise FatalError(
            "copy from PostgreSQL: expected rows without object ids or other extras, got a header "
            "that says there are; copy from PostgreSQL 12 or later"
        )
    end = known + 8 + int.from_bytes(content[known + 4 : known + 8], "big")
    return end if len(content) >= end else -1


def decode_copy(
    pieces: Iterable[bytes],
    columns: Sequence[Column],
    batch_rows: int = BATCH_ROWS,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[CopyBatch]:
    """Read binary COPY, cut into any pieces, as batches; see `CopyReader`.

    Raises:
        FatalError: The bytes are not what COPY sends for these columns, or were cut off.
    """
    reader = CopyReader(columns, batch_rows, batch_bytes)
    for piece in pieces:
        yield from reader.feed(piece)
    yield from reader.finish()


async def copy_out(
    connection: asyncpg.Connection,
    query: str,
    columns: Sequence[Column],
    batch_rows: int = BATCH_ROWS,
    batch_bytes: int = BATCH_BYTES,
) -> AsyncGenerator[CopyBatch, None]:
    """Read a query's rows as batches, while the server sends them; a slow reader slows it down.

    Args:
        connection: Used until the last batch was taken; terminated when the iterator is closed
            before, or its bytes are refused.
        query: A SELECT.
        columns: Name and type of every column of the query.
        batch_rows: Rows of a batch.
        batch_bytes: Bytes of a batch.

    Raises:
        FatalError: The bytes are not of these columns.
        asyncpg.PostgresError: What the server says.
    """
    reader = CopyReader(columns, batch_rows, batch_bytes)
    wire = CopyWire(connection)

    async def take(piece: bytes) -> None:
        wire.take(piece)

    task = asyncio.create_task(connection.copy_from_query(query, output=take, format="binary"))
    task.add_done_callback(lambda _: wire.end())
    try:
        while (piece := await wire.piece()) is not None:
            for batch in reader.feed(piece):
                yield batch
        await task
        for batch in reader.finish():
            yield batch
    finally:
        if not task.done():
            # The driver waits for ever when its output is broken off behind the last row.
            wire.discard()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            connection.terminate()
        wire.release()


def warm_up() -> None:
    """Compile the kernels, or load them from the cache; seconds the first time on a machine."""
    kinds = ["bigint", "integer", "text", "numeric(12,2)", "uuid", "bigint[]"]
    columns = [(f"c{place}", type_named(kind)) for place, kind in enumerate(kinds)]
    values = {"c0": [1], "c1": [1], "c2": ["a"], "c3": [Decimal(1)], "c4": ["0" * 32], "c5": [[1]]}
    types = [kind.arrow for _, kind in columns]
    arrays = [pa.array(one, kind) for one, kind in zip(values.values(), types, strict=True)]
    rows = pa.table(arrays, names=list(values))
    for _ in decode_copy((bytes(piece) for piece in encode_copy(rows, kinds)), columns):
        pass
    postgres_wire.warm_up()
