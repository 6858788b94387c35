"""Several tables in one object, each to be read alone: an index, then Arrow IPC after Arrow IPC.

The index has a fixed size for a number of slices, so a reader that knows the number takes it in one
read and a slice in another. It tells of each slice its length, its rows and a digest, since the
hash of the whole object cannot be checked against a part of it.
"""

import hashlib
import struct
from dataclasses import dataclass

from common.errors import FatalError

DIGEST_BYTES = 16

_CODEC = "slices"
_MAGIC = b"sluice/1"
_ENTRY = struct.Struct(f"<QQ{DIGEST_BYTES}s")


@dataclass(frozen=True)
class Slice:
    """A table within an object; empty ones have no bytes.

    Attributes:
        start: Place of its first byte.
    """

    start: int
    size_bytes: int
    row_count: int
    digest: bytes


def codec_of(count: int) -> str:
    """Name the format of an object of so many slices."""
    return f"{_CODEC}{count}"


def slice_count(codec: str) -> int:
    """Tell how many slices an object of a format has; 0 for other formats."""
    number = codec.removeprefix(_CODEC)
    return int(number) if number != codec else 0


def index_bytes(count: int) -> int:
    """Give the length of the index of so many slices."""
    return len(_MAGIC) + _ENTRY.size * count + DIGEST_BYTES


def pack(slices: list[tuple[int, bytes]]) -> bytes:
    """Join tables, each with its number of rows, into the bytes of one object."""
    entries = [_ENTRY.pack(len(part), rows, _digest(part)) for rows, part in slices]
    index = _MAGIC + b"".join(entries)
    return b"".join([index, _digest(index), *(part for _, part in slices)])


def read_index(content: bytes, count: int, name: str) -> list[Slice]:
    """Read the index of an object.

    Args:
        content: Its first `index_bytes(count)` bytes.
        count: Number of its slices.
        name: The object's, for messages.

    Raises:
        FatalError: These are not the bytes that were written.
    """
    index, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if not index.startswith(_MAGIC) or _digest(index) != digest:
        raise _damaged(name, f"an index of {count} slices, got other bytes")
    start, found = index_bytes(count), []
    for size_bytes, row_count, part in _ENTRY.iter_unpack(index[len(_MAGIC) :]):
        found.append(Slice(start, size_bytes, row_count, part))
        start += size_bytes
    return found


def check_slice(content: bytes, expected: Slice, name: str) -> None:
    """Make sure that the bytes of a slice are those that were written.

    Raises:
        FatalError: They are not.
    """
    if len(content) != expected.size_bytes or _digest(content) != expected.digest:
        raise _damaged(
            name,
            f"{expected.size_bytes} bytes at {expected.start} as they were written, got "
            f"{len(content)} other ones",
        )


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]


def _damaged(name: str, what: str) -> FatalError:
    return FatalError(
        f"object `{name}`: expected {what}; restore it from a copy or rewind the stream"
    )
