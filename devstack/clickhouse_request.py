"""One HTTP request as ClickHouse defines it: statement, data, settings, parameters."""

import re
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web

from devstack.clickhouse_coding import BodyDecoder, CodingError
from devstack.clickhouse_error import refusal
from devstack.clickhouse_query import MultiStatementError, Statement, StatementKind, parse

# Parameters of the interface itself; every other one is a setting for the engine.
_INTERFACE_PARAMETERS = frozenset(
    {
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "quota_key",
        "role",
        "query_id",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "stacktrace",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "client_protocol_version",
        "enable_http_compression",
        "http_zlib_compression_level",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "cancel_http_readonly_queries_on_client_close",
        "add_http_cors_header",
    }
)
_HEAD_BYTES = 256 * 1024
_STATEMENT_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_NAME = re.compile(r"[A-Za-z_]\w*")
_TRUE = frozenset({"1", "true"})


@dataclass
class Body:
    """A request's body, decoded piece by piece; `head` holds what was read and not yet used."""

    request: web.Request
    decoder: BodyDecoder
    head: bytes = b""

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the rest of the body in pieces of about a megabyte."""
        waiting, size = [self.head], len(self.head)
        self.head = b""
        async for raw in self.request.content.iter_any():
            decoded = self.decoder.feed(raw)
            waiting.append(decoded)
            size += len(decoded)
            if size >= _PIECE_BYTES:
                yield b"".join(waiting)
                waiting, size = [], 0
        self.decoder.finish()
        if size:
            yield b"".join(waiting)

    async def fill(self, limit_bytes: int) -> bool:
        """Read until `head` has `limit_bytes`; tell whether the body ended before."""
        while len(self.head) < limit_bytes:
            raw = await self.request.content.readany()
            if not raw:
                self.decoder.finish()
                return True
            self.head += self.decoder.feed(raw)
        return False


@dataclass
class Query:
    """What a request asks for.

    Attributes:
        statement: What to run.
        body: Data of an insert that follows the statement; None without data.
        settings: Settings for the engine, for this request only.
        parameters: Values for `{name:Type}`.
        coding: Content coding of the answer; None for plain.
    """

    statement: Statement
    body: Body | None
    database: str | None
    default_format: str
    query_id: str
    session_id: str | None
    session_timeout_s: float
    session_must_exist: bool
    wait_end: bool
    coding_wanted: str
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


async def read_query(request: web.Request) -> Query | None:
    """Read a request up to the start of its data; None if it carries no statement at all.

    Raises:
        ClickHouseError: If the request asks for what this server cannot do, or its body is broken.
    """
    values = dict(request.query)
    try:
        if request.content_type == "multipart/form-data":
            values |= await _read_form(request)
            statement, body = parse(values.get("query", "")), None
        else:
            body = Body(request, BodyDecoder(request.headers.get("Content-Encoding", "").lower()))
            statement, body = await _read_statement(values.get("query", ""), body)
    except CodingError as error:
        raise refusal(36, "BAD_ARGUMENTS", str(error)) from error
    except MultiStatementError as error:
        raise refusal(62, "SYNTAX_ERROR", str(error)) from error
    if not statement.text.strip():
        return None
    for name in ("compress", "decompress"):
        if values.get(name, "0").lower() in _TRUE:
            reason = f"`{name}` (own block compression) is not supported here; use that of HTTP"
            raise refusal(48, "NOT_IMPLEMENTED", reason)
    if request.method == "GET" and not statement.reads_only:
        reason = "method GET reads only; use POST for a statement that changes something"
        raise refusal(164, "READONLY", reason)
    return Query(
        statement=statement,
        body=body,
        database=values.get("database") or request.headers.get("X-ClickHouse-Database"),
        default_format=values.get("default_format")
        or request.headers.get("X-ClickHouse-Format")
        or "TabSeparated",
        query_id=values.get("query_id") or str(uuid.uuid4()),
        session_id=values.get("session_id"),
        session_timeout_s=_seconds(values.get("session_timeout", "60")),
        session_must_exist=values.get("session_check") == "1",
        wait_end=values.get("wait_end_of_query", "0").lower() in _TRUE,
        coding_wanted=request.headers.get("Accept-Encoding", "")
        if values.get("enable_http_compression", "0").lower() in _TRUE
        else "",
        settings=_settings(values),
        parameters=_parameters(values),
    )


async def _read_statement(text: str, body: Body) -> tuple[Statement, Body | None]:
    """Parse the statement from the URL, the body or both; an insert keeps the rest as its data."""
    if text.strip():
        statement = parse(text)
        if statement.kind is StatementKind.INSERT_DATA:
            body.head = text[statement.data_start :].encode() + body.head
            return statement, body
        await _read_whole(body)
        more = body.head.decode(errors="replace")
        return (parse(f"{text}\n{more}") if more.strip() else statement), None
    ended = await body.fill(_HEAD_BYTES)
    # One character per byte, so that offsets of the scanner are offsets of the body.
    statement = parse(body.head.decode("latin-1"))
    if statement.kind is not StatementKind.INSERT_DATA:
        if not ended:
            await _read_whole(body)
        return parse(body.head.decode(errors="replace")), None
    body.head = body.head[statement.data_start :]
    text = statement.text.encode("latin-1").decode(errors="replace")
    return Statement(statement.kind, text, statement.format, statement.data_start), body


async def _read_whole(body: Body) -> None:
    if not await body.fill(_STATEMENT_BYTES):
        reason = f"statement must be below {_STATEMENT_BYTES} bytes, got more; use INSERT … FORMAT"
        raise refusal(307, "TOO_MANY_BYTES", reason)


async def _read_form(request: web.Request) -> dict[str, str]:
    values: dict[str, str] = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.filename is not None:
            reason = "external data in a form is not supported here; insert it into a table first"
            raise refusal(48, "NOT_IMPLEMENTED", reason)
        values[part.name or ""] = await part.text()
    return values


def _settings(values: Mapping[str, str]) -> dict[str, str]:
    settings = {}
    for name, value in values.items():
        if name in _INTERFACE_PARAMETERS or name.startswith("param_"):
            continue
        if _NAME.fullmatch(name) is None:
            raise refusal(115, "UNKNOWN_SETTING", f"setting must be a name, got {name!r}")
        settings[name] = value
    return settings


def _parameters(values: Mapping[str, str]) -> dict[str, str]:
    parameters = {}
    for name, value in values.items():
        if not name.startswith("param_"):
            continue
        if _NAME.fullmatch(name) is None:
            raise refusal(36, "BAD_ARGUMENTS", f"query parameter must be a name, got {name!r}")
        parameters[name.removeprefix("param_")] = value
    return parameters


def _seconds(text: str) -> float:
    try:
        return min(float(text), 3600.0)
    except ValueError:
        reason = f"session_timeout must be a number of seconds, got {text!r}"
        raise refusal(36, "BAD_ARGUMENTS", reason) from None
