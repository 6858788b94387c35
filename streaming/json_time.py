"""Kernels for times, dates and UUIDs in text."""
# ruff: noqa: C901, PLR0911, PLR0912, PLR1714
# A kernel is one flat machine over bytes: every call and every cleverer comparison costs speed.

from streaming.json_code import BAD_TEXT, DAY_MS, NO_ZONE, OK
from streaming.json_jit import Bytes, byte_at, called, inlined
from streaming.json_text import COLON, MINUS, peek

HOUR_MS = 3_600_000
MINUTE_MS = 60_000


@inlined
def pair(text: Bytes, at: int, end: int) -> int:
    """Value of two digits, or -1."""
    if at + 2 > end:
        return -1
    tens = byte_at(text, at) - 48
    ones = byte_at(text, at + 1) - 48
    if tens < 0 or tens > 9 or ones < 0 or ones > 9:
        return -1
    return tens * 10 + ones


@called
def read_date(text: Bytes, at: int, end: int) -> tuple[int, int]:
    """Read `YYYY-MM-DD` at `at`; OK and days since 1970, Gregorian, years 1 to 9999.

    The day count is Howard Hinnant's `days_from_civil`.
    """
    century, rest, month, day = (
        pair(text, at, end),
        pair(text, at + 2, end),
        pair(text, at + 5, end),
        pair(text, at + 8, end),
    )
    if century < 0 or rest < 0 or month < 1 or month > 12 or day < 1:
        return BAD_TEXT, 0
    if byte_at(text, at + 4) != MINUS or byte_at(text, at + 7) != MINUS:
        return BAD_TEXT, 0
    year = century * 100 + rest
    if year == 0:
        return BAD_TEXT, 0
    last = 31
    if month == 2:
        last = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    elif month in (4, 6, 9, 11):
        last = 30
    if day > last:
        return BAD_TEXT, 0
    if month <= 2:
        year -= 1
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return OK, era * 146_097 + day_of_era - 719_468


@called
def read_timestamp(text: Bytes, at: int, end: int) -> tuple[int, int]:
    """Read an ISO 8601 time with zone; OK and milliseconds since the epoch (floor).

    `YYYY-MM-DD`, then `T` or a space, `hh:mm`, optional `:ss` with up to nine decimals, then `Z`,
    `+hh`, `+hhmm` or `+hh:mm`. No second 60, no hour 24.
    """
    verdict, days = read_date(text, at, end)
    if verdict != OK:
        return verdict, 0
    at += 10
    c = peek(text, at, end)
    if c != 84 and c != 116 and c != 32:
        return BAD_TEXT, 0
    hour, minute = pair(text, at + 1, end), pair(text, at + 4, end)
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or byte_at(text, at + 3) != COLON:
        return BAD_TEXT, 0
    value = days * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS
    at += 6
    if peek(text, at, end) == COLON:
        second = pair(text, at + 1, end)
        if second < 0 or second > 59:
            return BAD_TEXT, 0
        value += second * 1000
        at += 3
        if peek(text, at, end) == 46:
            at += 1
            places = 0
            weight = 100
            while at < end and 48 <= byte_at(text, at) <= 57:
                value += (byte_at(text, at) - 48) * weight
                weight //= 10
                places += 1
                at += 1
            if places == 0 or places > 9:
                return BAD_TEXT, 0
    c = peek(text, at, end)
    if c < 0:
        return NO_ZONE, 0
    if c | 32 == 122:
        return (OK, value) if at + 1 == end else (BAD_TEXT, 0)
    if c != 43 and c != MINUS:
        return BAD_TEXT, 0
    hour = pair(text, at + 1, end)
    minute = 0
    at += 3
    if at < end:
        if byte_at(text, at) == COLON:
            at += 1
        minute = pair(text, at, end)
        at += 2
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or at != end:
        return BAD_TEXT, 0
    zone = hour * HOUR_MS + minute * MINUTE_MS
    return OK, value + zone if c == MINUS else value - zone


@called
def read_uuid(text: Bytes, at: int, end: int) -> int:
    """Check a canonical UUID: 8-4-4-4-12 hexadecimal digits of either case."""
    if end - at != 36:
        return BAD_TEXT
    for i in range(36):
        c = byte_at(text, at + i)
        if i in (8, 13, 18, 23):
            if c != MINUS:
                return BAD_TEXT
        elif not (48 <= c <= 57 or 65 <= c <= 70 or 97 <= c <= 102):
            return BAD_TEXT
    return OK
