"""Chunks of a flush: which rows each write into a sink takes, from recorded numbers alone."""

from streaming.segment import Blob
from streaming.state import Flush

GROUP_BYTES = 16 * 1024 * 1024
"""Small tables are written together up to this size."""


def groups(flush: Flush) -> list[list[Blob]]:
    """Put neighbouring tables together that fit one chunk; a larger one stands alone."""
    found: list[list[Blob]] = []
    rows = size = 0
    for table in flush.tables:
        rows, size = rows + table.row_count, size + table.size_bytes
        if not found or rows > flush.chunk_rows or size > GROUP_BYTES:
            found.append([])
            rows, size = table.row_count, table.size_bytes
        found[-1].append(table)
    return found


def chunk_count(flush: Flush) -> int:
    """Count the chunks: each group is cut into pieces of `chunk_rows` rows."""
    heights = [sum(table.row_count for table in group) for group in groups(flush)]
    return sum(-(-height // flush.chunk_rows) for height in heights)
