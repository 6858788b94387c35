"""What batches need from outside: sources to read, targets to stage in and publish to."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl
import pyarrow as pa

from activities.ports import SinkColumn
from batch.chunk import Chunk, CursorWindow, Settled, SourceShape
from pipelines.etl import WriteMode


@dataclass(frozen=True)
class SourceBlock:
    """Some rows of a chunk, in order.

    Attributes:
        rows: Columns as in the shape, in its order, in the Arrow types of
            `contracts.field_dtype.polars_type`.
        unreadable: Rows that could not be read, as `batch.quarantine`; None is none.
    """

    rows: pa.RecordBatch
    unreadable: pl.DataFrame | None = None


class ChunkReader(Protocol):
    """Reads a source that holds still, or whose chunks are read each at its own time."""

    async def plan(self, shape: SourceShape, window: CursorWindow, chunk_rows: int) -> list[Chunk]:
        """Cut what the window lets through into chunks of about so many rows.

        Together they hold every row once, as long as keys do not change.
        """
        ...

    def read(
        self, shape: SourceShape, window: CursorWindow, chunk: Chunk, block_bytes: int
    ) -> AsyncIterator[SourceBlock]:
        """Yield the rows of a chunk in blocks of about so many bytes; memory stays bounded."""
        ...


class BatchSource(ChunkReader, Protocol):
    """A source of rows.

    Raises `SourceRefusedError` for what needs a person, `ServiceUnavailableError` for what may
    pass.
    """

    async def describe(self) -> SourceShape:
        """Say which columns there are."""
        ...

    async def settle(self, wanted: CursorWindow, before: Settled | None) -> Settled:
        """Fix the end of the window, and name the open transactions that may still add rows below.

        Asked again with its own answer until no transaction is left. Without a cursor, or where
        nothing can come later, the answer is the window itself.
        """
        ...

    def at_one_moment(self) -> AbstractAsyncContextManager[ChunkReader]:
        """Hold one snapshot for all chunks; `SourceRefusedError` where the source has none."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


@dataclass(frozen=True)
class BatchTable:
    """A target of one run.

    Rows of a slot belong together: in the modes `append` and `replace` a run takes the place of the
    rows that an earlier run of the same slot left. The slot of a run over a data interval is the
    interval; without one, `replace` has one slot, the whole table, and `append` a slot for each
    run.

    Attributes:
        pipeline: Name of the pipeline.
        slot: Label of the interval, or of the run; empty is the whole table.
        run: Number of the run, growing over all runs of the pipeline.
        run_id: Names the staging of this run.
        name: `table` or `schema.table`, or a path of the lake.
        columns: Columns in order.
        mode: How rows get in.
        key: Columns that tell rows apart.
        cursor: Column whose greater value is newer; a row replaces another if (cursor, run) is not
            less. None goes by the run alone.
        partition_by: Column of the day of the lake's folders, or of the hypertable.
        moment_us: End of the interval, or when the run was planned, in microseconds; `scd2` dates
            by it where there is no cursor.
    """

    pipeline: str
    slot: str
    run: int
    run_id: str
    name: str
    columns: tuple[SinkColumn, ...]
    mode: WriteMode
    key: tuple[str, ...] = ()
    cursor: str | None = None
    partition_by: str | None = None
    moment_us: int = 0


@dataclass(frozen=True)
class TargetPlan:
    """What a target would do before the first row.

    Attributes:
        statements: What it would execute, in order: DDL, or files that it would make.
        notes: Facts for people.
    """

    statements: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Published:
    """What a publication changed; all zero when it was done before.

    Attributes:
        written: Rows of a target that would have to read all it holds to tell whether they are new
            or take the place of others; they are in no other count.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    written: int = 0


class BatchTarget(Protocol):
    """A target that is written in two steps: staged where nobody reads, then published.

    `token` is unique to each attempt at staging a chunk. Only the attempts that are named are
    counted and published, so an attempt that wakes up late changes nothing.

    What readers see depends on what was published: in `append` and `replace` the newest run of each
    slot, in `merge` of each key the row of the greatest (cursor, run), in `scd2` all versions of a
    key by date, of two with one date the newer run's, without those that say the same as the one
    before; only in `insert_only` on the order, since what is there stays.

    Raises `SinkRefusedError` for what needs a person, `ContractViolationError` for rows that break
    what was declared, such as null or repeated keys, when they are staged or published,
    `ServiceUnavailableError` for what may pass.
    """

    async def preflight(self, table: BatchTable) -> TargetPlan:
        """Say what `open` and `publish` would create or change; nothing is written.

        A target that cannot hold the promise is refused.
        """
        ...

    async def open(self, table: BatchTable) -> None:
        """Remove what older runs of the pipeline left in staging for this slot; make staging."""
        ...

    async def stage(
        self, table: BatchTable, chunk: int, token: str, rows: AsyncIterator[pa.RecordBatch]
    ) -> int:
        """Write the rows of a chunk into staging; gives their number."""
        ...

    async def staged(self, table: BatchTable, tokens: Mapping[int, str]) -> dict[int, int]:
        """Count the rows in staging, by chunk."""
        ...

    async def publish(self, table: BatchTable, tokens: Mapping[int, str]) -> Published:
        """Let readers see the rows, all at once where the target can; twice is once.

        Null or duplicate keys are refused before anything is changed. A run that is older than one
        that published the same slot changes nothing there.
        """
        ...

    async def discard(self, table: BatchTable) -> None:
        """Remove the staging of this run; twice is once. The target stays as it is."""
        ...

    async def final_rows(self, name: str, limit: int | None = None) -> pa.Table:
        """Read what readers see, ordered by all columns.

        Columns that begin with `_` are left out, but for `_valid_from`, `_valid_to` and
        `_is_current` of `scd2`.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
