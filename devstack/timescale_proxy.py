"""Many PostgreSQL clients on one upstream session: waits and writes; `timescale_turn` decides.

A client holds the session for its turn, others wait in order. A client that vanishes inside a
transaction is rolled back; one that sits in an open transaction for longer than the limit is ended,
because everyone waits for it.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections import deque

from devstack import timescale_wire as wire
from devstack.timescale_turn import Turn
from devstack.timescale_upstream import RefusedQueryError, Upstream, UpstreamLostError

_READ_BYTES = 256 * 1024
_UTF8 = frozenset({"utf8", "utf-8", "unicode"})
_NOT_SETTINGS = frozenset({"user", "database", "replication", "application_name", "options"})


class _ClientGoneError(Exception):
    """The client closed its connection or says that it will."""


class Client:
    """One client's connection and its turns."""

    def __init__(
        self,
        number: int,
        upstream: Upstream,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        idle_transaction_s: float,
    ) -> None:
        self._number = number
        self._upstream = upstream
        self._reader = reader
        self._writer = writer
        self._idle_transaction_s = idle_transaction_s
        self._framer = wire.Framer(startup=True)
        self._waiting: deque[wire.Message] = deque()
        self._turn = Turn(number)
        self._settings: dict[str, str] = {}
        self._used_session = False

    async def run(self) -> None:
        """Serve the client until it goes."""
        try:
            if await self._greet():
                while True:
                    await self._await_message()
                    async with self._upstream.lock:
                        await self._hold_or_settle()
        except (_ClientGoneError, ConnectionError, TimeoutError):
            pass
        except wire.WireError as error:
            self._writer.write(wire.error_response("FATAL", "08P01", str(error)))
        except RefusedQueryError as error:
            self._writer.write(wire.error_response("FATAL", "22023", str(error)))
        except UpstreamLostError:
            self._writer.write(
                wire.error_response("FATAL", "57P01", "the embedded TimescaleDB stopped")
            )
        finally:
            await self._leave()

    async def _leave(self) -> None:
        if self._used_session and not self._upstream.lost.is_set():
            with contextlib.suppress(UpstreamLostError):
                async with self._upstream.lock:
                    await self._settle()
        with contextlib.suppress(ConnectionError):
            self._writer.close()
            await self._writer.wait_closed()

    async def _settle(self) -> None:
        """Leave the session as a new client expects it; the lock is held."""
        self._used_session = False
        try:
            await self._upstream.settle(self._turn)
        except RefusedQueryError as error:
            # Nobody knows the session's state any more: end it, a new start finds all commits.
            self._upstream.lost.set()
            raise UpstreamLostError from error

    async def _hold_or_settle(self) -> None:
        """Run one turn; if it breaks off, settle before the lock goes to the next client."""
        try:
            await self._hold()
        except UpstreamLostError:
            raise
        except BaseException:
            if not self._upstream.lost.is_set():
                await self._settle()
            raise

    async def _greet(self) -> bool:
        """Answer start-up packets; tell whether the client stays."""
        while True:
            code, parameters = wire.read_startup((await self._next_startup()).body)
            if code == wire.CANCEL_REQUEST:
                return False
            if code not in {wire.SSL_REQUEST, wire.GSS_REQUEST}:
                break
            self._writer.write(b"N")
            await self._writer.drain()
        if code != wire.PROTOCOL_3 and code >> 16 != 3:
            text = f"protocol must be 3.0, got {code >> 16}.{code & 0xFFFF}"
            self._writer.write(wire.error_response("FATAL", "0A000", text))
            return False
        self._framer.end_startup()
        if code != wire.PROTOCOL_3:
            # A newer minor version: offer 3.0 and no options.
            self._writer.write(wire.Message(b"v", bytes([0, 3, 0, 0, 0, 0, 0, 0])).encode())
        if not await self._take_settings(parameters):
            return False
        status = self._upstream.parameters | {
            "session_authorization": parameters.get("user", "postgres"),
            "application_name": parameters.get("application_name", ""),
        }
        self._writer.write(
            wire.authentication_ok()
            + b"".join(wire.parameter_status(name, value) for name, value in status.items())
            + wire.backend_key(self._number, secrets.randbits(31))
            + wire.ready_for_query()
        )
        await self._writer.drain()
        return True

    async def _take_settings(self, parameters: dict[str, str]) -> bool:
        wanted = {
            name: value
            for name, value in parameters.items()
            if name not in _NOT_SETTINGS and not name.startswith("_pq_.")
        }
        if wanted.get("client_encoding", "utf8").strip("'\"").lower() in _UTF8:
            wanted.pop("client_encoding", None)
        if not wanted:
            return True
        async with self._upstream.lock:
            try:
                await self._upstream.apply_settings(wanted)
            except RefusedQueryError as error:
                self._writer.write(wire.error_response("FATAL", "22023", str(error)))
                return False
            self._settings = await self._upstream.read_settings()
            await self._upstream.restore_baseline()
        return True

    async def _next_startup(self) -> wire.Message:
        while True:
            for message in self._framer.messages():
                return message
            await self._read()

    async def _read(self) -> None:
        data = await self._reader.read(_READ_BYTES)
        if not data:
            raise _ClientGoneError
        self._framer.feed(data)

    async def _await_message(self) -> None:
        """Wait for the first message of a turn, without the session."""
        self._waiting.extend(self._framer.messages())
        while not self._waiting:
            await self._read()
            self._waiting.extend(self._framer.messages())
        if self._waiting[0].type == b"X":
            raise _ClientGoneError

    async def _hold(self) -> None:
        """Run one turn; the lock is held."""
        self._used_session = True
        if self._settings:
            await self._upstream.apply_settings(self._settings)
        from_client: asyncio.Task[None] | None = None
        from_session: asyncio.Task[list[wire.Message]] | None = None
        try:
            await self._forward()
            while not self._turn.over:
                from_client = from_client or asyncio.create_task(self._read())
                from_session = from_session or asyncio.create_task(self._upstream.receive())
                limit_s = self._idle_transaction_s if self._turn.awaits_client else None
                done, _ = await asyncio.wait(
                    (from_client, from_session),
                    timeout=limit_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    self._end_idle()
                if from_session in done:
                    messages, from_session = from_session.result(), None
                    await self._backward(messages)
                    if self._turn.over:
                        # What the client sent meanwhile is its next turn, after its settings.
                        break  # type: ignore[unreachable]  # the answer changes the turn
                    await self._forward()
                if from_client in done:
                    finished, from_client = from_client, None
                    finished.result()
                    await self._forward()
        finally:
            await _cancel(from_client)
            if await _cancel(from_session) and from_session is not None:
                for message in from_session.result():
                    self._turn.to_client(message)
        await self._keep_settings()

    def _end_idle(self) -> None:
        text = f"transaction was idle for {self._idle_transaction_s:g} s while others waited"
        self._writer.write(wire.error_response("FATAL", "25P03", text))
        raise _ClientGoneError

    async def _forward(self) -> None:
        self._waiting.extend(self._framer.messages())
        out: list[bytes] = []
        while self._waiting and not self._turn.must_wait:
            message = self._waiting.popleft()
            if message.type == b"X":
                await self._upstream.send(b"".join(out))
                raise _ClientGoneError
            out.append(self._turn.to_server(message))
        await self._upstream.send(b"".join(out))

    async def _backward(self, messages: list[wire.Message]) -> None:
        self._writer.write(
            b"".join(message.encode() for message in messages if self._turn.to_client(message))
        )
        await asyncio.wait_for(self._writer.drain(), self._idle_transaction_s)

    async def _keep_settings(self) -> None:
        """Leave the session at its baseline and remember what this client has set."""
        turn = self._turn
        if turn.settings_touched or (turn.settings_reset and self._settings):
            self._settings = await self._upstream.read_settings()
        elif not turn.settings_reset and not self._settings:
            return
        turn.settings_known()
        await self._upstream.restore_baseline()


async def _cancel(task: asyncio.Task[None] | asyncio.Task[list[wire.Message]] | None) -> bool:
    """End a task; tell whether it had a result before."""
    if task is None:
        return False
    task.cancel()
    await asyncio.wait((task,))
    return not task.cancelled() and task.exception() is None


class Proxy:
    """Accepts clients for one upstream session."""

    def __init__(self, upstream: Upstream, idle_transaction_s: float = 20.0) -> None:
        self._upstream = upstream
        self._idle_transaction_s = idle_transaction_s
        self._numbers = itertools.count(1)
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> None:
        """Accept clients.

        Raises:
            OSError: If the port is taken.
        """
        self._server = await asyncio.start_server(self._accept, host, port, backlog=256)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._clients.add(task)
        try:
            client = Client(
                next(self._numbers), self._upstream, reader, writer, self._idle_transaction_s
            )
            await client.run()
        except asyncio.CancelledError:
            writer.write(wire.error_response("FATAL", "57P01", "the embedded TimescaleDB stops"))
            writer.close()
        finally:
            self._clients.discard(task)

    async def close(self) -> None:
        """Stop accepting and end all clients; open transactions roll back with the session."""
        self._upstream.lost.set()
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        if self._clients:
            await asyncio.wait(self._clients, timeout=5)
