"""An HTTP API as the source of a batch."""

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import AsyncIterator, Mapping

import polars as pl
from yarl import URL

from activities.etl_ports import SourceBlock
from batch.chunk import Chunk, CursorWindow, SourceShape
from batch.json_answer import JsonAnswer
from batch.json_row import JsonRows
from batch.read_row import ReadRows, block_of, check_kinds, record_batch, unreadable_rows
from common.errors import SettingsError, SourceRefusedError
from common.settings import Settings
from connectors.http_client import HttpClient, shown
from connectors.http_paging import Page, Pager
from connectors.named_connection import named_connection
from connectors.steady_source import SteadySource
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.data_interval import DataInterval
from pipelines.etl_source import HttpSource

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class HttpBatchSource(SteadySource):
    """One API, read from its first page to its last as one chunk.

    A second reading may give other rows: an API pins nothing. What has landed is not read again.

    Args:
        source: What to ask for.
        declared: Fields of the records with their types.
        interval: What stands for `{start}`, `{end}` and `{date}`.
        settings: Where the connection is.
        client: Asks the API; None makes one.

    Raises:
        SettingsError: There is no such connection, or a variable of the environment is not set.
        SourceRefusedError: An interval is wanted and there is none.
    """

    def __init__(
        self,
        source: HttpSource,
        declared: Mapping[str, FieldType],
        interval: DataInterval | None,
        settings: Settings,
        client: HttpClient | None = None,
    ) -> None:
        base = _base_url(source.connection, settings)
        path = _for_interval(source.path, interval, f"HTTP API `{source.connection}`")
        self._url = base.with_user(None).with_query(None)
        if path:
            self._url = URL(f"{str(self._url).rstrip('/')}/{path.lstrip('/')}")
        super().__init__(f"HTTP API at {shown(self._url)}")
        self._source = source
        check_kinds(declared, self.what)
        self._declared = declared
        self._params = dict(base.query) | {
            name: _for_interval(text, interval, self.what) for name, text in source.params.items()
        }
        headers = _basic(base) | _headers(source.headers)
        self._client = client or HttpClient(headers, source.rate_per_s)

    async def describe(self) -> SourceShape:
        """Give the declared fields; nothing is asked."""
        return SourceShape(columns={name: str(kind) for name, kind in self._declared.items()})

    async def plan(self, shape: SourceShape, window: CursorWindow, chunk_rows: int) -> list[Chunk]:  # noqa: ARG002 (of the port)
        """Give one chunk: where a page begins is known when the page before it was read."""
        return [Chunk(number=0, part="{}", label=shown(self._url))]

    async def read(
        self,
        shape: SourceShape,
        window: CursorWindow,  # noqa: ARG002 (of the port)
        chunk: Chunk,
        block_bytes: int,
    ) -> AsyncIterator[SourceBlock]:
        """Yield the records of all pages; pages are gathered until a block is full."""
        kinds = {name: parse_field_type(text) for name, text in shape.columns.items()}
        reader = JsonRows(self.what, kinds, self._source.timezone)
        waiting: list[str] = []
        size = first = 0
        async for records in self._pages():
            for record in records:
                waiting.append(record)
                size += len(record)
                if size >= block_bytes:
                    rows = await asyncio.to_thread(_read, reader, waiting, first)
                    yield _block(rows, chunk.number, first)
                    first += len(waiting)
                    waiting, size = [], 0
        if waiting:
            rows = await asyncio.to_thread(_read, reader, waiting, first)
            yield _block(rows, chunk.number, first)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _pages(self) -> AsyncIterator[list[str]]:
        """Yield the texts of each page's records."""
        pager = Pager(self._source.paging, self._url, self._params, self.what)
        while pager.next is not None:
            got = await self._client.get(pager.next, may_miss=pager.ends_when_missing)
            if got is None:
                return
            answer = await asyncio.to_thread(JsonAnswer, got.text, self.what)
            records = await asyncio.to_thread(answer.records, self._source.records)
            digest = hashlib.sha256(got.text.encode("utf-8", "surrogatepass")).digest()
            yield records
            pager.turn(Page(answer, len(records), digest, got.link))


def _read(reader: JsonRows, records: list[str], first: int) -> ReadRows:
    block = block_of(pl.Series(records, dtype=pl.String))
    return reader.read(block, lambda row: f"record {first + row:,}")


def _block(rows: ReadRows, chunk: int, first: int) -> SourceBlock:
    return SourceBlock(record_batch(rows.rows), unreadable_rows(rows.bad, chunk, first))


def _base_url(name: str, settings: Settings) -> URL:
    connection = named_connection(name, ("http",), settings)
    wrong = SettingsError(
        f"connection `{name}`: expected `http://host/path` or `https://host/path` in `dsn`, got "
        "another address; correct it"
    )
    try:
        url = URL(connection.dsn.get_secret_value())
    except ValueError:
        raise wrong from None  # its text may hold a password
    if url.scheme not in ("http", "https") or not url.host:
        raise wrong
    return url.with_fragment(None)


def _basic(url: URL) -> dict[str, str]:
    """Give the header of the name and password that an address holds."""
    if not url.user:
        return {}
    login = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
    return {"Authorization": f"Basic {login}"}


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    """Put values of the environment in."""

    def value(name: str, text: str) -> str:
        def of(match: re.Match[str]) -> str:
            found = os.environ.get(match[1])
            if found is None:
                raise SettingsError(
                    f"source.http.headers.{name}: expected the environment variable `{match[1]}`, "
                    "got none; set it for the worker"
                )
            return found

        return _VARIABLE.sub(of, text)

    return {name: value(name, text) for name, text in given.items()}


def _for_interval(text: str, interval: DataInterval | None, what: str) -> str:
    """Put the interval in; `SourceRefusedError` where there is none."""
    wanted = [word for word in ("{start}", "{end}", "{date}") if word in text]
    if not wanted:
        return text
    if interval is None:
        raise SourceRefusedError(
            f"{what}: expected an interval for `{wanted[0]}`, got a run without one; "
            "declare `interval`"
        )
    start, _, end = str(interval).partition("/")
    return text.replace("{start}", start).replace("{end}", end).replace("{date}", interval.day)
