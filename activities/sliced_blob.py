"""Objects that hold several tables, written whole and read slice by slice."""

import asyncio

import polars as pl

from common.payloads import ObjectStore, Ref
from streaming.frame import from_bytes, to_bytes
from streaming.segment import Blob
from streaming.slice_index import Slice, check_slice, codec_of, index_bytes, pack, read_index


def encode(frame: pl.DataFrame) -> tuple[int, bytes]:
    """Encode a slice: its rows and bytes; an empty one has none."""
    return frame.height, to_bytes(frame) if frame.height else b""


async def freeze_slices(
    store: ObjectStore, prefix: str, slices: list[tuple[int, bytes]]
) -> Blob | None:
    """Store encoded slices as one object; None when all of them are empty."""
    row_count = sum(rows for rows, _ in slices)
    if not row_count:
        return None
    content = pack(slices)
    ref = await store.put(prefix, content, codec_of(len(slices)))
    return Blob(row_count=row_count, size_bytes=len(content), ref=ref)


def thaw_slices(content: bytes, count: int, name: str) -> pl.DataFrame:
    """Decode all slices of an object, as one table."""
    index = read_index(content[: index_bytes(count)], count, name)
    return pl.concat(
        from_bytes(content[s.start : s.start + s.size_bytes]) for s in index if s.row_count
    )


class SliceReader:
    """Slices of one object, read one at a time."""

    def __init__(self, store: ObjectStore, ref: Ref, count: int) -> None:
        self._store = store
        self._ref = ref
        self._count = count
        self._index: list[Slice] = []

    async def index(self) -> list[Slice]:
        """Tell what the object holds."""
        if not self._index:
            head = await self._store.get_range(self._ref, 0, index_bytes(self._count))
            self._index = read_index(head, self._count, self._ref.key)
        return self._index

    async def read(self, number: int) -> pl.DataFrame | None:
        """Read a slice; None when it is empty."""
        part = (await self.index())[number]
        if not part.row_count:
            return None
        stop = part.start + part.size_bytes
        content = await self._store.get_range(self._ref, part.start, stop)
        check_slice(content, part, self._ref.key)
        return await asyncio.to_thread(from_bytes, content)
