"""Arrow into PostgreSQL by its binary COPY: no Python object per row or value, memory bounded.

The form is that of `COPY … WITH (FORMAT binary)` in PostgreSQL's manual: a header, rows with the
length of every field, a trailer.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import asyncpg
import numpy as np
import pyarrow as pa

from common.errors import ContractViolationError
from connectors.postgres_encode import fields_of
from connectors.postgres_field import Bytes8, write_rows
from connectors.postgres_type import PostgresType, type_named

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
HEADER: Final = SIGNATURE + bytes(8)
TRAILER: Final = b"\xff\xff"

CHUNK_BYTES: Final = 2 * 1024 * 1024
"""Bytes of rows that are put together at once; fewer cost calls, more leave the caches."""

_SLICE_ROWS = 16_384

Rows: TypeAlias = pa.Table | pa.RecordBatch
Piece: TypeAlias = bytes | Bytes8


def encode_copy(
    rows: Rows | Iterable[Rows],
    types: Sequence[str | PostgresType],
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Piece]:
    """Write rows as binary COPY takes them, header and trailer included.

    Args:
        rows: Tables or batches of one shape, read as the pieces are taken.
        types: Of the table's columns, in the order of the rows' columns, as `format_type` writes
            them; `numeric(12,2)` checks what a bare `numeric` takes as it comes.
        chunk_bytes: About the size of a piece; one is larger only for a larger row.

    Yields:
        Bytes, or arrays of bytes that are not used again.

    Raises:
        ContractViolationError: A column's type or a value does not fit, before anything of its
            piece is given out.
        SinkRefusedError: A type that cannot be copied in binary.
    """
    kinds = _kinds(types)
    yield HEADER
    for table in [rows] if isinstance(rows, (pa.Table, pa.RecordBatch)) else rows:
        yield from _encoded(table, kinds, chunk_bytes)
    yield TRAILER


def _kinds(types: Sequence[str | PostgresType]) -> list[PostgresType]:
    return [kind if isinstance(kind, PostgresType) else type_named(kind) for kind in types]


def _encoded(table: Rows, kinds: list[PostgresType], chunk_bytes: int) -> Iterator[Bytes8]:
    if table.num_columns != len(kinds):
        raise ContractViolationError(
            f"rows to copy: expected {len(kinds)} columns, got {table.num_columns}; name a "
            "type for every column"
        )
    batches = table.to_batches() if isinstance(table, pa.Table) else [table]
    for batch in batches:
        yield from _pieces(batch, kinds, chunk_bytes)


def _pieces(batch: pa.RecordBatch, kinds: list[PostgresType], chunk_bytes: int) -> Iterator[Bytes8]:
    count = batch.num_rows
    if not count:
        return
    average = max(batch.nbytes // count, 1)
    step = max(1, min(_SLICE_ROWS, chunk_bytes // average))
    for start in range(0, count, step):
        yield from _piece(batch.slice(start, step), kinds, chunk_bytes)


def _piece(batch: pa.RecordBatch, kinds: list[PostgresType], chunk_bytes: int) -> Iterator[Bytes8]:
    """Write one piece, or halves of it where its rows are larger than the rest."""
    if batch.num_rows > 1 and batch.nbytes > 2 * chunk_bytes:
        half = batch.num_rows // 2
        yield from _piece(batch.slice(0, half), kinds, chunk_bytes)
        yield from _piece(batch.slice(half), kinds, chunk_bytes)
        return
    fields = [
        fields_of(name, column, kind)
        for name, column, kind in zip(batch.schema.names, batch.columns, kinds, strict=True)
    ]
    target = np.empty(2 * batch.num_rows + sum(one.sent_bytes() for one in fields), np.uint8)
    write_rows(fields, target)
    yield target


async def copy_in(
    connection: asyncpg.Connection,
    table: str,
    columns: Sequence[str],
    types: Sequence[str | PostgresType],
    rows: Rows | Iterable[Rows] | AsyncIterable[Rows],
    schema: str | None = None,
) -> int:
    """Copy rows into a table; all or nothing.

    Args:
        connection: In a transaction or not.
        table: Its bare name.
        columns: Of the table, in the order of the rows' columns.
        types: Of those columns.
        rows: Read while the server takes them.
        schema: Of the table; else the search path tells.

    Returns:
        How many rows the server counted.

    Raises:
        ContractViolationError: A column's type or a value does not fit; nothing is copied.
        asyncpg.PostgresError: What the server says.
    """
    status: str = await connection.copy_to_table(
        table,
        source=_pieces_of(rows, types),
        columns=list(columns),
        schema_name=schema,
        format="binary",
    )
    return int(status.rsplit(" ", 1)[-1])


async def _pieces_of(
    rows: Rows | Iterable[Rows] | AsyncIterable[Rows], types: Sequence[str | PostgresType]
) -> AsyncIterator[Piece]:
    if not isinstance(rows, AsyncIterable):
        for piece in encode_copy(rows, types):
            yield piece
        return
    kinds = _kinds(types)
    yield HEADER
    async for table in rows:
        for piece in _encoded(table, kinds, CHUNK_BYTES):
            yield piece
    yield TRAILER


def warm_up() -> None:
    """Compile the kernels, or load them from the cache; seconds the first time on a machine."""
    columns = {"n": pa.array([[1]]), "u": pa.array(["0" * 32]), "t": pa.array([["a"]])}
    for _ in encode_copy(pa.table(columns), ["numeric[]", "uuid", "text[]"]):
        pass
