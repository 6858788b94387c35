"""Requests to an API: paced, retried, and without secrets in what is told."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from common.errors import ServiceUnavailableError, SourceRefusedError

MAX_ANSWER_BYTES = 32 * 1024 * 1024
REQUEST_TIMEOUT_S = 60.0
ATTEMPTS = 8
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
LONGEST_ASKED_WAIT_S = 600.0
"""A longer `Retry-After` is left to the retry of the whole chunk."""

MISSING = 404
_LATER = frozenset({408, 425, 429})
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """An answer with status 200.

    Attributes:
        text: Its content.
        link: Address by `Link: …; rel="next"`, if there is one.
    """

    text: str
    link: URL | None


class Pace:
    """Lets so many requests a second begin, one at once, by the clock of the loop.

    Args:
        rate_per_s: How many; None is without a bound.
        sleep: Waits some seconds.
    """

    def __init__(self, rate_per_s: float | None, sleep: Sleep = asyncio.sleep) -> None:
        self._gap_s = 0.0 if rate_per_s is None else 1 / rate_per_s
        self._sleep = sleep
        self._next_s = 0.0

    async def turn(self, now_s: float) -> None:
        """Wait for the next turn."""
        begin_s = max(now_s, self._next_s)
        self._next_s = begin_s + self._gap_s
        if begin_s > now_s:
            await self._sleep(begin_s - now_s)


class HttpClient:
    """Asks one API.

    Args:
        headers: Headers of every request; they may hold secrets.
        rate_per_s: Requests a second at most.
        sleep: Waits some seconds.
    """

    def __init__(
        self,
        headers: dict[str, str],
        rate_per_s: float | None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._headers = headers
        self._pace = Pace(rate_per_s, sleep)
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, url: URL, *, may_miss: bool = False) -> Answer | None:
        """Ask for an address, again after 408, 425, 429, 5xx and broken connections.

        `Retry-After` is waited for, else twice as long each time.

        Args:
            url: The address.
            may_miss: Whether status 404 is an answer, None.

        Raises:
            SourceRefusedError: The server refuses the request.
            ServiceUnavailableError: It did not answer in several attempts, or asks for more time.
        """
        wait_s, cause = FIRST_WAIT_S, ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._sleep(wait_s)
            await self._pace.turn(asyncio.get_running_loop().time())
            try:
                found = await self._ask(url, may_miss=may_miss)
            except TimeoutError:
                found = f"none in {REQUEST_TIMEOUT_S:g} seconds", None
            except aiohttp.ClientError as error:
                found = type(error).__name__, None  # its text may hold the address
            if not isinstance(found, tuple):
                return found
            cause, asked_s = found
            if asked_s is not None and asked_s > LONGEST_ASKED_WAIT_S:
                cause = f"{cause}, to be asked again in {asked_s:,.0f} seconds"
                break
            wait_s = min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S) if asked_s is None else asked_s
        raise ServiceUnavailableError("HTTP API", shown(url), cause)

    async def _ask(self, url: URL, *, may_miss: bool) -> Answer | tuple[str, float | None] | None:
        """Ask once; gives a cause and how long to wait where another attempt may help."""
        async with self._open().get(url, allow_redirects=False) as answer:
            status = answer.status
            if status == MISSING and may_miss:
                return None
            if status in _LATER or status >= 500:
                return f"status {status}", _asked_wait_s(answer.headers.get("Retry-After"))
            if status != 200:
                raise SourceRefusedError(
                    f"HTTP API at {shown(url)}: expected status 200, got {status}; check "
                    "`source.http` and the connection"
                )
            content = await answer.content.read(MAX_ANSWER_BYTES + 1)
            while len(content) <= MAX_ANSWER_BYTES and not answer.content.at_eof():
                content += await answer.content.read(MAX_ANSWER_BYTES + 1 - len(content))
            if len(content) > MAX_ANSWER_BYTES:
                raise SourceRefusedError(
                    f"HTTP API at {shown(url)}: expected answers of at most "
                    f"{MAX_ANSWER_BYTES // 1024**2} MB, got more; ask for smaller pages"
                )
            following = answer.links.get("next")
            link = None if following is None else following.get("url")
            return Answer(_text(content, url), link if isinstance(link, URL) else None)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
            )
        return self._session


def shown(url: URL) -> str:
    """Give an address without what may be secret: name, password and parameters."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


def _text(content: bytes, url: URL) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceRefusedError(
            f"HTTP API at {shown(url)}: expected UTF-8, got other bytes"
        ) from error


def _asked_wait_s(text: str | None) -> float | None:
    """Read `Retry-After`: seconds, or a date; None where it says neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
