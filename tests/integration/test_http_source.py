import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from common.errors import (
    ServiceUnavailableError,
    SettingsError,
    SourceRefusedError,
    UnknownNameError,
)
from common.settings import ConnectionSettings, Settings
from connectors.http_client import HttpClient, Pace
from connectors.http_source import HttpBatchSource
from contracts.field_type_parse import parse_field_type
from pipelines.data_interval import parse_interval
from pipelines.etl_source import HttpSource, Paging
from tests.unit.source.source_case import Read, read_all, source_of

SECRET = "hunter2hunter2"
FIELDS = {"id": "int64", "price": "decimal(38,18)"}
COUNT = 25
Handler = Callable[[web.Request], web.StreamResponse]


def price_of(number: int) -> str:
    return f"{number}.123456789012345678"


def records_text(numbers: range | list[int]) -> str:
    return "[" + ",".join(f'{{"id": {n}, "price": {price_of(n)}}}' for n in numbers) + "]"


class Api:
    """Serves `COUNT` records by every kind of paging, at most ten a page, after some troubles."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.troubles: list[web.Response] = []
        self.special: Handler | None = None

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        self.headers.append(dict(request.headers))
        if self.troubles:
            return self.troubles.pop(0)
        return self.special(request) if self.special else self._page(request)

    def _page(self, request: web.Request) -> web.Response:
        query = request.query
        size = min(int(query.get("limit", "10")), 10)
        start = int(query.get("skip") or query.get("after") or 0)
        if "page" in query:
            start = (int(query["page"]) - 1) * size
        numbers = range(start, min(start + size, COUNT))
        after = str(numbers.stop) if numbers.stop < COUNT else None
        text = f'{{"data": {{"items": {records_text(numbers)}}}, "meta": {{"next": "x"}}, '
        text += f'"meta": {json.dumps({"next": after})}}}'
        headers = {}
        if after is not None and request.path.endswith("/linked"):
            headers["Link"] = f'<{request.path}?after={after}>; rel="next", </a>; rel="last"'
        return web.Response(text=text, content_type="application/json", headers=headers)


@asynccontextmanager
async def serving(api: Api) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", api.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Waits:
    """Counts the seconds that would have been waited."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def settings_for(url: str, folder: Path) -> Settings:
    connection = ConnectionSettings(kind="http", dsn=SecretStr(url))
    return Settings(project_dir=folder, data_dir=folder, connections={"api": connection})


async def read_api(
    url: str, folder: Path, source: HttpSource, waits: Waits | None = None, block: int = 1 << 20
) -> Read:
    made = HttpBatchSource(
        source,
        {name: parse_field_type(text) for name, text in FIELDS.items()},
        None,
        settings_for(url, folder),
        HttpClient({}, None, (waits or Waits()).sleep),
    )
    try:
        return await read_all(made, block_bytes=block)
    finally:
        await made.close()


def source_for(paging: Paging | None, path: str = "v1/orders") -> HttpSource:
    return HttpSource(connection="api", path=path, records="data.items", paging=paging)


ALL = [{"id": n, "price": Decimal(price_of(n))} for n in range(COUNT)]
PAGINGS = {
    "page": Paging(kind="page", param="page"),
    "page with a size above the limit": Paging(kind="page", param="page", size_param="limit"),
    "offset": Paging(kind="offset", param="skip", size_param="limit", size=20),
    "cursor": Paging(kind="cursor", param="after", token="meta.next"),
    "link": Paging(kind="link"),
}


@pytest.mark.parametrize("kind", PAGINGS)
async def test_all_records_come_once_and_exactly_by_every_kind_of_paging(
    kind: str, tmp_path: Path
) -> None:
    path = "v1/linked" if kind == "link" else "v1/orders"
    for block_bytes in (1, 1 << 20):
        async with serving(Api()) as url:
            read = await read_api(url, tmp_path, source_for(PAGINGS[kind], path), block=block_bytes)
        assert read.rows == ALL
        assert len(read.chunks) == 1


