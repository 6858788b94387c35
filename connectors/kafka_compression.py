"""Compression of the record section of a batch: gzip, snappy (framed or raw), lz4, zstd."""

from collections.abc import Callable
from typing import Final

import cramjam
import numpy as np
import numpy.typing as npt

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODECS: Final = {"none": NONE, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}

_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16


def _decompress_snappy(section: memoryview) -> memoryview:
    """Decompress raw snappy, or the blocks of snappy-java's framing that Java producers write."""
    if bytes(section[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        return memoryview(cramjam.snappy.decompress_raw(section))
    blocks = []
    at = _XERIAL_HEADER_BYTES
    while at + 4 <= len(section):
        size = int.from_bytes(section[at : at + 4], "big")
        blocks.append(bytes(cramjam.snappy.decompress_raw(section[at + 4 : at + 4 + size])))
        at += 4 + size
    return memoryview(b"".join(blocks))


_DECOMPRESS: Final[dict[int, Callable[[memoryview], memoryview]]] = {
    GZIP: lambda section: memoryview(cramjam.gzip.decompress(section)),
    SNAPPY: _decompress_snappy,
    LZ4: lambda section: memoryview(cramjam.lz4.decompress(section)),
    ZSTD: lambda section: memoryview(cramjam.zstd.decompress(section)),
}


def decompress(codec: int, section: memoryview) -> npt.NDArray[np.uint8]:
    """Decompress one record section.

    Raises:
        ValueError: When the codec is unknown or the bytes are not of that codec.
    """
    try:
        return np.frombuffer(_DECOMPRESS[codec](section), np.uint8)
    except KeyError:
        raise ValueError(f"compression codec {codec} is unknown") from None
    except cramjam.DecompressionError as error:
        raise ValueError(str(error)) from error


def compress_lz4(section: memoryview) -> bytes:
    """Compress a record section as an lz4 frame of independent blocks; linked ones are refused."""
    compressor = cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False)
    compressor.compress(bytes(section))
    return bytes(compressor.finish())
