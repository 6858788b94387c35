"""What the conformance tests write, and how they look at the result."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pyarrow as pa

from activities.ports import FlushChunk, FlushSink, Preflight, Progress, SinkColumn, SinkTable
from connectors.sink_rows import arrow_type
from contracts.field_type import FieldType

Execute = Callable[[str], Awaitable[None]]
"""Runs one statement with the server's own driver."""

MINUTE_MS = 60_000

VERSIONS_DECIDE = ("clickhouse", "lake")
"""Sinks that take writes of an older epoch, which lose by their version."""

TEXT = FieldType("string")
TIME = FieldType("timestamp")


def table_of(
    name: str, *, stream: str = "sales", extra: Mapping[str, FieldType] | None = None
) -> SinkTable:
    """Declare a windowed table: category and sales, or `extra` instead."""
    shown = extra or {
        "category": FieldType("string", nullable=True),
        "sales": FieldType("int64"),
        "best": FieldType("float64", nullable=True),
    }
    columns = {"window_start": TIME, "window_end": TIME, **shown}
    return SinkTable(
        stream, name, tuple(SinkColumn(column, kind) for column, kind in columns.items())
    )


def chunk_of(
    table: SinkTable,
    flush_seq: int,
    *,
    epoch: int = 1,
    chunk: int = 0,
    count: int = 1,
    content: str = "",
    complete: int | None = None,
) -> FlushChunk:
    """Name a write; `content` stands for the frozen rows, `complete` is a minute."""
    digest = hashlib.sha256(f"{epoch}/{flush_seq}/{content}".encode()).hexdigest()
    complete_ms = None if complete is None else complete * MINUTE_MS
    return FlushChunk(table.stream, epoch, flush_seq, chunk, count, digest, complete_ms)


def row(minute: int, category: str | None, sales: int, *, deleted: bool = False) -> dict[str, Any]:
    """Make a row of the default table; a null category has a key of its own."""
    return {
        "window_start": minute * MINUTE_MS,
        "window_end": (minute + 1) * MINUTE_MS,
        "category": category,
        "sales": sales,
        "best": None if sales % 2 else sales / 4,
        "_key": "n" if category is None else f"s{category}",
        "_deleted": deleted,
    }


def rows_of(table: SinkTable, chunk: FlushChunk, rows: list[dict[str, Any]]) -> pa.Table:
    """Lay rows out as the engine does, in the version of their flush."""
    types = {column.name: arrow_type(column.type) for column in table.columns}
    columns = {name: pa.array([item[name] for item in rows], kind) for name, kind in types.items()}
    return pa.table(
        columns
        | {
            "_key": pa.array([item["_key"] for item in rows], pa.string()),
            "_version": pa.array([chunk.version] * len(rows), pa.int64()),
            "_deleted": pa.array([item.get("_deleted", False) for item in rows], pa.bool_()),
        }
    )


class SinkCase:
    """One sink under test, with the statements that its server understands.

    Attributes:
        kind: The kind that a pipeline file names.
        execute: Runs a statement beside the sink.
    """

    def __init__(self, kind: str, sink: FlushSink, execute: Execute) -> None:
        self.kind = kind
        self.sink = sink
        self.execute = execute

    async def prepare(self, table: SinkTable) -> Preflight:
        """Prepare a table."""
        return await self.sink.prepare(table)

    async def write(self, table: SinkTable, chunk: FlushChunk, *rows: dict[str, Any]) -> None:
        """Write rows as one chunk."""
        await self.sink.write(table, chunk, rows_of(table, chunk, list(rows)))

    async def complete(self, table: SinkTable) -> tuple[int, int] | None:
        """Read (epoch, minute) up to which readers are told that the table is whole."""
        told = await self.sink.progress(table)
        return None if told is None else (told.epoch, told.complete_ms // MINUTE_MS)

    async def tell(self, table: SinkTable, minute: int, *, epoch: int = 1, flush: int = 1) -> None:
        """Tell readers of time that passed without rows."""
        await self.sink.publish(table, Progress(epoch, minute * MINUTE_MS, epoch << 40 | flush))

    async def final(self, table: SinkTable) -> list[tuple[int, str | None, int]]:
        """Read (minute, category, sales) of the final view, in its order."""
        found = await self.sink.final_rows(table.name)
        starts = found["window_start"].cast(pa.int64()).to_pylist()
        return [
            (start // MINUTE_MS, category, sales)
            for start, category, sales in zip(
                starts, found["category"].to_pylist(), found["sales"].to_pylist(), strict=True
            )
        ]
