"""PostgreSQL as a source of batches: pinned ranges of a table or query, by binary COPY."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pyarrow as pa

from activities.etl_ports import SourceBlock
from batch.chunk import Chunk, CursorWindow, Settled, SourceShape
from common.errors import SinkRefusedError, SourceRefusedError
from connectors.postgres_copy_out import copy_out
from connectors.postgres_error import translated
from connectors.postgres_source_block import block_of
from connectors.postgres_source_column import SourceColumn, source_column
from connectors.postgres_source_range import (
    condition_of,
    key_chunks,
    page_chunks,
    window_condition,
)
from connectors.postgres_table import quoted
from connectors.postgres_type import type_named
from connectors.sink_rows import arrow_type
from contracts.field_type_parse import parse_field_type
from pipelines.etl_source import PostgresSource

_SAMPLE_PAGES = 2_000
_PAGE_BYTES = 8_192

_OPEN_TRANSACTIONS = """
SELECT format('pid %s (%s), open since %s, %s', l.pid, coalesce(a.usename, 'unknown'),
              coalesce(a.xact_start::text, 'unknown'), l.virtualtransaction) AS label,
       a.xact_start AS since
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.granted AND l.mode = 'ExclusiveLock'
  AND l.pid <> pg_backend_pid() AND a.datname = current_database()
