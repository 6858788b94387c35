"""Frames as bytes: Arrow IPC, lz4."""

import io

import polars as pl


def to_bytes(frame: pl.DataFrame) -> bytes:
    """Encode a frame."""
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compression="lz4")
    return buffer.getvalue()


def from_bytes(content: bytes) -> pl.DataFrame:
    """Decode a frame."""
    return pl.read_ipc(content)
