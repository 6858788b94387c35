"""Kernel for one value of a declared field: from JSON text to the one or two words of a column."""
# ruff: noqa: C901, FBT001, PLR0911, PLR0912, PLR0913, PLR1714, SIM109
# A kernel is one flat machine over bytes: every call and every cleverer comparison costs speed.

import numpy as np

from streaming.json_code import (
    BAD_NUMBER,
    BAD_TEXT,
    BOOL,
    CUT_SHORT,
    DATE,
    DECIMAL,
    ESCAPED,
    EXPECTED_VALUE,
    FLOAT64,
    INT32,
    INT64,
    JSON,
    LIST,
    MAX_DAY,
    MAX_TIME_MS,
    MIN_DAY,
    MIN_TIME_MS,
    NOT_INTEGER,
    NULL,
    OK,
    OUT_OF_RANGE,
    STRING,
    TIME_OUT_OF_RANGE,
    TIMESTAMP,
    TIMESTAMP_MS,
    TOO_MANY_DIGITS,
    TOO_MANY_PLACES,
    UUID,
    WRONG_TYPE,
    ZERO_CHARACTER,
)
from streaming.json_jit import Bytes, byte_at, called, inlined, int64, word_at
from streaming.json_limit import holds_zero, stored_fault
from streaming.json_number import (
    INFINITY,
    MAX_EXPONENT,
    POWERS,
    UNSURE,
    float_bits,
    long_decimal,
    scan_number,
)
from streaming.json_text import (
    MINUS,
    OPEN_BRACE,
    OPEN_BRACKET,
    QUOTE,
    literal_end,
    peek,
    skip_value,
    string_end,
    unescape,
)
from streaming.json_time import read_date, read_timestamp, read_uuid

MASKS = np.array([(1 << 8 * i) - 1 for i in range(9)], dtype=np.uint64)
LARGEST_INT64 = np.uint64(2**63 - 1)
SIGN = -(2**63)

UNFINISHED = 4
"""State of a float that Python has to finish."""


@inlined
def view(text: Bytes, limit: int, at: int, size: int, index: int) -> tuple[int, int]:
    """Make an Arrow string view: short text inline, else a prefix, buffer and position.

    Bytes before `limit` may be loaded.
    """
    length = np.uint64(size)
    shift = np.uint64(32)
    if size > 12:
        low = length | word_at(text, at) << shift
        return int64(low), int64(np.uint64(index) | np.uint64(at) << shift)
    a = np.uint64(0)
    b = np.uint64(0)
    if at + 16 <= limit:
        a = word_at(text, at) & MASKS[min(size, 8)]
        b = word_at(text, at + 8) & MASKS[max(size - 8, 0)]
    else:
        for i in range(size):
            c = np.uint64(byte_at(text, at + i))
            if i < 8:
                a |= c << np.uint64(8 * i)
            else:
                b |= c << np.uint64(8 * i - 64)
    return int64(length | a << shift), int64(a >> shift | b << shift)


@called
def read_text(
    text: Bytes, at: int, end: int, kind: int, scratch: Bytes, used: int
) -> tuple[int, int, int, int]:
    """Read a time, date or UUID; OK or a verdict, two words, and how much of `scratch` is used."""
    if kind == DATE:
        verdict, value = read_date(text, at, end)
        if verdict == OK and end - at != 10:
            return BAD_TEXT, 0, 0, used
        if verdict == OK and (value < MIN_DAY or value > MAX_DAY):
            return TIME_OUT_OF_RANGE, 0, 0, used
        return verdict, value, 0, used
    if kind == TIMESTAMP:
        verdict, value = read_timestamp(text, at, end)
        if verdict == OK and (value < MIN_TIME_MS or value > MAX_TIME_MS):
            return TIME_OUT_OF_RANGE, 0, 0, used
        return verdict, value, 0, used
    verdict = read_uuid(text, at, end)
    if verdict != OK:
        return verdict, 0, 0, used
    for i in range(36):
        c = byte_at(text, at + i)
        scratch[used + i] = c | 32 if 65 <= c <= 70 else c
    low, high = view(scratch, 0, used, 36, 1)
    return OK, low, high, used + 36


@inlined
def decimal_words(
    value: np.uint64,
    negative: bool,
    digit_count: int,
    places: int,
    precision: int,
    scale: int,
) -> tuple[int, int, int]:
    """Scale a number of at most 18 digits; OK, a verdict, or UNFINISHED: take the long way."""
    shift = scale - places
    if shift < 0:
        unit = POWERS[-shift]
        if value % unit != np.uint64(0):
            return TOO_MANY_PLACES, 0, 0
        value = value // unit
    elif digit_count + shift <= 18:
        value = value * POWERS[shift]
    else:
        return UNFINISHED, 0, 0
    if precision < 19 and value >= POWERS[precision]:
        return TOO_MANY_DIGITS, 0, 0
    number = -int64(value) if negative else int64(value)
    return OK, number, number >> 63


