"""A lake of Parquet files as a sink of versioned windows: immutable objects, named from the flush.

    <path>/_owner.json                             stream, identity and columns; the first one wins
    <path>/e000001/f0000000007-c000.parquet        a chunk of flush 7 of epoch 1, all versions
    <path>/e000001/manifest/f0000000007.json       written last: files, rows and hashes of flush 7

No object is ever changed. A flush counts when its manifest is there, so readers see it whole.
"""

import asyncio
import hashlib
import io
import json
import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from activities.ports import (
    FlushChunk,
    Preflight,
    Progress,
    RetiredEvents,
    RetiredRows,
    SinkTable,
)
from common.errors import FatalError, SinkRefusedError
from common.settings import ObjectStoreSettings
from connectors.final_view import (
    check_texts,
    column_texts,
    declared_columns,
    final_view,
    may_be_meant,
    retired,
    row_schema,
)
from connectors.object_store import ObstoreStore
from connectors.sink_rows import check_declaration, conform
from pipelines.stream import EPOCH_BITS

_EPOCH = re.compile(r"e(\d{6,})/")
_MANIFEST = re.compile(r"e\d{6,}/manifest/f\d{10,}\.json")
_NUMBERS = re.compile(r"e(\d{6,})/manifest/f(\d{10,})\.json$")
_READS_AT_ONCE = 16


@dataclass(frozen=True)
class _Owner:
    """To whom a path belongs, and what its rows look like."""

    stream: str
    identity: tuple[str, ...]
    columns: dict[str, str]

    def encode(self) -> bytes:
        content = {"stream": self.stream, "identity": self.identity, "columns": self.columns}
        return json.dumps(content, indent=1, ensure_ascii=False).encode()