UNION ALL
SELECT format('prepared %s, since %s', gid, prepared), NULL FROM pg_prepared_xacts
WHERE database = current_database()
"""
"""Who holds a transaction open; the start is null where the account may not see it."""


class PostgresBatchSource:
    """A `BatchSource` over one table or query.

    Args:
        dsn: `postgresql://user:password@host:port/database`.
        source: What is read.
        zone: Zone of the pipeline, in which a cursor of days counts them.
    """

    service = "PostgreSQL"

    def __init__(self, dsn: str, source: PostgresSource, zone: str = "UTC") -> None:
        self._dsn = dsn
        self._zone = zone
        self._source = source
        parts = urlsplit(dsn)
        self._address = f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
        self._columns: dict[str, SourceColumn] = {}

    @property
    def _name(self) -> str:
        return self._source.table or "the query"

    @property
    def _from(self) -> str:
        if self._source.query is not None:
            return f"({self._source.query.strip().rstrip(';')}\n) AS source"
        return _relation(self._source.table or "")

    async def describe(self) -> SourceShape:
        """Say which columns there are; a type without a field is read as text, and said so."""
        async with self._session("looking at the source") as connection:
            columns, primary_key = await self._look(connection)
            estimate = None
            if self._source.table is not None:
                pages = await self._pages(connection)
                estimate = None if pages is None else pages * 60
        self._columns = {column.name: column for column in columns}
        notes = [
            f"column `{column.name}` of type {column.sql_type} is read as text"
            for column in columns
            if column.as_text
        ]
        if self._source.cursor in self._columns and (
            self._columns[self._source.cursor].field.nullable
        ):
            notes.append(f"rows whose `{self._source.cursor}` is null are never read")
        return SourceShape(
            columns={column.name: str(column.field) for column in columns},
            primary_key=primary_key,
            row_estimate=estimate,
            notes=notes,
        )

    async def settle(self, wanted: CursorWindow, before: Settled | None) -> Settled:
        """Fix the end of the window, then name the transactions that were open at that time.

        A transaction of before the end may still commit rows that belong below it; one that began
        after the end of an interval cannot, as long as the cursor is not older than it.
        """
        if self._source.cursor is None:
            return Settled(window=wanted)
        async with self._session("settling the source") as connection:
            window = wanted
            if before is None and wanted.end is None:
                window = await self._up_to_now(connection, wanted)
            is_time = await self._is_time(connection)
            rows = await connection.fetch(_OPEN_TRANSACTIONS)
            limit = None
            if is_time and window.end is not None and not window.end_closed:
                limit = await connection.fetchval("SELECT $1::text::timestamptz", window.end)
        found = [
            str(row["label"])
            for row in rows
            if limit is None or row["since"] is None or row["since"] < limit
        ]
        if before is not None:
            found = [label for label in found if label in before.open_transactions]
        return Settled(window=window, open_transactions=found)

    async def plan(self, shape: SourceShape, window: CursorWindow, chunk_rows: int) -> list[Chunk]:
        """Cut by the cursor or the key; without either there is one chunk."""
        async with self._session("cutting the source into chunks") as connection:
            return await self._cut(connection, shape, window, chunk_rows, by_pages=False)

    async def read(
        self, shape: SourceShape, window: CursorWindow, chunk: Chunk, block_bytes: int
    ) -> AsyncIterator[SourceBlock]:
        """Yield the rows of a chunk, as one statement sees them."""
        async with self._session(f"reading {self._name}, {chunk.label}") as connection:
            async for block in self._read(connection, shape, window, chunk, block_bytes):
                yield block

    @asynccontextmanager
    async def at_one_moment(self) -> AsyncIterator["_Snapshot"]:
        """Export a snapshot; it holds as long as this context and its connection."""
        async with (
            self._session("holding a snapshot") as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            name = await connection.fetchval("SELECT pg_export_snapshot()")
            yield _Snapshot(self, connection, str(name))

    async def close(self) -> None:
        """Do nothing: connections live as long as what they are opened for."""

    # --- what needs a connection ---------------------------------------------------------------

    async def _look(self, connection: asyncpg.Connection) -> tuple[list[SourceColumn], list[str]]:
        if self._source.query is not None:
            prepared = await connection.prepare(f"SELECT * FROM {self._from} LIMIT 0")
            found = prepared.get_attributes()
            kinds = await _type_names(connection, [one.type.oid for one in found])
            columns = [
                _column(one.name, kind, nullable=True)
                for one, kind in zip(found, kinds, strict=True)
            ]
            return columns, []
        rows = await connection.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) AS kind, attnotnull "
            "FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 "
            "AND NOT attisdropped ORDER BY attnum",
            self._from,
        )
        if not rows:
            raise SourceRefusedError(
                f"source table `{self._source.table}` at {self._address}: expected to exist, got "
                "none; correct `source.postgres.table`, or the connection"
            )
        keys = await connection.fetch(
            "SELECT a.attname FROM pg_index i CROSS JOIN unnest(i.indkey::int2[]) "
            "WITH ORDINALITY AS k(num, place) JOIN pg_attribute a ON a.attrelid = i.indrelid AND "
            "a.attnum = k.num WHERE i.indrelid = to_regclass($1) AND i.indisprimary "
            "ORDER BY k.place",
            self._from,
        )
        columns = [_column(r["attname"], r["kind"], nullable=not r["attnotnull"]) for r in rows]
        return columns, [str(row["attname"]) for row in keys]

    async def _known(self, connection: asyncpg.Connection) -> dict[str, SourceColumn]:
        if not self._columns:
            columns, _ = await self._look(connection)
            self._columns = {column.name: column for column in columns}
        return self._columns

    async def _is_time(self, connection: asyncpg.Connection) -> bool:
        columns = await self._known(connection)
        cursor = columns.get(self._source.cursor or "")
        return cursor is not None and cursor.field.base in ("timestamp", "date")

    async def _up_to_now(
        self, connection: asyncpg.Connection, wanted: CursorWindow
    ) -> CursorWindow:
        """Fix the end at the greatest value that is there."""
        name = quoted(self._source.cursor or "")
        above = self._window(await self._known(connection), wanted)
        highest = await connection.fetchval(
            f"SELECT max({name})::text FROM {self._from} WHERE {above}"
        )
        if highest is None:
            # The next run begins where this one would have: what it has read stays left out.
            nothing = {"end": wanted.start, "end_closed": wanted.start_open, "empty": True}
            return wanted.model_copy(update=nothing)
        return wanted.model_copy(update={"end": str(highest), "end_closed": True})

    async def _pages(self, connection: asyncpg.Connection) -> int | None:
        """Count the pages of a table and of its partitions; None for a view."""
        kind = await connection.fetchval(
            "SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)", self._from
        )
        if kind not in ("r", "p", "m"):
            return None
        size = await connection.fetchval(
            "SELECT coalesce(sum(pg_relation_size(relid)), 0) FROM pg_partition_tree($1::regclass)"
            if kind == "p"
            else "SELECT pg_relation_size($1::regclass)",
            self._from,
        )
        return int(size) // _PAGE_BYTES

    async def _cut(
        self,
        connection: asyncpg.Connection,
        shape: SourceShape,
        window: CursorWindow,
        chunk_rows: int,
        *,
        by_pages: bool,
    ) -> list[Chunk]:
        columns = await self._known(connection)
        if window.empty:
            return []
        windowed = window.start is not None or window.end is not None
        key = self._source.cursor if windowed else self._source.key
        key = key or self._source.key or next(iter(shape.primary_key), None)
        where = self._window(columns, window)
        pages = await self._pages(connection) if self._source.table is not None else None
        if key is None:
            rows = (pages or 0) * 60
            if by_pages and pages is not None:
                return page_chunks(pages, rows, chunk_rows)
            part = '{"pages": [0, null]}' if pages is not None else "{}"
            return [Chunk(number=0, part=part, label="all rows", row_estimate=rows)]
        if key not in columns:
            raise SourceRefusedError(
                f"source {self._name}: expected a column `{key}` to cut by, got "
                f"{', '.join(columns)}; correct `source.postgres.key`"
            )
        share = 1.0 if not pages else min(1.0, _SAMPLE_PAGES / pages)
        sampled = f" TABLESAMPLE SYSTEM ({share * 100:.6f}) REPEATABLE (1)" if share < 1 else ""
        name = quoted(key)
        count = await connection.fetchval(
            f"SELECT count(*) FROM {self._from}{sampled} WHERE {where}"
        )
        rows = round(int(count) / share)
        parts = -(-rows // chunk_rows)
        bounds: list[str] = []
        if parts > 1:
            shares = [place / parts for place in range(1, parts)]
            found = await connection.fetchval(
                f"SELECT (percentile_disc($1::float8[]) WITHIN GROUP (ORDER BY {name}))::text[] "
                f"FROM {self._from}{sampled} WHERE {where}",
                shares,
            )
            bounds = list(dict.fromkeys(value for value in found or [] if value is not None))
        return key_chunks(key, columns[key].sql_type, bounds, rows)

    def _window(self, columns: dict[str, SourceColumn], window: CursorWindow) -> str:
        cursor = self._source.cursor
        if cursor is None:
            return "true"
        kind = columns[cursor].sql_type
        zone = self._zone if kind == "date" else self._source.timezone
        return window_condition(cursor, kind, window, zone)

    async def _read(
        self,
        connection: asyncpg.Connection,
        shape: SourceShape,
        window: CursorWindow,
        chunk: Chunk,
        block_bytes: int,
    ) -> AsyncIterator[SourceBlock]:
        columns = await self._known(connection)
        wanted = [columns[name] for name in shape.columns if name in columns]
        if len(wanted) != len(shape.columns):
            gone = ", ".join(name for name in shape.columns if name not in columns)
            raise SourceRefusedError(
                f"source {self._name}: expected columns {gone}, as when the run began, got none; "
                "run the interval again"
            )
        selected = ", ".join(column.selected(self._source.timezone) for column in wanted)
        where = f"{self._window(columns, window)} AND {condition_of(chunk)}"
        query = f"SELECT {selected} FROM {self._from} WHERE {where}"
        kinds = [(column.name, column.read_as) for column in wanted]
        schema = pa.schema(
            [(name, arrow_type(parse_field_type(kind))) for name, kind in shape.columns.items()]
        )
        batches = copy_out(connection, query, kinds, batch_bytes=block_bytes)
        done = 0
        async for batch in batches:
            block = block_of(batch, schema, shape, chunk.number, done)
            done += batch.rows.num_rows
            yield block

    @asynccontextmanager
    async def _session(self, action: str) -> AsyncIterator[asyncpg.Connection]:
        with translated(action, self.service, self._address):
            connection = await asyncpg.connect(
                self._dsn, timeout=10, server_settings={"TimeZone": "UTC"}
            )
            try:
                yield connection
            finally:
                await connection.close(timeout=5)


class _Snapshot:
    """A `ChunkReader` over one exported snapshot."""

    def __init__(self, source: PostgresBatchSource, holder: asyncpg.Connection, name: str) -> None:
        self._source, self._holder, self._name = source, holder, name

    async def plan(self, shape: SourceShape, window: CursorWindow, chunk_rows: int) -> list[Chunk]:
        """Cut by the cursor, the key, or the places on disk, which hold still here."""
        return await self._source._cut(  # noqa: SLF001 - two parts of one thing
            self._holder, shape, window, chunk_rows, by_pages=True
        )

    async def read(
        self, shape: SourceShape, window: CursorWindow, chunk: Chunk, block_bytes: int
    ) -> AsyncIterator[SourceBlock]:
        """Yield the rows of a chunk as they are in the snapshot."""
        source = self._source
        action = f"reading {chunk.label} in a snapshot"
        async with (
            source._session(action) as connection,  # noqa: SLF001 - two parts of one thing
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{self._name}'")
            async for block in source._read(connection, shape, window, chunk, block_bytes):  # noqa: SLF001 - as above
                yield block


def _relation(table: str) -> str:
    return ".".join(quoted(part) for part in table.split("."))


async def _type_names(connection: asyncpg.Connection, oids: list[int]) -> list[str]:
    rows = await connection.fetch(
        "SELECT format_type(o, NULL) AS kind FROM unnest($1::oid[]) WITH ORDINALITY AS k(o, n) "
        "ORDER BY n",
        oids,
    )
    return [str(row["kind"]) for row in rows]


def _column(name: str, sql_type: str, *, nullable: bool) -> SourceColumn:
    try:
        found = type_named(sql_type)
    except SinkRefusedError:
        found = None
    return source_column(name, sql_type, found, nullable=nullable)
