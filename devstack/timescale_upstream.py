"""The session that all clients share: start-up, own queries, baseline of settings."""

import asyncio
import socket

from devstack.timescale_turn import Turn
from devstack.timescale_wire import Framer, Message, query, read_error, read_row, startup

# What PGlite's own start sets and `RESET ALL` loses.
_BASELINE = {"search_path": "public", "TimeZone": "UTC"}
_READ_BYTES = 256 * 1024


class UpstreamLostError(Exception):
    """The session's process ended."""


class RefusedQueryError(Exception):
    """The session answered one of the proxy's own queries with an error."""


class Upstream:
    """Reads and writes the session; `lock` is held by the client whose turn it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._framer = Framer()
        self.lock = asyncio.Lock()
        self.lost = asyncio.Event()
        self.parameters: dict[str, str] = {}

    @classmethod
    async def open(cls, connected: socket.socket) -> "Upstream":
        """Start the session over a connected socket.

        Raises:
            UpstreamLostError: If the other end closes before it is ready.
        """
        upstream = cls(*await asyncio.open_connection(sock=connected))
        await upstream.send(startup({"user": "postgres", "database": "postgres"}))
        ready = False
        while not ready:
            for message in await upstream.receive():
                if message.type == b"R" and message.body != bytes(4):
                    await upstream.send(Message(b"p", b"any\0").encode())
                elif message.type == b"S":
                    name, _, value = message.body.removesuffix(b"\0").partition(b"\0")
                    upstream.parameters[name.decode()] = value.decode()
                ready = ready or message.type == b"Z"
        await upstream.restore_baseline()
        upstream.parameters["TimeZone"] = _BASELINE["TimeZone"]
        return upstream

    async def send(self, data: bytes) -> None:
        """Write to the session.

        Raises:
            UpstreamLostError: If it is gone.
        """
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as error:
            self.lost.set()
            raise UpstreamLostError from error

    async def receive(self) -> list[Message]:
        """Wait for bytes; give the messages that they complete.

        Raises:
            UpstreamLostError: If the session is gone.
        """
        try:
            data = await self._reader.read(_READ_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self.lost.set()
            raise UpstreamLostError
        self._framer.feed(data)
        return list(self._framer.messages())

    async def run(self, sql: str) -> list[list[str | None]]:
        """Run the proxy's own statements; give the rows as text.

        Raises:
            RefusedQueryError: If the session answers with an error.
            UpstreamLostError: If it is gone.
        """
        await self.send(query(sql))
        rows: list[list[str | None]] = []
        refusal: str | None = None
        while True:
            for message in await self.receive():
                if message.type == b"D":
                    rows.append(read_row(message.body))
                elif message.type == b"E":
                    refusal = read_error(message.body)
                elif message.type == b"Z":
                    if refusal is not None:
                        raise RefusedQueryError(refusal)
                    return rows

    async def settle(self, turn: Turn) -> None:
        """End a turn whose client is gone: finish the batch, roll back, forget its statements."""
        data = turn.sync() if turn.unsynced else b""
        await self._await_answers(turn, data)
        if turn.status != b"I":
            await self._await_answers(turn, turn.to_server(Message(b"Q", b"ROLLBACK\0")))
        await self._await_answers(turn, turn.forget_statements() + turn.sync())
        await self.run("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *")
        await self.restore_baseline()

    async def _await_answers(self, turn: Turn, data: bytes) -> None:
        if data:
            await self.send(data)
        while not turn.awaits_client:
            for message in await self.receive():
                turn.to_client(message)

    async def restore_baseline(self) -> None:
        """Make the session's settings those that a new client finds."""
        settings = "; ".join(f"SET {name} TO {value}" for name, value in _BASELINE.items())
        await self.run(f"RESET ALL; {settings}")

    async def read_settings(self) -> dict[str, str]:
        """Give the settings that differ from the baseline."""
        names = ", ".join(_literal(name) for name in _BASELINE)
        rows = await self.run(
            "SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session' "
            f"AND (setting IS DISTINCT FROM reset_val OR name IN ({names}))"
        )
        found = {str(name): str(value) for name, value in rows}
        return {name: value for name, value in found.items() if _BASELINE.get(name) != value}

    async def apply_settings(self, settings: dict[str, str]) -> None:
        """Give the session a client's settings.

        Raises:
            RefusedQueryError: If a setting is unknown or its value is wrong.
        """
        if settings:
            calls = ", ".join(
                f"set_config({_literal(name)}, {_literal(value)}, false)"
                for name, value in settings.items()
            )
            await self.run(f"SELECT {calls}")

    def close(self) -> None:
        """Close the socket; the session's process then closes its database and ends."""
        self._writer.close()


def _literal(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
