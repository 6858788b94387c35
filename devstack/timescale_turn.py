"""What one client may do with the shared session, as a state machine without I/O.

Many clients share one upstream session. A client's **turn** begins with its first message and ends when the session says
that it is outside a transaction (ReadyForQuery `I`), no answer is outstanding and nothing was sent after the last Sync.
Within that, names of prepared statements get the client's prefix, so that two clients never meet.

`to_server` and `to_client` translate one message each; they never wait, and hold all that is needed to decide.
"""

import re
from collections import deque
from enum import Enum

from devstack.timescale_wire import Message, close_statement, cut

_COPY_IN = re.compile(rb"(?is)(?:^|;)\s*(?:/\*.*?\*/\s*|--[^\n]*\n\s*)*copy\b[^;]*\bfrom\s+stdin\b")
_FORGET = re.compile(rb"(?is)^\s*(deallocate|discard)\s+(?:prepare\s+)?all\s*;?\s*$")
_SET_CONFIG = re.compile(rb"(?i)\bset_config\s*\(")
# COPY FROM STDIN stops the WASM engine for good, so the statement is replaced by its refusal.
_COPY_REFUSAL = (
    b"DO $sluice$BEGIN RAISE EXCEPTION USING ERRCODE = '0A000', "
    b"MESSAGE = 'COPY FROM STDIN is not supported by the embedded TimescaleDB', "
    b"HINT = 'use INSERT ... SELECT FROM unnest(...) with about 1000 rows a statement'; END$sluice$"
)


class _Due(Enum):
    """An answer that is still to come."""

    CLOSE = "close of the client"
    OWN_CLOSE = "close of the proxy"
    READY = "ready for query"


class Turn:
    """State of one client towards the shared session; lives as long as the client."""

    def __init__(self, client_id: int) -> None:
        self._prefix = f"c{client_id}_".encode()
        self._due: deque[_Due] = deque()
        self._unsynced = False
        self._status = b"I"
        self._statements: set[bytes] = set()
        self._watches_set_config = False
        self.settings_touched = False
        self.settings_reset = False

    @property
    def status(self) -> bytes:
        """Transaction status of the last ReadyForQuery: `I`, `T` or `E`."""
        return self._status

    @property
    def awaits_client(self) -> bool:
        """Whether the session has answered all and waits for the client's next message."""
        return _Due.READY not in self._due

    @property
    def over(self) -> bool:
        """Whether the session can go to another client."""
        return self._status == b"I" and not self._due and not self._unsynced

    @property
    def unsynced(self) -> bool:
        """Whether messages were sent after the last Sync."""
        return self._unsynced

    def to_server(self, message: Message) -> bytes:
        """Translate a client's message; give the bytes for the session.

        Raises:
            WireError: If the message is malformed.
        """
        match message.type:
            case b"Q":
                return self._query(message)
            case b"S":
                return self.sync()
            case b"P":
                return self._parse(message)
            case b"B":
                (portal, name), rest = cut(message.body, 2)
                message = Message(b"B", b"\0".join((portal, self._own(name), rest)))
            case b"D" if message.body[:1] == b"S":
                (name,), _ = cut(message.body[1:], 1)
                message = Message(b"D", b"S" + self._own(name) + b"\0")
            case b"C":
                return self._close(message)
            case b"F":
                self._due.append(_Due.READY)
                return message.encode()
        self._unsynced = True
        return message.encode()

    def sync(self) -> bytes:
        """End the open batch."""
        self._unsynced = False
        self._due.append(_Due.READY)
        return Message(b"S", b"").encode()

    def forget_statements(self) -> bytes:
        """Close all of the client's prepared statements; the answers stay with the proxy."""
        closes = b""
        for name in sorted(self._statements):
            closes += self._own_close(name)
        self._statements.clear()
        return closes

    def to_client(self, message: Message) -> bool:
        """Note an answer of the session; tell whether the client gets it."""
        match message.type:
            case b"3":
                return bool(self._due) and self._due.popleft() is _Due.CLOSE
            case b"E":
                # All up to the next Sync is skipped, answers of closes included.
                while self._due and self._due[0] is not _Due.READY:
                    self._due.popleft()
            case b"C":
                self._note_tag(message.body)
            case b"Z":
                while self._due and self._due.popleft() is not _Due.READY:
                    pass
                self._status = message.body[:1]
            case b"N":
                return b"\0VDEBUG" not in message.body
        return True

    def settings_known(self) -> None:
        """Take note that the proxy has looked at the client's settings."""
        self.settings_touched = self._watches_set_config
        self.settings_reset = False

    def _note_tag(self, body: bytes) -> None:
        tag = body.rstrip(b"\0")
        if tag == b"SET":
            self.settings_touched = True
        elif tag in {b"RESET", b"DISCARD ALL"}:
            self.settings_reset = True

    def _own(self, name: bytes) -> bytes:
        return self._prefix + name

    def _own_close(self, name: bytes) -> bytes:
        self._due.append(_Due.OWN_CLOSE)
        return close_statement(name)

    def _query(self, message: Message) -> bytes:
        sql, closes = self._rewrite(message.body.rstrip(b"\0"))
        self._unsynced = False
        self._due.append(_Due.READY)
        return closes + Message(b"Q", sql + b"\0").encode()

    def _parse(self, message: Message) -> bytes:
        (name, sql), rest = cut(message.body, 2)
        sql, closes = self._rewrite(sql)
        own = self._own(name)
        if not name and own in self._statements:
            # A named statement cannot be parsed twice; the unnamed one may be.
            closes += self._own_close(own)
        self._statements.add(own)
        self._unsynced = True
        return closes + Message(b"P", b"\0".join((own, sql, rest))).encode()

    def _close(self, message: Message) -> bytes:
        self._due.append(_Due.CLOSE)
        self._unsynced = True
        if message.body[:1] != b"S":
            return message.encode()
        (name,), _ = cut(message.body[1:], 1)
        self._statements.discard(self._own(name))
        return close_statement(self._own(name))

    def _rewrite(self, sql: bytes) -> tuple[bytes, bytes]:
        """Replace what must not reach the shared session; give closes to be sent before it."""
        if _COPY_IN.search(sql):
            return _COPY_REFUSAL, b""
        if _SET_CONFIG.search(sql):
            self._watches_set_config = True
            self.settings_touched = True
        forget = _FORGET.match(sql)
        if forget is None:
            return sql, b""
        harmless = b"RESET ALL" if forget.group(1).lower() == b"discard" else b"RESET geqo"
        return harmless, self.forget_statements()
