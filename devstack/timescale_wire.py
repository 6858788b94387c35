"""PostgreSQL messages, protocol 3.0: cutting a stream into them, building those of the proxy.

Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol".
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PROTOCOL_3 = 196608
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_LENGTH = struct.Struct("!I")


class WireError(ValueError):
    """The bytes are no PostgreSQL messages."""


@dataclass(frozen=True)
class Message:
    """One message: its type (empty for a start-up packet) and what follows the length."""

    type: bytes
    body: bytes

    def encode(self) -> bytes:
        """Give the bytes on the wire."""
        return self.type + _LENGTH.pack(len(self.body) + 4) + self.body


class Framer:
    """Cuts a stream into messages, whatever the pieces; keeps the rest."""

    def __init__(self, *, startup: bool = False) -> None:
        """Start; with `startup` the first messages are start-up packets until `end_startup`."""
        self._buffer = bytearray()
        self._head = 0 if startup else 1

    def end_startup(self) -> None:
        """Expect messages with a type from here on."""
        self._head = 1

    def feed(self, data: bytes) -> None:
        """Add bytes."""
        self._buffer += data

    def messages(self) -> Iterator[Message]:
        """Yield the complete messages and drop them from the buffer.

        Raises:
            WireError: If a length is impossible.
        """
        position = 0
        try:
            while True:
                start = position + self._head
                if len(self._buffer) < start + 4:
                    return
                (size,) = _LENGTH.unpack_from(self._buffer, start)
                if not 4 <= size <= MAX_MESSAGE_BYTES:
                    text = f"message length must be 4 to {MAX_MESSAGE_BYTES} bytes, got {size}"
                    raise WireError(text)
                if len(self._buffer) < start + size:
                    return
                kind = bytes(self._buffer[position:start])
                body = bytes(self._buffer[start + 4 : start + size])
                position = start + size
                yield Message(kind, body)
        finally:
            del self._buffer[:position]


def cut(body: bytes, count: int) -> tuple[list[bytes], bytes]:
    """Split `count` zero-terminated strings off the front of a body.

    Raises:
        WireError: If there are fewer.
    """
    *strings, rest = body.split(b"\0", count)
    if len(strings) != count:
        text = f"message must hold {count} zero-terminated strings, got {len(strings)}"
        raise WireError(text)
    return strings, rest


def startup(parameters: Mapping[str, str]) -> bytes:
    """Build a start-up packet."""
    pairs = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    return Message(b"", struct.pack("!I", PROTOCOL_3) + pairs + b"\0").encode()


def read_startup(body: bytes) -> tuple[int, dict[str, str]]:
    """Read a start-up packet: its code, and its parameters if it is a real start.

    Raises:
        WireError: If it is too short or ends inside a parameter.
    """
    if len(body) < 4:
        text = f"start-up packet must have 4 bytes or more, got {len(body)}"
        raise WireError(text)
    (code,) = _LENGTH.unpack_from(body)
    if code in {SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST}:
        return code, {}
    strings = body[4:].decode(errors="replace").split("\0")
    parameters: dict[str, str] = {}
    for name, value in zip(strings[::2], strings[1::2], strict=False):
        if not name:
            return code, parameters
        parameters[name] = value
    if strings[-1]:
        text = "start-up parameters must end with an empty name, got a packet that ends before"
        raise WireError(text)
    return code, parameters


def query(sql: str) -> bytes:
    """Build a simple query."""
    return Message(b"Q", sql.encode() + b"\0").encode()


def close_statement(name: bytes) -> bytes:
    """Build the Close of a prepared statement."""
    return Message(b"C", b"S" + name + b"\0").encode()


SYNC = Message(b"S", b"").encode()


def parameter_status(name: str, value: str) -> bytes:
    """Build a ParameterStatus."""
    return Message(b"S", f"{name}\0{value}\0".encode()).encode()


def ready_for_query() -> bytes:
    """Build a ReadyForQuery outside any transaction."""
    return Message(b"Z", b"I").encode()


def authentication_ok() -> bytes:
    """Build an AuthenticationOk."""
    return Message(b"R", struct.pack("!I", 0)).encode()


def backend_key(process_id: int, secret: int) -> bytes:
    """Build a BackendKeyData."""
    return Message(b"K", struct.pack("!II", process_id, secret)).encode()


def error_response(severity: str, code: str, text: str, hint: str = "") -> bytes:
    """Build an ErrorResponse."""
    fields = [("S", severity), ("V", severity), ("C", code), ("M", text)]
    if hint:
        fields.append(("H", hint))
    body = b"".join(f"{key}{value}\0".encode() for key, value in fields) + b"\0"
    return Message(b"E", body).encode()


def read_error(body: bytes) -> str:
    """Give the text of an ErrorResponse or NoticeResponse."""
    fields = {field[:1]: field[1:] for field in body.split(b"\0") if field}
    return fields.get(b"M", b"no reason given").decode(errors="replace")


def read_row(body: bytes) -> list[str | None]:
    """Read a DataRow of text columns."""
    (count,) = struct.unpack_from("!H", body)
    values: list[str | None] = []
    position = 2
    for _ in range(count):
        (size,) = struct.unpack_from("!i", body, position)
        position += 4
        if size < 0:
            values.append(None)
            continue
        values.append(body[position : position + size].decode())
        position += size
    return values
