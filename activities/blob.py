"""Frozen tables to and from the object store."""

import polars as pl

from activities.sliced_blob import thaw_slices
from common.payloads import ObjectStore
from streaming.frame import from_bytes, to_bytes
from streaming.segment import Blob


async def freeze(store: ObjectStore, prefix: str, frame: pl.DataFrame, inline_bytes: int) -> Blob:
    """Encode a frame; above `inline_bytes` it goes to the store and only the reference travels."""
    content = to_bytes(frame)
    if len(content) <= inline_bytes:
        return Blob(row_count=frame.height, size_bytes=len(content), inline=content)
    ref = await store.put(prefix, content)
    return Blob(row_count=frame.height, size_bytes=len(content), ref=ref)


async def thaw(store: ObjectStore, blob: Blob) -> pl.DataFrame:
    """Decode a frozen table from wherever it is, all of its slices where it has some."""
    if blob.inline is not None:
        return from_bytes(blob.inline)
    assert blob.ref is not None  # noqa: S101 - a blob is one or the other
    content = await store.get(blob.ref)
    return thaw_slices(content, blob.slices, blob.ref.key) if blob.slices else from_bytes(content)
