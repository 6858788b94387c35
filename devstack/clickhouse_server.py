"""ClickHouse's HTTP interface over one embedded chDB engine, for the ordinary clients.

    python -m devstack.clickhouse_server --host 127.0.0.1 --port 8123 --data DIR

Statements run in threads, each request on a connection of its own, so they run at the same time and
never see each other's database or settings. `/ping` is answered by the event loop whatever the
engine does.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

from aiohttp import ClientConnectionError, ClientPayloadError, web

from devstack.clickhouse_coding import CodingError, Encoder, choose_coding, new_encoder
from devstack.clickhouse_engine import Counts, Engine, EngineCall
from devstack.clickhouse_error import ClickHouseError, refusal
from devstack.clickhouse_query import StatementKind
from devstack.clickhouse_request import Query, read_query
from devstack.clickhouse_session import SessionTable

T = TypeVar("T")
_MAX_RUNNING = 32
_SPOOL_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_STOP_S = 10.0
_EXPIRY_S = 5.0


class ClickHouseFront:
    """Answers the requests of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions = SessionTable(engine)
        self._threads = ThreadPoolExecutor(_MAX_RUNNING, "clickhouse")
        self._gate = asyncio.Semaphore(_MAX_RUNNING)

    def application(self) -> web.Application:
        """Build the routes."""
        app = web.Application()
        for path in ("/ping", "/replicas_status"):
            app.router.add_get(path, self._ping)
        for path in ("/", "/query"):
            app.router.add_route("*", path, self._answer)
        app.cleanup_ctx.append(self._expire_sessions)
        return app

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _expire_sessions(self, _: web.Application) -> AsyncIterator[None]:
        async def expire() -> None:
            while True:
                await asyncio.sleep(_EXPIRY_S)
                self._sessions.expire()

        task = asyncio.create_task(expire())
        yield
        task.cancel()
        self._sessions.close()
        self._threads.shutdown()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        query_id = request.query.get("query_id", "")
        try:
            query = await read_query(request)
            if query is None:
                return web.Response(text="Ok.\n")
            query_id = query.query_id
            async with self._gate:
                return await self._run(request, query)
        except ClickHouseError as error:
            return self._failure(error, query_id)
        except CodingError as error:
            return self._failure(refusal(36, "BAD_ARGUMENTS", str(error)), query_id)

    def _failure(self, error: ClickHouseError, query_id: str) -> web.Response:
        return web.Response(
            status=error.status,
            text=f"{error.text} (version {self._engine.version})\n",
            headers={
                "X-ClickHouse-Exception-Code": str(error.code),
                "X-ClickHouse-Query-Id": query_id,
            },
        )

    async def _run(self, request: web.Request, query: Query) -> web.StreamResponse:
        if query.session_id is None:
            connection = await self._in_thread(self._engine.connect)
        else:
            session = self._sessions.claim(query.session_id, must_exist=query.session_must_exist)
            connection = session.connection
        call = EngineCall(connection, keep=query.session_id is not None)
        usable = False
        try:
            await self._in_thread(call.prepare, query.database, query.settings, query.parameters)
            if query.statement.kind is StatementKind.INSERT_DATA:
                return await self._insert(query, call)
            return await self._select(request, query, call)
        finally:
            usable = await asyncio.shield(self._in_thread(call.close))
            if query.session_id is not None:
                self._sessions.release(query.session_id, query.session_timeout_s, usable=usable)

    async def _insert(self, query: Query, call: EngineCall) -> web.Response:
        await self._in_thread(call.start_insert, query.statement)
        if query.body is not None:
            try:
                async for piece in query.body.pieces():
                    await self._in_thread(call.append, piece)
            except (ClientPayloadError, ClientConnectionError) as error:
                raise refusal(
                    210, "NETWORK_ERROR", f"client went away in its data: {error}"
                ) from error
        await self._in_thread(call.finish_insert)
        return web.Response(headers=self._headers(query, call.counts))

    async def _select(
        self, request: web.Request, query: Query, call: EngineCall
    ) -> web.StreamResponse:
        pieces = call.pieces(query.statement, query.default_format)
        if query.statement.text.lstrip()[:4].upper() == "USE ":
            call.forget_database()
        try:
            if query.wait_end:
                spool = await self._in_thread(_spool, pieces)
                with spool:
                    return await self._send(request, query, call, _read_pieces(spool))
            return await self._send(request, query, call, pieces)
        finally:
            await asyncio.shield(self._in_thread(pieces.close))

    async def _send(
        self, request: web.Request, query: Query, call: EngineCall, pieces: Iterator[bytes]
    ) -> web.StreamResponse:
        """Send the pieces as they come; the first one decides between an answer and an error."""
        coding = choose_coding(query.coding_wanted)
        encoder = new_encoder(coding) if coding else None
        tag = uuid.uuid4().hex[:16]
        piece = await self._in_thread(_next_coded, pieces, encoder)
        headers = self._headers(query, call.counts) | {"X-ClickHouse-Exception-Tag": tag}
        if coding:
            headers["Content-Encoding"] = coding
        response = web.StreamResponse(headers=headers)
        response.content_type = "application/octet-stream"
        try:
            await response.prepare(request)
            while piece is not None:
                await response.write(piece)
                piece = await self._in_thread(_next_coded, pieces, encoder)
            await response.write_eof(encoder.flush() if encoder else b"")
        except ClickHouseError as error:
            # The status is gone: the tagged text tells clients that know it, the broken end all
            # others.
            text = f"{error.text}\n".encode()
            block = (
                f"\r\n__exception__\r\n{tag}\r\n".encode()
                + text
                + f"{len(text)} {tag}\r\n__exception__\r\n".encode()
            )
            await response.write(encoder.compress(block) + encoder.flush() if encoder else block)
            if request.transport is not None:
                request.transport.close()
        except (ClientConnectionError, ConnectionResetError):
            response.force_close()
        return response

    def _headers(self, query: Query, counts: Counts) -> dict[str, str]:
        summary = {
            "read_rows": str(counts.read_rows),
            "read_bytes": str(counts.read_bytes),
            "written_rows": str(counts.written_rows),
            "written_bytes": str(counts.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": "0",
            "result_bytes": "0",
            "elapsed_ns": "0",
        }
        return {
            "X-ClickHouse-Summary": json.dumps(summary, separators=(",", ":")),
            "X-ClickHouse-Query-Id": query.query_id,
            "X-ClickHouse-Format": query.statement.format or query.default_format,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Server-Display-Name": "sluice",
        }

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args))


