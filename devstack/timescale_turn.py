"""What one client may do with the shared session, as a state machine without I/O.

Many clients share one upstream session. A client's **turn** begins with its first message and ends
when the session says that it is outside a transaction (ReadyForQuery `I`), no answer is outstanding
and nothing was sent after the last Sync. Within that, names of prepared statements get the client's
prefix, so that two clients never meet.

`to_server` and `to_client` translate one message each; they never wait, and hold all that is needed
to decide.
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
    OWN_READY = "ready for query after a Sync of the proxy"


_READY = (_Due.READY, b"", 0)
_OWN_READY = (_Due.OWN_READY, b"", 0)
_ENDS = (_READY, _OWN_READY)


class Turn:
    """State of one client towards the shared session; lives as long as the client."""

    def __init__(self, client_id: int) -> None:
        self._prefix = f"c{client_id}_".encode()
        self._due: deque[tuple[_Due, bytes, int]] = deque()
        self._unsynced = False
        self._bound = False
        self._skips = False
        self._status = b"I"
        self._statements: dict[bytes, int] = {}  # name to the number of its latest Parse
        self._parses = 0
        self._set_config_statements: set[bytes] = set()
        self.settings_touched = False
        self.settings_reset = False

    @property
    def status(self) -> bytes:
        """Transaction status of the last ReadyForQuery: `I`, `T` or `E`."""
        return self._status

    @property
    def awaits_client(self) -> bool:
        """Whether the session has answered all and waits for the client's next message."""
        return _READY not in self._due and _OWN_READY not in self._due

    @property
    def must_wait(self) -> bool:
        """Whether the client's next message has to wait for the answer to the proxy's own Sync."""
        return _OWN_READY in self._due

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
        if self._skips and message.type != b"S":
            return b""
        match message.type:
            case b"Q":
                return self._query(message)
            case b"S":
                self._skips = False
                return self.sync()
            case b"H" if self._status == b"I" and not self._bound:
                return self._sync_for_flush()
            case b"P":
                return self._parse(message)
            case b"B":
                (portal, name), rest = cut(message.body, 2)
                own = self._own(name)
                self._bound = True
                self.settings_touched |= own in self._set_config_statements
                message = Message(b"B", b"\0".join((portal, own, rest)))
            case b"D" if message.body[:1] == b"S":
                (name,), _ = cut(message.body[1:], 1)
                message = Message(b"D", b"S" + self._own(name) + b"\0")
            case b"C":
                return self._close(message)
            case b"F":
                self._due.append(_READY)
                return message.encode()
        self._unsynced = True
        return message.encode()

    def sync(self) -> bytes:
        """End the open batch."""
        self._unsynced = self._bound = False
        self._due.append(_READY)
        return Message(b"S", b"").encode()

    def _sync_for_flush(self) -> bytes:
        """End a batch that only prepares, though it has no Sync: asyncpg sends Flush there."""
        self._unsynced = False
        self._due.append(_OWN_READY)
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
                return self._note_close()
            case b"E":
                # All up to the next Sync is skipped, answers of closes included.
                while self._due and self._due[0] not in _ENDS:
                    self._due.popleft()
                # The client's Sync is still to come: as a server does, skip all before it.
                self._skips = not self._due or self._due[0] == _OWN_READY
            case b"C":
                self._note_tag(message.body)
            case b"Z":
                return self._note_ready(message.body[:1])
            case b"N":
                return b"\0VDEBUG" not in message.body
        return True

    def _note_close(self) -> bool:
        due, name, number = self._due.popleft()
        if self._statements.get(name) == number:
            del self._statements[name]
        return due is _Due.CLOSE

    def _note_ready(self, status: bytes) -> bool:
        end = self._due.popleft()
        while end not in _ENDS:
            end = self._due.popleft()
        self._status = status
        return end == _READY

    def settings_known(self) -> None:
        """Take note that the proxy has looked at the client's settings."""
        self.settings_touched = False
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
        self._due.append((_Due.OWN_CLOSE, b"", 0))
        return close_statement(name)

    def _query(self, message: Message) -> bytes:
        sql, closes = self._rewrite(message.body.rstrip(b"\0"))
        self.settings_touched |= _SET_CONFIG.search(sql) is not None
        self._unsynced = self._bound = False
        self._due.append(_READY)
        return closes + Message(b"Q", sql + b"\0").encode()

    def _parse(self, message: Message) -> bytes:
        (name, sql), rest = cut(message.body, 2)
        sql, closes = self._rewrite(sql)
        own = self._own(name)
        if _SET_CONFIG.search(sql):
            self._set_config_statements.add(own)
        else:
            self._set_config_statements.discard(own)
        if not name and own in self._statements:
            # A named statement cannot be parsed twice; the unnamed one may be.
            closes += self._own_close(own)
        self._parses += 1
        self._statements[own] = self._parses
        self._unsynced = True
        return closes + Message(b"P", b"\0".join((own, sql, rest))).encode()

    def _close(self, message: Message) -> bytes:
        self._unsynced = True
        if message.body[:1] != b"S":
            self._due.append((_Due.CLOSE, b"", 0))
            return message.encode()
        (name,), _ = cut(message.body[1:], 1)
        own = self._own(name)
        # An error before it skips the close, so the statement is gone only when the answer comes.
        self._due.append((_Due.CLOSE, own, self._statements.get(own, 0)))
        return close_statement(own)

    def _rewrite(self, sql: bytes) -> tuple[bytes, bytes]:
        """Replace what must not reach the shared session; give closes to be sent before it."""
        if _COPY_IN.search(sql):
            return _COPY_REFUSAL, b""
        forget = _FORGET.match(sql)
        if forget is None:
            return sql, b""
        harmless = b"RESET ALL" if forget.group(1).lower() == b"discard" else b"RESET geqo"
        return harmless, self.forget_statements()
