"""Content codings of the ClickHouse front, incremental both ways: gzip, deflate, lz4, zstd."""

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CODINGS = ("lz4", "zstd", "gzip", "deflate")


class Decoder(Protocol):
    """One compressed frame, fed in pieces."""

    @property
    def eof(self) -> bool:
        """Whether the frame's end was seen."""

    @property
    def unused_data(self) -> bytes | None:
        """Bytes after the frame's end."""

    def decompress(self, data: bytes) -> bytes:
        """Give what the piece decodes to."""


class Encoder(Protocol):
    """A compressed stream, written in pieces."""

    def compress(self, data: bytes) -> bytes:
        """Give the coded bytes that are ready."""

    def flush(self) -> bytes:
        """End the stream."""


class CodingError(ValueError):
    """A body is not what its Content-Encoding says."""


class _Lz4Encoder:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._head: bytes = self._frame.begin()

    def compress(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._frame.compress(data))

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._frame.flush())


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
    "gzip": lambda: zlib.decompressobj(31),
    "deflate": lambda: zlib.decompressobj(15),
}
_ENCODERS: dict[str, Callable[[], Encoder]] = {
    "lz4": _Lz4Encoder,
    "zstd": lambda: zstd.ZstdCompressor(level=1),
    "gzip": lambda: zlib.compressobj(3, zlib.DEFLATED, 31),
    "deflate": lambda: zlib.compressobj(3, zlib.DEFLATED, 15),
}


class BodyDecoder:
    """Undoes a request's Content-Encoding; frames that follow one another are one body."""

    def __init__(self, coding: str) -> None:
        """Take the header's value; empty and `identity` change nothing.

        Raises:
            CodingError: If the coding is not known.
        """
        self._coding = "" if coding == "identity" else coding
        if self._coding and self._coding not in _DECODERS:
            message = f"content encoding must be one of {', '.join(CODINGS)}, got {coding!r}"
            raise CodingError(message)
        self._frame: Decoder | None = None

    def feed(self, data: bytes) -> bytes:
        """Decode one piece.

        Raises:
            CodingError: If the bytes are not of the coding.
        """
        if not self._coding:
            return data
        out: list[bytes] = []
        while data:
            if self._frame is None:
                self._frame = _DECODERS[self._coding]()
            try:
                out.append(self._frame.decompress(data))
            except (RuntimeError, ValueError, EOFError, zlib.error, zstd.ZstdError) as error:
                message = f"body must be {self._coding}, got bytes that are not: {error}"
                raise CodingError(message) from error
            if not self._frame.eof:
                break
            data = self._frame.unused_data or b""
            self._frame = None
        return b"".join(out)

    def finish(self) -> None:
        """Check that the last frame is whole.

        Raises:
            CodingError: If the body ended inside a frame.
        """
        if self._frame is not None:
            message = f"body must be {self._coding}, got one that ends inside a frame"
            raise CodingError(message)


def choose_coding(accept_encoding: str) -> str | None:
    """Pick the first coding of an Accept-Encoding header that is known."""
    for offer in accept_encoding.lower().split(","):
        name, _, weight = offer.strip().partition(";")
        if name.strip() in _ENCODERS and weight.replace(" ", "") != "q=0":
            return name.strip()
    return None


def new_encoder(coding: str) -> Encoder:
    """Start a coded response body."""
    return _ENCODERS[coding]()