class LakeSink:
    """A `FlushSink` over `file:///directory` or `s3://bucket/prefix`.

    Every object is created under a name that follows from stream, epoch, flush and chunk, and only
    if it is not there: a repeated write finds its own. A writer of an older epoch writes below its
    own epoch, and its rows lose by their version.

    Args:
        url: Root of the lake; the target's name is a path below it.
        settings: Endpoint, region and keys of an S3-compatible server.
    """

    def __init__(self, url: str, settings: ObjectStoreSettings | None = None) -> None:
        self._store = ObstoreStore(url, settings, setting="lake.url")
        self._owners: dict[str, _Owner] = {}

    async def prepare(self, table: SinkTable) -> Preflight:
        """Claim the path for the stream; refuse one that is another's or has other columns."""
        check_declaration(table)
        wanted = _Owner(table.stream, table.identity, column_texts(table))
        keys = await self._store.keys(table.name)
        self._owners.pop(table.name, None)
        owner = await self._owner(table.name)
        if owner is None and keys:
            raise SinkRefusedError(
                f"{self._where(table.name)}: expected an empty path for stream `{table.stream}`, "
                f"got {len(keys)} objects without `_owner.json`: it belongs to somebody else; "
                "choose another path"
            )
        if owner is None:
            await self._store.create(f"{table.name}/_owner.json", wanted.encode())
            owner = await self._owner(table.name)
        self._require(table, owner)
        epochs = (_EPOCH.match(key.removeprefix(f"{table.name}/")) for key in keys)
        return Preflight(highest_epoch=max((int(found[1]) for found in epochs if found), default=0))

    async def write(self, table: SinkTable, chunk: FlushChunk, rows: pa.Table) -> None:
        """Create the chunk's file; after the last chunk, the flush's manifest."""
        checked = conform(table, chunk, rows)
        check_texts(table.name, table.columns, checked)
        if table.name not in self._owners:
            self._require(table, await self._owner(table.name))
        content = await asyncio.to_thread(_encode, checked, chunk)
        if not await self._store.create(_chunk_key(table, chunk, chunk.chunk), content):
            await self._described(table, chunk, chunk.chunk)
        if chunk.chunk == chunk.chunk_count - 1:
            await self._write_manifest(table, chunk)

    async def retire(
        self, table: SinkTable, chunk: FlushChunk, rows: RetiredRows | RetiredEvents
    ) -> None:
        """Write a flush of tombstones over what the flushes before it left of older epochs.

        Those are whole and never change, so doing it again finds the same rows.
        """
        turns = asyncio.Semaphore(1)
        kept = [row_schema(table.columns).empty_table()]
        for key in await self._manifests(table.name):
            if _version_of(key) < chunk.version:
                parts = await self._read_flush(table.name, key, turns)
                kept += [may_be_meant(part, table.identity, rows) for part in parts]
        gone = await asyncio.to_thread(retired, pa.concat_tables(kept), table.identity, chunk, rows)
        await self.write(table, chunk, gone)

    async def publish(self, table: SinkTable, progress: Progress) -> None:
        """Create an object that says so by its name; older ones of the epoch go."""
        folder = f"{table.name}/e{progress.epoch:06d}/progress/"
        before = await self._store.keys(folder)
        key = f"{folder}{progress.complete_ms}-{progress.version}.json"
        content = {"complete_through_ms": progress.complete_ms, "version": progress.version}
        await self._store.create(key, json.dumps(content).encode())
        times = {one: _time_of(one) for one in before}
        await self._store.delete(k for k, at in times.items() if at < progress.complete_ms)

    async def refresh(self, table: SinkTable, version: int) -> None:
        """Do nothing: the version is kept with the rows."""

    async def progress(self, table: SinkTable) -> Progress | None:
        """Read the last manifest of the newest epoch, and what was told after it."""
        keys = await self._store.keys(table.name)
        epochs = [_EPOCH.match(key.removeprefix(f"{table.name}/")) for key in keys]
        epoch = max((int(found[1]) for found in epochs if found), default=0)
        folder = f"{table.name}/e{epoch:06d}/"
        known: list[Progress] = []
        manifests = [key for key in keys if key.startswith(f"{folder}manifest/")]
        told = [key for key in keys if key.startswith(f"{folder}progress/")]
        for key in (*manifests[-1:], *told):
            content = json.loads(await self._store.read(key) or b"{}")
            if (complete_ms := content.get("complete_through_ms")) is not None:
                known.append(Progress(epoch, complete_ms, content["version"]))
        return max(known, key=lambda one: one.complete_ms, default=None)

    async def final_rows(
        self, table: str, limit: int | None = None, time: str = "window_start"
    ) -> pa.Table:
        """Read all flushes that a manifest names, and keep the last version of each row.

        UUIDs and JSON are text. All versions are read, whatever `limit` is.
        """
        owner = await self._owner(table)
        if owner is None:
            raise SinkRefusedError(
                f"{self._where(table)}: expected `_owner.json`, got no such object; it is made "
                "when the stream starts"
            )
        keys = await self._manifests(table)
        turns = asyncio.Semaphore(_READS_AT_ONCE)
        parts = await asyncio.gather(*(self._read_flush(table, key, turns) for key in keys))
        schema = row_schema(declared_columns(owner.columns))
        rows = pa.concat_tables([schema.empty_table(), *(one for part in parts for one in part)])
        return await asyncio.to_thread(final_view, rows, owner.identity, limit, time)

    async def close(self) -> None:
        """Nothing stays open: every request stands alone."""

    async def _owner(self, path: str) -> _Owner | None:
        if path in self._owners:
            return self._owners[path]
        content = await self._store.read(f"{path}/_owner.json")
        if content is None:
            return None
        found = json.loads(content)
        owner = _Owner(found["stream"], tuple(found["identity"]), found["columns"])
        self._owners[path] = owner
        return owner

    def _require(self, table: SinkTable, owner: _Owner | None) -> None:
        where = self._where(table.name)
        if owner is None:
            raise SinkRefusedError(
                f"{where}: expected to be prepared for stream `{table.stream}`, got no "
                "`_owner.json`; start the stream, which prepares it"
            )
        if owner.stream != table.stream:
            raise SinkRefusedError(
                f"{where}: expected the path of stream `{table.stream}`, got that of "
                f"`{owner.stream}`: it belongs to somebody else; choose another path"
            )
        if (owner.columns, owner.identity) != (column_texts(table), table.identity):
            raise SinkRefusedError(
                f"{where}: expected columns {column_texts(table)}, got {owner.columns}; the files "
                "of a path have one shape, choose another path for the new one"
            )

    async def _described(self, table: SinkTable, chunk: FlushChunk, number: int) -> dict[str, Any]:
        """Describe a chunk's file for the manifest; `FatalError` when it is of another flush."""
        key = _chunk_key(table, chunk, number)
        content = await self._store.read(key)
        if content is None:
            raise FatalError(
                f"{self._where(table.name)}: expected chunk {number} of flush {chunk.flush_seq}, "
                f"got no object `{key}`; it was deleted, start the stream `--fresh`"
            )
        metadata = await asyncio.to_thread(pq.read_metadata, io.BytesIO(content))
        found = metadata.metadata or {}
        if {name: found.get(name) for name in _marks(chunk)} != _marks(chunk):
            raise FatalError(
                f"object `{key}` in {self._store.url}: expected the rows of flush "
                f"{chunk.flush_seq}, sha256 {chunk.sha256}, got those with "
                f"{found.get(b'sluice.sha256', b'none').decode()}; two runs share one epoch, "
                "start the stream `--fresh`"
            )
        return {
            "file": key.removeprefix(f"{table.name}/"),
            "rows": metadata.num_rows,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }

    async def _write_manifest(self, table: SinkTable, chunk: FlushChunk) -> None:
        key = _manifest_key(table, chunk)
        if await self._store.read(key) is not None:
            return
        files = [await self._described(table, chunk, place) for place in range(chunk.chunk_count)]
        content = {
            "stream": chunk.stream,
            "epoch": chunk.epoch,
            "flush": chunk.flush_seq,
            "version": chunk.version,
            "sha256": chunk.sha256,
            "columns": column_texts(table),
            "rows": sum(file["rows"] for file in files),
            "files": files,
            "complete": True,
            "complete_through_ms": chunk.complete_ms,
        }
        text = json.dumps(content, indent=1, ensure_ascii=False)
        await self._store.create(key, text.encode())

    async def _manifests(self, path: str) -> list[str]:
        keys = await self._store.keys(path)
        return [key for key in keys if _MANIFEST.fullmatch(key.removeprefix(f"{path}/"))]

    async def _read_flush(
        self, path: str, manifest: str, turns: asyncio.Semaphore
    ) -> list[pa.Table]:
        async with turns:
            described = json.loads(await self._store.read(manifest) or b"{}")
            return [await self._read_file(path, file) for file in described.get("files", [])]

    async def _read_file(self, path: str, file: dict[str, Any]) -> pa.Table:
        key = f"{path}/{file['file']}"
        content = await self._store.read(key)
        digest = None if content is None else hashlib.sha256(content).hexdigest()
        if content is None or digest != file["sha256"]:
            raise FatalError(
                f"object `{key}` in {self._store.url}: expected sha256 {file['sha256']}, as its "
                f"manifest says, got {digest or 'no object'}; restore it from a copy"
            )
        return await asyncio.to_thread(pq.read_table, io.BytesIO(content))

    def _where(self, path: str) -> str:
        return f"lake path `{path}` in {self._store.url}"


