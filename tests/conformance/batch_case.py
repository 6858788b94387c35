"""What the tests of batch targets write, what they expect, and how they look at the result."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from activities.etl_ports import BatchTable, BatchTarget, Published
from activities.ports import SinkColumn
from connectors.sink_rows import arrow_type
from contracts.field_type_parse import parse_field_type
from pipelines.etl import KEYED_MODES, WriteMode

Row = dict[str, Any]
Hook = Callable[[int], Awaitable[None]]
"""Is awaited before each change that a target makes, with its number from 0."""

COLUMNS = {"id": "int64?", "name": "string?", "changed": "timestamp(6)?"}
MODES: tuple[WriteMode, ...] = ("append", "replace", "merge", "insert_only", "scd2")
HISTORY = ("_valid_from", "_valid_to", "_is_current")


def at(second: int) -> dt.datetime:
    """Give an instant, with microseconds."""
    return dt.datetime(2026, 5, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=second, microseconds=7)


def row(identity: int | None, name: str | None, second: int | None = 0) -> Row:
    """Make a row of the default columns."""
    return {"id": identity, "name": name, "changed": None if second is None else at(second)}


@dataclass(frozen=True)
class Batch:
    """One run: its slot, its number and its rows.

    Attributes:
        moment: Second that dates the run.
    """

    slot: str
    run: int
    rows: list[Row]
    moment: int = 0


def expected_rows(
    mode: WriteMode, batches: Sequence[Batch], key: Sequence[str] = ("id",), *, cursor: bool = True
) -> list[Row]:
    """Say in plain Python what readers see after publications in this order."""
    published: list[Batch] = []
    newest: dict[str, int] = {}
    for batch in batches:
        if newest.get(batch.slot, -1) < batch.run:
            newest[batch.slot] = batch.run
            published.append(batch)
    if mode not in KEYED_MODES:
        return [
            item for batch in published if newest[batch.slot] == batch.run for item in batch.rows
        ]
    versions: dict[tuple[Any, ...], list[tuple[Any, int, Row]]] = {}
    for batch in published:
        for item in batch.rows:
            identity = tuple(item[name] for name in key)
            when = item["changed"] if cursor else None
            if mode == "scd2" and when is None:
                when = at(batch.moment)
            versions.setdefault(identity, []).append((when, batch.run, item))
    if mode == "insert_only":
        return [found[0][2] for found in versions.values()]
    if mode == "merge":
        first = dt.datetime.min.replace(tzinfo=dt.UTC)
        return [
            max(found, key=lambda one: (one[0] or first, one[1]))[2] for found in versions.values()
        ]
    hidden = [*key, "changed"] if cursor else [*key]
    return [item for found in versions.values() for item in _history(found, hidden)]


def _history(versions: list[tuple[Any, int, Row]], hidden: list[str]) -> list[Row]:
    """Lay out one key's history; a version like the one before it is left out."""
    last = {when: item for when, _, item in sorted(versions, key=lambda one: (one[0], one[1]))}
    kept: list[tuple[Any, Row]] = []
    for when, item in sorted(last.items(), key=lambda one: one[0]):
        told = {name: value for name, value in item.items() if name not in hidden}
        if not kept or told != {n: v for n, v in kept[-1][1].items() if n not in hidden}:
            kept.append((when, item))
    ends = [*[when for when, _ in kept[1:]], None]
    return [
        item | dict(zip(HISTORY, (when, end, end is None), strict=True))
        for (when, item), end in zip(kept, ends, strict=True)
    ]


def ordered(rows: list[Row]) -> list[Row]:
    """Order rows, whatever they hold."""
    return sorted(rows, key=lambda item: repr(sorted(item.items())))


@dataclass
class BatchCase:
    """One target under test.

    Attributes:
        kind: The kind that a pipeline file names.
        target: What is tested.
        catalogue: Lists everything that is there, each with what identifies its content.
        hooked: Opens the target a second time, with a hook before each of its changes.
        name: A table name of this test's own.
    """

    kind: str
    target: BatchTarget
    catalogue: Callable[[], Awaitable[dict[str, str]]]
    hooked: Callable[[Hook], BatchTarget]
    name: str

    def table(
        self,
        mode: WriteMode,
        batch: Batch,
        *,
        columns: Mapping[str, str] = COLUMNS,
        key: tuple[str, ...] = ("id",),
        cursor: str | None = "changed",
        pipeline: str = "orders",
    ) -> BatchTable:
        """Declare the table for a run."""
        return BatchTable(
            pipeline=pipeline,
            slot=batch.slot,
            run=batch.run,
            run_id=f"run-{batch.run}",
            name=self.name,
            columns=tuple(SinkColumn(n, parse_field_type(kind)) for n, kind in columns.items()),
            mode=mode,
            key=key if mode in KEYED_MODES else (),
            cursor=cursor if mode in KEYED_MODES else None,
            moment_us=int(at(batch.moment).timestamp() * 1_000_000),
        )

    async def stage(
        self,
        table: BatchTable,
        chunk: int,
        token: str,
        rows: list[Row],
        target: BatchTarget | None = None,
    ) -> int:
        """Stage rows as one chunk, in blocks of two rows."""
        return await (target or self.target).stage(table, chunk, token, _blocks(table, rows))

    async def staged(self, table: BatchTable, rows: list[Row], chunks: int = 2) -> dict[int, str]:
        """Open a run and stage its rows in chunks; gives the tokens."""
        await self.target.open(table)
        tokens = {chunk: f"{table.run_id}/{chunk}/1" for chunk in range(chunks)}
        for chunk, token in tokens.items():
            await self.stage(table, chunk, token, rows[chunk::chunks])
        return tokens

    async def load(self, table: BatchTable, rows: list[Row]) -> Published:
        """Run from start to end."""
        tokens = await self.staged(table, rows)
        assert sum((await self.target.staged(table, tokens)).values()) == len(rows)
        published = await self.target.publish(table, tokens)
        await self.target.discard(table)
        return published

    async def final(self) -> list[Row]:
        """Read what readers see; a target that is not there has no rows."""
        return ordered((await self.target.final_rows(self.name)).to_pylist())


def laid_out(table: BatchTable, rows: list[Row]) -> pa.RecordBatch:
    """Lay rows out in Arrow."""
    return pa.RecordBatch.from_arrays(
        [
            pa.array([item[column.name] for item in rows], arrow_type(column.type))
            for column in table.columns
        ],
        names=[column.name for column in table.columns],
    )


async def _blocks(table: BatchTable, rows: list[Row]) -> AsyncIterator[pa.RecordBatch]:
    for start in range(0, len(rows), 2):
        yield laid_out(table, rows[start : start + 2])


async def once(batch: pa.RecordBatch) -> AsyncIterator[pa.RecordBatch]:
    """Hand over one batch."""
    yield batch
