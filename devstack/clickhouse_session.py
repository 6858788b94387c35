"""Sessions: connections that keep temporary tables and `SET`s between requests."""

import time
from dataclasses import dataclass

from chdb.state.sqlitelike import Connection

from devstack.clickhouse_engine import Engine
from devstack.clickhouse_error import refusal

_MAX_SESSIONS = 200


@dataclass
class Session:
    """One session; `expires_at` is on the monotonic clock."""

    connection: Connection
    expires_at: float
    busy: bool = False


class SessionTable:
    """All sessions of a server; used from the event loop only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions: dict[str, Session] = {}

    def claim(self, session_id: str, *, must_exist: bool) -> Session:
        """Take a session for one request, making it if it is new.

        Raises:
            ClickHouseError: If it is in use, or must exist and does not.
        """
        self.expire()
        session = self._sessions.get(session_id)
        if session is None:
            if must_exist:
                raise refusal(372, "SESSION_NOT_FOUND", f"session {session_id} was not found")
            session = Session(self._engine.connect(), 0.0)
            self._sessions[session_id] = session
        if session.busy:
            reason = f"session {session_id} is locked by a concurrent client"
            raise refusal(373, "SESSION_IS_LOCKED", reason)
        session.busy = True
        return session

    def release(self, session_id: str, timeout_s: float, *, usable: bool) -> None:
        """Give a session back; one whose connection is not as it was is dropped."""
        session = self._sessions[session_id]
        session.busy = False
        session.expires_at = time.monotonic() + timeout_s
        if not usable:
            self._drop(session_id)

    def expire(self) -> None:
        """Drop what was not used for its time-out, and the oldest idle ones above the limit."""
        now = time.monotonic()
        idle = sorted(
            (session.expires_at, name)
            for name, session in self._sessions.items()
            if not session.busy
        )
        excess = len(self._sessions) - _MAX_SESSIONS
        for position, (expires_at, name) in enumerate(idle):
            if expires_at <= now or position < excess:
                self._drop(name)

    def close(self) -> None:
        """Drop all sessions."""
        for name in list(self._sessions):
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._sessions.pop(name).connection.close()