@inlined
def number_words(
    text: Bytes, at: int, after: int, value: np.uint64, whole: int, places: int, exponent: int,
    kind: int, precision: int, scale: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Turn a scanned number into a field's words; OK, UNFINISHED or a verdict, and the words."""
    negative = byte_at(text, at) == MINUS
    digit_count = whole + max(places, 0)
    if kind == DECIMAL:
        if exponent > MAX_EXPONENT and digit_count <= 18:
            verdict, low, high = decimal_words(
                value, negative, digit_count, max(places, 0), precision, scale
            )
            if verdict != UNFINISHED:
                return verdict, low, high
        power = 0 if exponent > MAX_EXPONENT else exponent
        return long_decimal(text, at, after, power, precision, scale)
    if kind == FLOAT64:
        power = 0 if exponent > MAX_EXPONENT else exponent
        bits = float_bits(value, digit_count, power - max(places, 0), text, at, after, power)
        if bits == UNSURE:
            return UNFINISHED, 0, 0
        if bits == INFINITY:
            return OUT_OF_RANGE, 0, 0
        return OK, bits | SIGN if negative else bits, 0
    if places >= 0 or exponent <= MAX_EXPONENT:
        return NOT_INTEGER, 0, 0
    if digit_count > 19 or value > LARGEST_INT64:
        if not (negative and digit_count == 19 and value == np.uint64(2**63) and kind == INT64):
            return OUT_OF_RANGE, 0, 0
        return OK, SIGN, 0
    number = -int64(value) if negative else int64(value)
    if kind == INT32 and (number < -(2**31) or number > 2**31 - 1):
        return OUT_OF_RANGE, 0, 0
    if kind == TIMESTAMP_MS and (number < MIN_TIME_MS or number > MAX_TIME_MS):
        return TIME_OUT_OF_RANGE, 0, 0
    return OK, number, 0


@inlined
def read_value(
    text: Bytes, limit: int, at: int, end: int, kind: int, precision: int, scale: int,
    scratch: Bytes, used: int, stack: Bytes,
) -> tuple[int, int, int, int, int, int]:  # fmt: skip
    """Read the value at `at` as a field of `kind`; what is no such value is still checked as JSON.

    Returns:
        Position after it (or of the mistake); OK or why it is no JSON; the field's state (OK, NULL,
        UNFINISHED or what is wrong); its two words (of a
        list: where it is and its size); how much of `scratch` is used.
    """
    c = peek(text, at, end)
    if c == QUOTE:
        close, why = string_end(text, at + 1, end)
        if why > ESCAPED:
            return close, why, OK, 0, 0, used
        if kind == STRING:
            if why == OK:
                low, high = view(text, limit, at + 1, close - at - 1, 0)
                return close + 1, OK, OK, low, high, used
            size = unescape(text, at + 1, close, scratch, used) - used
            if holds_zero(scratch, used, used + size):
                return close + 1, OK, ZERO_CHARACTER, 0, 0, used
            low, high = view(scratch, 0, used, size, 1)
            return close + 1, OK, OK, low, high, used + size
        if kind == UUID or kind == TIMESTAMP or kind == DATE:
            if why == OK:
                state, low, high, used = read_text(text, at + 1, close, kind, scratch, used)
            else:
                size = unescape(text, at + 1, close, scratch, used) - used
                state, low, high, used = read_text(scratch, used, used + size, kind, scratch, used)
            return close + 1, OK, state, low, high, used
        after = close + 1
    elif c == MINUS or 48 <= c <= 57:
        after, value, whole, places, exponent = scan_number(text, at, end)
        if after < 0:
            return at, BAD_NUMBER, OK, 0, 0, used
        if kind == DECIMAL or kind >= INT32:
            state, low, high = number_words(
                text, at, after, value, whole, places, exponent, kind, precision, scale
            )
            return after, OK, state, low, high, used
    elif c == OPEN_BRACE or c == OPEN_BRACKET:
        after, why = skip_value(text, at, end, stack, 1)
        if why != OK:
            return after, why, OK, 0, 0, used
    elif c < 0:
        return at, CUT_SHORT, OK, 0, 0, used
    else:
        after = literal_end(text, at, end)
        if after < 0:
            return at, EXPECTED_VALUE, OK, 0, 0, used
        if c == 110:
            return after, OK, NULL, 0, 0, used
        if kind == BOOL:
            return after, OK, OK, int64(c == 116), 0, used
    if kind == LIST and c == OPEN_BRACKET:
        return after, OK, OK, at, after - at, used
    if kind == JSON:
        state = stored_fault(text, at, after)
        if state != OK:
            return after, OK, state, 0, 0, used
        low, high = view(text, limit, at, after - at, 0)
        return after, OK, OK, low, high, used
    return after, OK, WRONG_TYPE, 0, 0, used