async def test_one_page_without_paging(tmp_path: Path) -> None:
    api = Api()
    api.special = lambda _: web.Response(text=records_text([1, 2]))
    async with serving(api) as url:
        read = await read_api(url, tmp_path, HttpSource(connection="api"))
    assert read.rows == ALL[1:3]
    assert len(api.asked) == 1


async def test_troubles_pass_and_no_record_comes_twice(tmp_path: Path) -> None:
    api, waits = Api(), Waits()
    date = formatdate(usegmt=True)
    api.troubles = [
        web.Response(status=429, headers={"Retry-After": "7"}),
        web.Response(status=500),
        web.Response(status=503),
        web.Response(status=503, headers={"Retry-After": date}),
    ]
    async with serving(api) as url:
        read = await read_api(url, tmp_path, source_for(PAGINGS["cursor"]), waits)
    assert read.rows == ALL
    assert waits.seconds[0] == 7
    assert waits.seconds[1:3] == [1.0, 2.0]
    assert waits.seconds[3] <= 1


@pytest.mark.parametrize("header", [None, "100000"])
async def test_a_server_that_stays_in_trouble_is_left_to_a_later_try(
    tmp_path: Path, header: str | None
) -> None:
    api, waits = Api(), Waits()
    api.special = lambda _: web.Response(
        status=503, headers={"Retry-After": header} if header else {}
    )
    async with serving(api) as url:
        with pytest.raises(ServiceUnavailableError, match="status 503"):
            await read_api(url, tmp_path, source_for(None), waits)
    assert len(api.asked) == (1 if header else 8)
    with pytest.raises(ServiceUnavailableError, match="ClientConnectorError"):
        await read_api(url, tmp_path, source_for(None), waits)


async def test_headers_take_variables_and_no_error_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api()
    source = HttpSource(
        connection="api",
        path="v1/{date}/orders",
        headers={"Authorization": "Bearer ${API_TOKEN}"},
        params={"from": "{start}", "to": "{end}", "api_key": "a b"},
        records="data.items",
    )
    interval = parse_interval("2026-05-01/2026-05-02", "Europe/Berlin")
    async with serving(api) as url:
        address = f"{url.replace('//', '//someone:p%40ss@')}/base/?fixed=1"
        settings = settings_for(address, tmp_path)
        with pytest.raises(SettingsError, match=r"headers\.Authorization.*`API_TOKEN`"):
            source_of(tmp_path, source, FIELDS, interval, settings)
        monkeypatch.setenv("API_TOKEN", SECRET)
        bare = source.model_copy(update={"headers": {"X-Key": "${API_TOKEN}"}})
        await read_all(source_of(tmp_path, bare, FIELDS, interval, settings))
        api.special = lambda _: web.Response(status=403, text=SECRET)
        with pytest.raises(SourceRefusedError, match="expected status 200, got 403") as caught:
            await read_all(source_of(tmp_path, bare, FIELDS, interval, settings))
    assert api.headers[0]["X-Key"] == SECRET
    assert api.headers[0]["Authorization"] == "Basic c29tZW9uZTpwQHNz"
    assert api.asked[0] == {
        "fixed": "1", "from": "2026-04-30T22:00:00Z", "to": "2026-05-01T22:00:00Z",
        "api_key": "a b",
    }  # fmt: skip
    assert f"{url}/base/v1/2026-05-01/orders:" in str(caught.value)
    assert not {"hunter2", "p@ss", "api_key", "someone"} & set(str(caught.value).split())
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SourceRefusedError, match=r"expected an interval for `\{date\}`"):
        source_of(tmp_path, source, FIELDS, None, settings)


