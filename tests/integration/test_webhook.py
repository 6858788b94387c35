"""The webhook against an HTTP server on the loopback interface."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from common.errors import RetryableError, SettingsError
from connectors.webhook import HttpWebhook

SECRET = "T0/hunter2hunter2"


class Receiver:
    """Takes posts and answers with a status."""

    def __init__(self) -> None:
        self.status = 204
        self.taken: list[tuple[str, str, bytes]] = []
        self.silent = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        self.taken.append((request.path, request.content_type, await request.read()))
        if self.status == 0:
            await self.silent.wait()
        headers = {"Location": "/elsewhere"} if self.status == 302 else {}
        return web.Response(status=self.status or 204, headers=headers)


@asynccontextmanager
async def listening(receiver: Receiver) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _, port = runner.addresses[0][:2]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        receiver.silent.set()
        await runner.cleanup()


async def test_an_alert_arrives_as_json() -> None:
    receiver = Receiver()
    async with listening(receiver) as url:
        await HttpWebhook(f"{url}/{SECRET}").post(b'{"id": "1"}')
    [(path, kind, body)] = receiver.taken
    assert (path, kind, json.loads(body)) == (f"/{SECRET}", "application/json", {"id": "1"})


@pytest.mark.parametrize("status", [302, 400, 404, 500])
async def test_an_answer_that_says_no_is_asked_again_later(status: int) -> None:
    receiver = Receiver()
    receiver.status = status
    async with listening(receiver) as url:
        with pytest.raises(RetryableError, match=f"status {status}") as caught:
            await HttpWebhook(f"{url}/{SECRET}").post(b"{}")
    assert len(receiver.taken) == 1
    assert "hunter2" not in str(caught.value)


async def test_a_receiver_that_hangs_is_given_up_in_time() -> None:
    receiver = Receiver()
    receiver.status = 0
    async with listening(receiver) as url:
        with pytest.raises(RetryableError, match=r"got none in 0\.2 seconds"):
            await HttpWebhook(url, timeout_s=0.2).post(b"{}")


async def test_nobody_listening_is_told_without_the_secret() -> None:
    receiver = Receiver()
    async with listening(receiver) as url:
        pass
    with pytest.raises(RetryableError, match="Connection refused") as caught:
        await HttpWebhook(f"{url}/{SECRET}").post(b"{}")
    assert url in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "hooks.example.com/x", "ftp://h/x", "http://", "http://h:x/"])
def test_another_kind_of_address_is_refused_with_the_setting(url: str) -> None:
    with pytest.raises(SettingsError, match=r"`alerts\.webhook`: expected `http://host/path`"):
        HttpWebhook(url)
