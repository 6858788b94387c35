"""Where a run of a stream begins and ends, in the words of the command line."""

import re

from common.duration import parse_time
from common.errors import UsageError
from streaming.status import RewindTo, StreamFrom, StreamUntil

_OFFSETS = re.compile(r"\d+=\d+(,\d+=\d+)*")


def parse_from(text: str) -> StreamFrom:
    """Read `earliest`, `latest` or a time with zone. Raises `UsageError`."""
    if text == "earliest":
        return StreamFrom(kind="earliest")
    if text == "latest":
        return StreamFrom(kind="latest")
    return StreamFrom(kind="time", time_ms=_time("--from", text, "earliest, latest or a time"))


def parse_until(text: str) -> StreamUntil:
    """Read `latest`, a time with zone, or offsets such as `0=1500,1=900`. Raises `UsageError`.

    >>> parse_until("0=1500,1=900").offsets
    {0: 1500, 1: 900}
    """
    if text == "latest":
        return StreamUntil(kind="latest")
    if _OFFSETS.fullmatch(text):
        return StreamUntil(kind="offsets", offsets=_offsets("--until", text))
    expected = "latest, a time, or offsets such as 0=1500,1=900"
    return StreamUntil(kind="time", time_ms=_time("--until", text, expected))


def parse_rewind(text: str, option: str = "--rewind-to") -> RewindTo:
    """Read a time with zone, or offsets such as `0=1500,1=900`. Raises `UsageError`."""
    if _OFFSETS.fullmatch(text):
        return RewindTo(offsets=_offsets(option, text))
    return RewindTo(time_ms=_time(option, text, "a time, or offsets such as 0=1500,1=900"))


def parse_rewind_options(to: str | None, to_offset: str | None) -> RewindTo:
    """Read `--to` or `--to-offset`, of which there must be one. Raises `UsageError`."""
    if (to is None) == (to_offset is None):
        given = "none" if to is None else "both"
        raise UsageError(
            f"`rewind`: expected one of `--to TIME` and `--to-offset 0=1500,1=900`, got {given}"
        )
    if to is not None:
        return RewindTo(time_ms=_time("--to", to, "a time"))
    if to_offset is None or not _OFFSETS.fullmatch(to_offset):
        raise UsageError(f"`--to-offset`: expected offsets such as 0=1500,1=900, got `{to_offset}`")
    return RewindTo(offsets=_offsets("--to-offset", to_offset))


def _offsets(option: str, text: str) -> dict[int, int]:
    pairs = text.split(",")
    offsets = {int(number): int(at) for number, at in (pair.split("=") for pair in pairs)}
    if len(offsets) != len(pairs):
        raise UsageError(f"`{option}`: expected each partition once, got `{text}`")
    return offsets


def _time(option: str, text: str, expected: str) -> int:
    try:
        return parse_time(text)
    except UsageError as error:
        raise UsageError(
            f"`{option}`: expected {expected} (times as 2026-05-01T00:00Z), got `{text}`"
        ) from error