def _epoch(table: SinkTable, chunk: FlushChunk) -> str:
    return f"{table.name}/e{chunk.epoch:06d}"


def _chunk_key(table: SinkTable, chunk: FlushChunk, number: int) -> str:
    return f"{_epoch(table, chunk)}/f{chunk.flush_seq:010d}-c{number:03d}.parquet"


def _manifest_key(table: SinkTable, chunk: FlushChunk) -> str:
    return f"{_epoch(table, chunk)}/manifest/f{chunk.flush_seq:010d}.json"


def _version_of(manifest: str) -> int:
    """Read the version of a flush out of its manifest's name."""
    epoch, flush_seq = (int(number) for number in _NUMBERS.findall(manifest)[0])
    return epoch << EPOCH_BITS | flush_seq


def _time_of(key: str) -> int:
    """Read the time in the name of an object that tells progress."""
    return int(key.rsplit("/", 1)[-1].rsplit("-", 1)[0])


def _marks(chunk: FlushChunk) -> dict[bytes, bytes]:
    """Say within the file whose rows it has; the bytes may differ between versions of a library."""
    return {
        b"sluice.stream": chunk.stream.encode(),
        b"sluice.sha256": chunk.sha256.encode(),
        b"sluice.chunks": str(chunk.chunk_count).encode(),
    }


def _encode(rows: pa.Table, chunk: FlushChunk) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata(_marks(chunk)), buffer, compression="zstd")
    return buffer.getvalue()