def _spool(pieces: Iterator[bytes]) -> IO[bytes]:
    spool = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
    try:
        for piece in pieces:
            spool.write(piece)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool


def _read_pieces(spool: IO[bytes]) -> Iterator[bytes]:
    while piece := spool.read(_PIECE_BYTES):
        yield piece


def _next_coded(pieces: Iterator[bytes], encoder: Encoder | None) -> bytes | None:
    piece = next(pieces, None)
    return encoder.compress(piece) if piece is not None and encoder is not None else piece


async def serve(host: str, port: int, data_dir: Path) -> None:
    """Serve until SIGTERM or SIGINT, then let running requests end and stop the engine.

    Raises:
        OSError: If the port is taken.
        RuntimeError: If the data directory cannot be opened.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = Engine(data_dir)
    try:
        runner = web.AppRunner(
            ClickHouseFront(engine).application(),
            auto_decompress=False,
            access_log=None,
            shutdown_timeout=_STOP_S,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            sys.stdout.write(f"clickhouse {engine.version} ready on {host}:{port}" + "\n")
            sys.stdout.flush()
            await stop.wait()
        finally:
            await runner.cleanup()
    finally:
        engine.close()


def main() -> int:
    """Run the server from the command line."""
    parser = argparse.ArgumentParser(prog="python -m devstack.clickhouse_server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    try:
        args.data.mkdir(parents=True, exist_ok=True)
        asyncio.run(serve(args.host, args.port, args.data))
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        sys.stderr.write(
            f"clickhouse on {args.host}:{args.port} with data in `{args.data}`: "
            f"expected to start, got {reason}; "
            "free the port, or stop the other server of this directory\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
