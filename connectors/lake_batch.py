"""The lake as a target of batches: Parquet by day, published by one manifest."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping

import pyarrow as pa

from activities.etl_ports import BatchTable, Published, TargetPlan
from common.errors import FatalError, SinkRefusedError
from connectors.batch_rows import check_batch_table, conform_batch, repeated_keys, staging_gone
from connectors.final_view import check_texts
from connectors.lake_manifest import Chain, LakeFile, Manifest, append_link, read_chain
from connectors.lake_rows import PublishedRows, by_day, decode, encode, repetitions, schema_of, seen
from connectors.lake_staging import LakeStaging, file_name, made_name, record_name
from connectors.object_store import ObstoreStore
from pipelines.etl import KEYED_MODES

_FILE_BYTES = 64 << 20
_READS_AT_ONCE = 8
_OURS = re.compile(
    r"_stage/|_manifest/\d{10,}\.json$|[^/]+/r\d{10,}-c\d{6,}-[0-9a-f]+-\d+\.parquet$"
)


class LakeBatchTarget:
    """A `BatchTarget` over a directory or an S3 bucket.

    Files lie from the beginning where they stay, and are part of the target when a manifest names
    them. No file that was published is changed or deleted; which rows count is decided by those who
    read, as `final_rows` does. So rows of a mode with a key count as written, once there are others
    that they may take the place of.

    Args:
        store: Root of the lake; a target's name is a path below it.
    """

    def __init__(self, store: ObstoreStore) -> None:
        self._store = store

    async def preflight(self, table: BatchTable) -> TargetPlan:
        """Say what is new for the path; refuse one that is another's or has other columns."""
        chain = await self._required(table)
        columns = {column.name: str(column.type) for column in table.columns}
        if not chain.published:
            shape = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            keys = await self._store.keys(table.name)
            foreign = [key for key in keys if not _OURS.match(key.removeprefix(f"{table.name}/"))]
            if foreign:
                raise SinkRefusedError(
                    f"{self._where(table)}: expected an empty path, got {len(foreign)} objects, "
                    f"such as `{foreign[0]}`: it belongs to somebody else; choose another path"
                )
            return TargetPlan(
                statements=[
                    f"create path {table.name} in {self._store.url} for pipeline "
                    f"{table.pipeline}, mode {table.mode}: {shape}"
                ]
            )
        known = chain.columns()
        return TargetPlan(
            statements=[
                f"add column {name} {kind} to path {table.name}"
                for name, kind in columns.items()
                if name not in known
            ]
        )

    async def open(self, table: BatchTable) -> None:
        """Remove staging of older runs of this slot, and allow this run to stage."""
        check_batch_table(table)
        await LakeStaging(self._store, table).open()

    async def stage(
        self, table: BatchTable, chunk: int, token: str, rows: AsyncIterator[pa.RecordBatch]
    ) -> int:
        """Write the rows of a chunk as files of about 64 MB of rows for each of their days."""
        staging = LakeStaging(self._store, table)
        await staging.require_open()
        await staging.forget(chunk, token)
        attempt = _Attempt(self._store, table, chunk, token)
        count, waiting, size = 0, [], 0
        async for batch in rows:
            part = conform_batch(table, batch)
            check_texts(table.name, table.columns, part)
            count, size = count + part.num_rows, size + part.nbytes
            waiting.append(part)
            if size >= _FILE_BYTES:
                await attempt.write(pa.concat_tables(waiting))
                waiting, size = [], 0
        if waiting:
            await attempt.write(pa.concat_tables(waiting))
        await attempt.finish()
        try:
            await staging.require_open()
        except SinkRefusedError:
            await staging.forget(chunk, token)
            raise
        return count

    async def staged(self, table: BatchTable, tokens: Mapping[int, str]) -> dict[int, int]:
        """Count the rows of the attempts that are named; one that is gone has none."""
        records = await LakeStaging(self._store, table).records(tokens)
        return {chunk: sum(file.rows for file in files or []) for chunk, files in records.items()}

    async def publish(self, table: BatchTable, tokens: Mapping[int, str]) -> Published:
        """Create a manifest that names the run's files, after all that were there before."""
        chain = await self._required(table)
        if chain.last_run(table.slot) >= table.run:
            return Published()
        staging = LakeStaging(self._store, table)
        if table.mode in KEYED_MODES:
            await self._check_keys(table, await staging.accepted(tokens))
        files = await staging.claim(tokens)
        link = Manifest(
            pipeline=table.pipeline,
            slot=table.slot,
            run=table.run,
            run_id=table.run_id,
            mode=table.mode,
            key=list(table.key),
            cursor=table.cursor,
            moment_us=table.moment_us,
            columns={column.name: str(column.type) for column in table.columns},
            rows=sum(file.rows for file in files),
            files=files,
        )
        while not await append_link(self._store, table.name, chain, link):
            chain = await self._required(table)
            if chain.last_run(table.slot) >= table.run:
                return Published()
            if chain.given_up(table.run_id):
                raise staging_gone(table, "to be published")
        if table.mode in KEYED_MODES:
            if any(one.rows for one in chain.published):
                return Published(written=link.rows)
            return Published(inserted=link.rows)
        before = sum(one.rows for one in chain.live() if one.slot == table.slot)
        return Published(inserted=link.rows, deleted=before)

    async def discard(self, table: BatchTable) -> None:
        """Remove the staging of this run, and its files unless they were published."""
        await LakeStaging(self._store, table).discard()

    async def final_rows(self, name: str, limit: int | None = None) -> pa.Table:
        """Read all files that count, and keep the rows that count, ordered by all but lists.

        UUIDs and JSON are text. Everything is read, whatever `limit` is.
        """
        chain = await read_chain(self._store, name)
        if not chain.published:
            raise SinkRefusedError(
                f"lake path `{name}` in {self._store.url}: expected a manifest, got none; it is "
                "made when a run is published"
            )
        last = chain.published[-1]
        links = chain.published if last.mode in KEYED_MODES else chain.live()
        schema = schema_of(chain.columns())
        published = []
        for link in links:
            parts = await self._read(name, link.files)
            rows = pa.concat_tables([schema_of(link.columns).empty_table(), *parts])
            published.append(PublishedRows(link.run, link.moment_us, rows))
        rows = await asyncio.to_thread(seen, last.mode, last.key, last.cursor, schema, published)
        return rows.slice(0, limit)

    async def close(self) -> None:
        """Nothing stays open: every request stands alone."""

    async def _required(self, table: BatchTable) -> Chain:
        """Read the chain; refuse a path that cannot hold the target."""
        check_batch_table(table)
        chain = await read_chain(self._store, table.name)
        if not chain.published:
            return chain
        first = chain.published[0]
        mine = (table.pipeline, table.mode, list(table.key))
        if (first.pipeline, first.mode, first.key) != mine:
            raise SinkRefusedError(
                f"{self._where(table)}: expected the path of pipeline `{table.pipeline}`, mode "
                f"{table.mode}, key {list(table.key)}, got that of `{first.pipeline}`, mode "
                f"{first.mode}, key {first.key}; choose another path"
            )
        known = chain.columns()
        for column in table.columns:
            kind, have = str(column.type).rstrip("?"), known.get(column.name, "").rstrip("?")
            if have not in ("", kind):
                raise SinkRefusedError(
                    f"{self._where(table)}: expected column `{column.name}` to be {have}, got "
                    f"{kind}; cast it in the steps, or choose another path"
                )
        return chain

    async def _check_keys(self, table: BatchTable, files: list[LakeFile]) -> None:
        parts = await self._read(table.name, files, table.key)
        if parts:
            repeated = await asyncio.to_thread(repetitions, parts, table.key)
            if repeated:
                raise repeated_keys(table, repeated)

    async def _read(
        self, path: str, files: list[LakeFile], columns: tuple[str, ...] | None = None
    ) -> list[pa.Table]:
        turns = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(file: LakeFile) -> pa.Table:
            async with turns:
                content = await self._store.read(f"{path}/{file.file}")
                digest = None if content is None else hashlib.sha256(content).hexdigest()
                if content is None or digest != file.sha256:
                    raise FatalError(
                        f"object `{path}/{file.file}` in {self._store.url}: expected sha256 "
                        f"{file.sha256}, as its manifest says, got {digest or 'no object'}; "
                        "restore it from a copy"
                    )
                return await asyncio.to_thread(decode, content, columns)

        return list(await asyncio.gather(*(read(file) for file in files)))

    def _where(self, table: BatchTable) -> str:
        return f"lake path `{table.name}` in {self._store.url}"


class _Attempt:
    """The files of one attempt at a chunk, in the making."""

    def __init__(self, store: ObstoreStore, table: BatchTable, chunk: int, token: str) -> None:
        self._store = store
        self._table = table
        self._place = (chunk, token)
        self._files: list[LakeFile] = []

    async def write(self, rows: pa.Table) -> None:
        """Write a file for each day; each has a record before it is there."""
        parts = await asyncio.to_thread(by_day, rows, self._table.partition_by)
        for day, part in parts.items():
            named = (self._table, *self._place, day, len(self._files))
            content, digest = await asyncio.to_thread(encode, part)
            await self._store.create(made_name(*named), b"")
            await self._store.create(f"{self._table.name}/{file_name(*named)}", content)
            self._files.append(
                LakeFile(
                    file=file_name(*named), rows=part.num_rows, bytes=len(content), sha256=digest
                )
            )

    async def finish(self) -> None:
        """Record that all files are there."""
        content = {"files": [file.model_dump() for file in self._files]}
        key = record_name(self._table, *self._place)
        await self._store.create(key, json.dumps(content).encode())
