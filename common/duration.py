"""Durations, sizes and times in the words of the files that users write."""

import re
from datetime import UTC, datetime, timedelta

from common.errors import UsageError

MAX_DURATION_MS = 1 << 50
"""About 35,000 years; keeps sums of durations and event times inside 64 bits."""

_DURATION_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_SIZE_UNITS = {"GB": 1 << 30, "MB": 1 << 20, "KB": 1 << 10, "B": 1}
_DURATION = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]+)(B|KB|MB|GB)")
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

DURATION_PATTERN = f"^{_DURATION.pattern}$"
SIGNED_DURATION_PATTERN = f"^-?{_DURATION.pattern}$"


def parse_duration(text: str) -> int:
    """Read `250ms`, `2s`, `1m`, `1h` or `7d`; gives milliseconds. Raises `UsageError`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise UsageError(f"expected a duration such as 250ms, 2s, 1m, 1h or 7d, got `{text}`")
    value = int(found[1]) * _DURATION_UNITS[found[2]]
    if value > MAX_DURATION_MS:
        raise UsageError(
            f"expected a duration below {format_duration(MAX_DURATION_MS)}, got `{text}`"
        )
    return value


def format_duration(value_ms: int) -> str:
    """Write milliseconds in the largest unit that divides them: 120,000 is `2m`."""
    for unit, factor in _DURATION_UNITS.items():
        if value_ms and value_ms % factor == 0:
            return f"{value_ms // factor}{unit}"
    return f"{value_ms}s" if value_ms == 0 else f"{value_ms}ms"


def parse_size(text: str) -> int:
    """Read `512B`, `64KB`, `1MB` or `2GB` (powers of 1024); gives bytes. Raises `UsageError`."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"expected a size such as 64KB or 1MB, got `{text}`")
    return int(found[1]) * _SIZE_UNITS[found[2]]


def format_size(value_bytes: int) -> str:
    """Write bytes in the largest unit that divides them: 65,536 is `64KB`."""
    for unit, factor in _SIZE_UNITS.items():
        if value_bytes and value_bytes % factor == 0:
            return f"{value_bytes // factor}{unit}"
    return f"{value_bytes}B"


def parse_time(text: str) -> int:
    """Read a time in ISO 8601 with zone into milliseconds since the epoch. Raises `UsageError`."""
    return parse_time_us(text) // 1_000


def parse_time_us(text: str) -> int:
    """Read a time in ISO 8601 with zone into microseconds since the epoch. Raises `UsageError`."""
    expected = f"expected a time with its zone such as 2026-05-01T00:00Z, got `{text}`"
    if _TIME.fullmatch(text) is None:
        raise UsageError(expected)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{expected}: {error}") from error
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def format_time(value_ms: int) -> str:
    """Write milliseconds since the epoch as ISO 8601 in UTC with milliseconds."""
    moment = _EPOCH + timedelta(milliseconds=value_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
