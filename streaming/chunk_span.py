"""Chunks of a flush that one activity writes."""

from common.payloads import Model
from streaming import flush_chunk
from streaming.state import Flush

MOST_CHUNKS = 20
"""Chunks that one activity writes, so that a slow sink is done with them in time."""


class ChunkSpan(Model):
    """Chunks `[first, stop)` of a flush."""

    first: int
    stop: int


def chunk_count(flush: Flush) -> int:
    """Count the chunks of a flush, over all of its parts."""
    if not flush.parts:
        return flush_chunk.chunk_count(flush)
    return -(-sum(part.row_count for part in flush.parts) // flush.chunk_rows)


def chunk_spans(flush: Flush) -> list[ChunkSpan | None]:
    """Share out the chunks of a flush to activities; one does all of a flush without parts."""
    count = chunk_count(flush)
    if not flush.parts or count <= MOST_CHUNKS:
        return [None]
    return [
        ChunkSpan(first=at, stop=min(at + MOST_CHUNKS, count))
        for at in range(0, count, MOST_CHUNKS)
    ]
