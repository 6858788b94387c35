"""Alerts to somebody else's HTTP address."""

import os
from urllib.parse import urlsplit

import aiohttp

from common.errors import RetryableError, SettingsError

TIMEOUT_S = 10.0


class HttpWebhook:
    """Posts JSON to one URL.

    The path and query of a webhook are often its secret: messages name scheme and host alone.

    Args:
        url: Where to.
        timeout_s: Seconds that a whole post may take.

    Raises:
        SettingsError: The URL is of another kind.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._address = _shown(url)

    async def post(self, content: bytes) -> None:
        """Send one JSON document.

        Raises:
            RetryableError: Whatever failed. Also an answer that says no: once the setting
                or the receiver is corrected, the same post succeeds.
        """
        headers = {"Content-Type": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as session,
                session.post(
                    self._url, data=content, headers=headers, allow_redirects=False
                ) as answer,
            ):
                status = answer.status
        except TimeoutError as error:
            raise self._failed(f"none in {self._timeout.total:g} seconds") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._failed(_brief(error)) from None  # its text may hold the URL
        if not 200 <= status < 300:
            raise self._failed(f"status {status}")

    def _failed(self, cause: str) -> RetryableError:
        return RetryableError(
            f"`alerts.webhook` at {self._address}: expected an answer from 200 to 299, got {cause}"
            "; check the receiver and the setting, it is tried again by itself"
        )


def _shown(url: str) -> str:
    """Give the part of a URL that is no secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(
            "`alerts.webhook`: expected `http://host/path` or `https://host/path`, got another; "
            "correct it"
        )
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + (f":{port}" if port else "")


def _brief(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        return os.strerror(number) if number > 0 else str(error.os_error.strerror or "no address")
    return type(error).__name__
