"""Bytes of text files: decompressed as they are read, and cut where records end."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar, cast

import numpy as np
import numpy.typing as npt
from backports import zstd

from common.errors import SourceRefusedError
from pipelines.etl_source import Compression

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""A longer record is a mistake, such as a quote that is never closed."""

BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
Bytes = npt.NDArray[np.uint8]
Found = TypeVar("Found")


def compression_of(name: str, wanted: Compression) -> Compression:
    """Say how a file is compressed; `auto` goes by the ending."""
    if wanted != "auto":
        return wanted
    if name.endswith(".gz"):
        return "gzip"
    return "zstd" if name.endswith((".zst", ".zstd")) else "none"


def decompressed(opened: BinaryIO, compression: Compression) -> BinaryIO:
    """Give the content of a file as it is read; several members follow each other."""
    if compression == "gzip":
        return cast("BinaryIO", gzip.GzipFile(fileobj=opened))
    return cast("BinaryIO", zstd.ZstdFile(opened)) if compression == "zstd" else opened


@contextmanager
def whole_content(file: str) -> Iterator[None]:
    """Refuse a file whose compressed content is damaged."""
    try:
        yield
    except (gzip.BadGzipFile, zstd.ZstdError, zlib.error, EOFError) as error:
        raise SourceRefusedError(
            f"file `{file}`: expected whole compressed content, got a mistake: {error}; "
            "check the file and `compression`"
        ) from error


def skip_bom(content: BinaryIO, file: str) -> int:
    """Read past a mark of UTF-8 at the beginning; gives its length.

    Raises:
        SourceRefusedError: The file begins with the mark of another encoding.
    """
    begin = content.read(len(BOM))
    if begin.startswith(_OTHER_BOMS):
        raise SourceRefusedError(f"file `{file}`: expected UTF-8, got UTF-16; convert it")
    size = len(BOM) if begin == BOM else 0
    content.seek(size)
    return size


def text_blocks(
    content: BinaryIO,
    file: str,
    start: int,
    stop: int | None,
    block_bytes: int,
    cut: Callable[[Bytes, bool], tuple[int, Found]],
) -> Iterator[tuple[Bytes, int, Found]]:
    """Yield a span of a file in blocks of whole records.

    Args:
        content: The file, at `start`.
        file: Its name, for messages.
        start: Place of the first byte.
        stop: Place of the first byte behind the span; None is the end of the file.
        block_bytes: About how long a block is.
        cut: Says how many bytes of a block are whole records, and what it found in them; the flag
            says that nothing follows, so that the end ends a record.

    Yields:
        uint8 block, the place of its first byte in the file, and what was found.
    """
    left, at = b"", start
    while True:
        room = max(block_bytes - len(left), block_bytes // 2, 1)
        if stop is not None:
            room = min(room, stop - at - len(left))
        got = content.read(room) if room > 0 else b""
        last = not got or (stop is not None and at + len(left) + len(got) >= stop)
        block = np.frombuffer(left + got, np.uint8)
        if len(block):
            used, found = cut(block, last)
            if used:
                yield block[:used], at, found
            left = block[used:].tobytes()
            at += used
        if last:
            return
        if len(left) > MAX_RECORD_BYTES:
            raise SourceRefusedError(
                f"file `{file}`: expected records of at most {MAX_RECORD_BYTES // 1024**2} MB, got "
                f"a longer one at byte {at:,}; a quote may never be closed"
            )