async def test_records_that_do_not_fit_are_unreadable(tmp_path: Path) -> None:
    api = Api()
    api.special = lambda _: web.Response(
        text='{"data": {"items": [{"id": 1, "price": 1.5}, 7, {"id": 1e3, "price": 2}, null, '
        '{"id": 2, "price": 0.1234567890123456789}, {"id": 3, "price": 0, "x": "\\u0000"}]}}'
    )
    async with serving(api) as url:
        read = await read_api(url, tmp_path, source_for(None))
    assert [row["id"] for row in read.rows] == [1, 3]
    assert [row["row"] for row in read.unreadable] == [1, 2, 3, 4]
    assert [json.loads(row["content"])["_text"] for row in read.unreadable] == [
        "7", '{"id": 1e3, "price": 2}', "null", '{"id": 2, "price": 0.1234567890123456789}',
    ]  # fmt: skip
    assert read.reasons()[1].endswith("(record 2)")


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("cursor", '{"data": {"items": []}, "meta": {"next": "a"}}', "a token at `meta.next` that"),
        ("cursor", '{"data": {"items": []}, "meta": {"next": {}}}', "expected a text or a number"),
        ("page", '{"data": {"items": [{"id": 1, "price": 1}]}}', "the same page for `page` 2"),
        ("offset", '{"data": {"items": [{"id": 1, "price": 1}]}}', "the same page for `skip` 1"),
        ("page", '{"data": {"items": {}}}', "expected a list at `data.items`, got `{}}}`"),
        ("page", '{"data": []}', "expected a list at `data.items`, got nothing"),
        ("page", "<html>", "expected JSON, got something else"),
    ],
)
async def test_answers_that_lead_nowhere_are_refused(
    tmp_path: Path, kind: str, text: str, expected: str
) -> None:
    api = Api()
    api.special = lambda _: web.Response(text=text)
    async with serving(api) as url:
        with pytest.raises(SourceRefusedError) as caught:
            await read_api(url, tmp_path, source_for(PAGINGS[kind]))
    assert expected in str(caught.value)


async def test_a_link_to_another_server_or_to_itself_is_not_followed(tmp_path: Path) -> None:
    api = Api()
    link = "<http://127.0.0.2:1/next>; rel=next"
    api.special = lambda _: web.Response(text='{"data": {"items": []}}', headers={"Link": link})
    async with serving(api) as url:
        with pytest.raises(SourceRefusedError, match="headers are not sent to another server"):
            await read_api(url, tmp_path, source_for(PAGINGS["link"]))
        link = "<?a=1>; rel=next"
        with pytest.raises(SourceRefusedError, match="a link that it had given before"):
            await read_api(url, tmp_path, source_for(PAGINGS["link"]))


async def test_no_page_behind_the_last_one_may_be_missing(tmp_path: Path) -> None:
    api = Api()

    def missing(request: web.Request) -> web.Response:
        if request.query["page"] == "1":
            return web.Response(text=f'{{"data": {{"items": {records_text([0])}}}}}')
        return web.Response(status=404)

    api.special = missing
    async with serving(api) as url:
        read = await read_api(url, tmp_path, source_for(PAGINGS["page"]))
        assert read.rows == ALL[:1]
        later = Paging(kind="page", param="page", first=0)
        with pytest.raises(SourceRefusedError, match="got 404"):
            await read_api(url, tmp_path, source_for(later))


async def test_requests_keep_the_rate() -> None:
    waits = Waits()
    pace = Pace(4.0, waits.sleep)
    for now_s in (100.0, 100.0, 100.1, 107.0, 107.0):
        await pace.turn(now_s)
    assert waits.seconds == pytest.approx([0.25, 0.4, 0.25])


@pytest.mark.parametrize("dsn", ["ftp://h/x", "http://", "h", "http://h:x/"])
def test_another_kind_of_address_is_refused(dsn: str, tmp_path: Path) -> None:
    source = HttpSource(connection="api")
    with pytest.raises(SettingsError, match="connection `api`: expected `http://host/path`"):
        source_of(tmp_path, source, FIELDS, None, settings_for(dsn, tmp_path))
    with pytest.raises(UnknownNameError, match="connection `other`: expected one of"):
        source_of(tmp_path, HttpSource(connection="other"), FIELDS)
