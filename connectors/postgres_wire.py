"""The rows that COPY sends, taken off a connection's wire before its driver sees them.

PostgreSQL sends every row as a message of its own. A driver that looks at each of them needs as
long as it takes to decode the rows, so a kernel takes them apart here, and the driver gets all
other messages: it stays the one that sends the command, and that knows of errors, cancellation and
the end.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import asyncpg
import numpy as np

from connectors import postgres_jit
from connectors.postgres_jit import address, int_at, put_word, word_at
from streaming import json_jit
from streaming.json_jit import byte_at, byte_pointer, entry, fingerprint

_SOURCE = fingerprint(json_jit, postgres_jit)

_READ_BYTES: Final = 512 * 1024
_WAITING_BYTES: Final = 4 * 1024 * 1024
"""Bytes that may wait to be decoded before the server is kept waiting."""

_PAUSE_S: Final = 0.002
_PAUSE_BYTES: Final = 4_096
"""The server sends eight kilobytes at a time: to be woken for each costs more than the rows."""

_HEAD: Final = 5
_ROW: Final = ord("d")


def _strip_kernel(source: str) -> Callable[[int, int, int, int, int], tuple[int, int, int]]:
    @entry
    def strip(bytes_at: int, at: int, end: int, left: int, row: int) -> tuple[int, int, int]:
        """Move the contents of messages of rows together, as far as such messages reach.

        Args:
            bytes_at: Bytes as they came; the contents begin at `at` afterwards.
            at: Where a message begins, or goes on.
            end: Behind the last byte.
            left: Bytes that the message which goes on still has.
            row: Type of the messages.

        Returns:
            (place behind the contents, place of what comes next, bytes that the last message still
            has).
        """
        sent = byte_pointer(bytes_at)
        to = at + 0 * len(source)
        while True:
            stop = at + min(left, end - at)
            left -= stop - at
            while stop - at >= 8:
                put_word(sent, to, word_at(sent, at))
                to += 8
                at += 8
            while at < stop:
                sent[to] = byte_at(sent, at)
                to += 1
                at += 1
            if left > 0 or end - at < 5 or byte_at(sent, at) != row:
                return to, at, left
            size = int_at(sent, at + 1)
            if size < 4:
                return to, at, left
            left = size - 4
            at += 5

    return strip


_strip = _strip_kernel(_SOURCE)


class CopyWire(asyncio.BufferedProtocol):
    """Stands between a connection and its driver during one COPY to the client.

    Args:
        connection: With nothing under way.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        # The driver has no public way to its socket.
        self._transport: asyncio.Transport = connection._transport  # noqa: SLF001 - as above
        self._driver = cast("asyncio.Protocol", self._transport.get_protocol())
        self._buffer = np.empty(_READ_BYTES, np.uint8)
        self._filled, self._left = 0, 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._ended = self._discards = False
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._transport.set_protocol(self)

    @property
    def rests(self) -> bool:
        """Whether nothing is read for a moment, so that more comes at once."""
        return self._pause is not None

    async def piece(self) -> bytes | None:
        """Give the next bytes of COPY's format, cut anywhere; None behind the last ones."""
        while not self._waiting:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        piece = self._waiting.popleft()
        self._waiting_bytes -= len(piece)
        self._go_on()
        return piece

    def take(self, piece: bytes) -> None:
        """Let bytes wait until they are asked for."""
        if self._discards:
            return
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        self._changed.set()

    def end(self) -> None:
        """Say that nothing comes any more."""
        self._ended = True
        self._changed.set()

    def discard(self) -> None:
        """Drop what comes from now on, so that the driver gets to the end of it."""
        self._discards = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._go_on()

    def release(self) -> None:
        """Give the connection back to its driver."""
        if self._pause is not None:
            self._pause.cancel()
        self._transport.set_protocol(self._driver)
        if not self._transport.is_closing():
            self._transport.resume_reading()
        if self._filled:
            self._driver.data_received(self._buffer[: self._filled].tobytes())

    # --- what the event loop calls ------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop gives no hint
        """Offer room; a message that is no row's is kept until it is whole."""
        if self._filled > len(self._buffer) // 2:
            self._buffer = np.concatenate([self._buffer, np.empty_like(self._buffer)])
        return self._buffer[self._filled :].data

    def buffer_updated(self, nbytes: int) -> None:
        """Sort what came: rows here, all else to the driver."""
        self._filled += nbytes
        at, end = 0, self._filled
        while True:
            begin = at
            stop, at, self._left = _strip(address(self._buffer), at, end, self._left, _ROW)
            if stop > begin:
                self.take(self._buffer[begin:stop].tobytes())
            if self._left or end - at < _HEAD:
                break
            size = 1 + int.from_bytes(self._buffer[at + 1 : at + _HEAD].tobytes(), "big")
            if end - at < size:
                break
            size = size if size >= _HEAD else end - at  # no message: the driver will say so
            self._driver.data_received(self._buffer[at : at + size].tobytes())
            at += size
        rest = end - at
        self._buffer[:rest] = self._buffer[at:end].copy()
        self._filled = rest
        if nbytes >= _PAUSE_BYTES and self._pause is None:
            self._transport.pause_reading()
            self._pause = self._loop.call_later(_PAUSE_S, self._paused)

    def _paused(self) -> None:
        self._pause = None
        self._go_on()

    def _go_on(self) -> None:
        """Read on, unless more comes than is taken."""
        if self._pause is None and self._waiting_bytes < _WAITING_BYTES:
            self._transport.resume_reading()

    def eof_received(self) -> bool | None:
        """Tell the driver."""
        return self._driver.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the driver."""
        self._driver.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the driver."""
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        """Tell the driver."""
        self._driver.resume_writing()


def warm_up() -> None:
    """Compile the kernel, or load it from the cache."""
    _strip(address(np.zeros(8, np.uint8)), 0, 0, 0, _ROW)
