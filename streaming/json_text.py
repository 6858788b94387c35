"""Kernels for JSON text (RFC 8259): white space, strings, escapes, UTF-8, skipping any value."""
# ruff: noqa: C901, PLR0911, PLR0912, PLR1714, SIM109
# A kernel is one flat machine over bytes: every call and every cleverer comparison costs speed.

import numpy as np

from streaming.json_code import (
    BAD_ESCAPE,
    BAD_NUMBER,
    BAD_UTF8,
    CONTROL_CHARACTER,
    CUT_SHORT,
    ESCAPED,
    EXPECTED_COLON,
    EXPECTED_COMMA,
    EXPECTED_KEY,
    EXPECTED_VALUE,
    LONE_SURROGATE,
    MAX_DEPTH,
    OK,
    TOO_DEEP,
)
from streaming.json_jit import Bytes, byte_at, called, first_mark, inlined, word_at

QUOTE, BACKSLASH, COMMA, COLON, MINUS, DOT, ZERO = 34, 92, 44, 58, 45, 46, 48
OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = 123, 125, 91, 93

ONES = np.uint64(0x0101010101010101)
MARKS = np.uint64(0x8080808080808080)
SPACES = np.uint64(0x2020202020202020)
QUOTES = np.uint64(0x2222222222222222)
BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)


@inlined
def peek(text: Bytes, at: int, end: int) -> int:
    """Byte at `at`, -1 at the end."""
    return byte_at(text, at) if at < end else -1


@inlined
def skip_space(text: Bytes, at: int, end: int) -> int:
    """Position of the first byte that is no white space, or `end`."""
    while at < end:
        c = byte_at(text, at)
        if c > 32 or not (c == 32 or c == 10 or c == 13 or c == 9):
            break
        at += 1
    return at


@called
def utf8_end(text: Bytes, at: int, end: int) -> int:
    """End of the well-formed multi-byte character at `at` (Unicode 15, table 3-7), or -1."""
    lead = byte_at(text, at)
    low, high = 0x80, 0xBF
    if 0xC2 <= lead <= 0xDF:
        more = 1
    elif 0xE0 <= lead <= 0xEF:
        more = 2
        if lead == 0xE0:
            low = 0xA0
        elif lead == 0xED:
            high = 0x9F
    elif 0xF0 <= lead <= 0xF4:
        more = 3
        if lead == 0xF0:
            low = 0x90
        elif lead == 0xF4:
            high = 0x8F
    else:
        return -1
    if at + more >= end:
        return -1
    second = byte_at(text, at + 1)
    if second < low or second > high:
        return -1
    for i in range(2, more + 1):
        if byte_at(text, at + i) & 0xC0 != 0x80:
            return -1
    return at + more + 1


@called
def hex4(text: Bytes, at: int, end: int) -> int:
    """Value of four hexadecimal digits, or -1."""
    if at + 4 > end:
        return -1
    value = 0
    for i in range(4):
        c = byte_at(text, at + i)
        if 48 <= c <= 57:
            digit = c - 48
        elif 97 <= c <= 102:
            digit = c - 87
        elif 65 <= c <= 70:
            digit = c - 55
        else:
            return -1
        value = value * 16 + digit
    return value


@called
def escape_end(text: Bytes, at: int, end: int) -> tuple[int, int]:
    """Check the escape whose backslash is at `at`; its end and OK, or where and why it is wrong."""
    c = peek(text, at + 1, end)
    if c == 117:
        unit = hex4(text, at + 2, end)
        if unit < 0:
            return at, BAD_ESCAPE
        if unit < 0xD800 or unit > 0xDFFF:
            return at + 6, OK
        if unit > 0xDBFF or peek(text, at + 6, end) != BACKSLASH or peek(text, at + 7, end) != 117:
            return at, LONE_SURROGATE
        unit = hex4(text, at + 8, end)
        if unit < 0xDC00 or unit > 0xDFFF:
            return at, LONE_SURROGATE
        return at + 12, OK
    if (
        c == QUOTE
        or c == BACKSLASH
        or c == 47
        or c == 98
        or c == 102
        or c == 110
        or c == 114
        or c == 116
    ):
        return at + 2, OK
    return at, CUT_SHORT if c < 0 else BAD_ESCAPE


@inlined
def string_end(text: Bytes, at: int, end: int) -> tuple[int, int]:
    """Find the quote that closes a string.

    Args:
        text: The bytes.
        at: First byte after the opening quote.
        end: End of the record.

    Returns:
        Position of the closing quote with OK (raw bytes are the text) or ESCAPED; else where and
        why it is wrong.
    """
    verdict = OK
    while True:
        if at + 8 <= end:
            w = word_at(text, at)
            q = w ^ QUOTES
            b = w ^ BACKSLASHES
            marks = (((w - SPACES) | (q - ONES) & ~q | (b - ONES) & ~b) & ~w | w) & MARKS
            skip = first_mark(marks)
            at += skip
            if skip == 8:
                continue
        elif at >= end:
            return at, CUT_SHORT
        c = byte_at(text, at)
        if c == QUOTE:
            return at, verdict
        if c >= 0x80:
            after = utf8_end(text, at, end)
            if after < 0:
                return at, BAD_UTF8
            at = after
        elif c == BACKSLASH:
            at, why = escape_end(text, at, end)
            if why != OK:
                return at, why
            verdict = ESCAPED
        elif c < 32:
            return at, CONTROL_CHARACTER
        else:
            at += 1


@called
def any_string_end(text: Bytes, at: int, end: int) -> tuple[int, int]:
    """As `string_end`, as a call."""
    return string_end(text, at, end)


@called
def unescape(text: Bytes, at: int, end: int, into: Bytes, to: int) -> int:
    """Write the text of a checked string to `into[to:]`; returns the end there.

    Its raw bytes are `at` to `end`. The text is never longer than its raw bytes.
    """
    while at < end:
        c = byte_at(text, at)
        if c != BACKSLASH:
            into[to] = c
            at += 1
            to += 1
            continue
        c = byte_at(text, at + 1)
        at += 2
        if c == 117:
            code = hex4(text, at, end)
            at += 4
            if 0xD800 <= code <= 0xDBFF:
                code = 0x10000 + ((code - 0xD800) << 10) + hex4(text, at + 2, end) - 0xDC00
                at += 6
        elif c == 98:
            code = 8
        elif c == 102:
            code = 12
        elif c == 110:
            code = 10
        elif c == 114:
            code = 13
        elif c == 116:
            code = 9
        else:
            code = c
        if code < 0x80:
            into[to] = code
            to += 1
        elif code < 0x800:
            into[to] = 0xC0 | code >> 6
            into[to + 1] = 0x80 | code & 63
            to += 2
        elif code < 0x10000:
            into[to] = 0xE0 | code >> 12
            into[to + 1] = 0x80 | code >> 6 & 63
            into[to + 2] = 0x80 | code & 63
            to += 3
        else:
            into[to] = 0xF0 | code >> 18
            into[to + 1] = 0x80 | code >> 12 & 63
            into[to + 2] = 0x80 | code >> 6 & 63
            into[to + 3] = 0x80 | code & 63
            to += 4
    return to


@called
def number_end(text: Bytes, at: int, end: int) -> int:
    """End of the number at `at`, or -1 if it is none."""
    if peek(text, at, end) == MINUS:
        at += 1
    first = at
    while at < end and 48 <= byte_at(text, at) <= 57:
        at += 1
    if at == first or (at > first + 1 and byte_at(text, first) == ZERO):
        return -1
    if peek(text, at, end) == DOT:
        at += 1
        first = at
        while at < end and 48 <= byte_at(text, at) <= 57:
            at += 1
        if at == first:
            return -1
    if peek(text, at, end) | 32 == 101:
        at += 1
        sign = peek(text, at, end)
        if sign == 43 or sign == MINUS:
            at += 1
        first = at
        while at < end and 48 <= byte_at(text, at) <= 57:
            at += 1
        if at == first:
            return -1
    return at


@inlined
def literal_end(text: Bytes, at: int, end: int) -> int:
    """End of `true`, `false` or `null` at `at`, or -1 if it is none."""
    c = byte_at(text, at)
    after = at + (5 if c == 102 else 4)
    if after > end:
        return -1
    a, b, d = byte_at(text, at + 1), byte_at(text, at + 2), byte_at(text, at + 3)
    if c == 116:
        right = a == 114 and b == 117 and d == 101
    elif c == 110:
        right = a == 117 and b == 108 and d == 108
    else:
        right = c == 102 and a == 97 and b == 108 and d == 115 and byte_at(text, at + 4) == 101
    return after if right else -1


@called
def value_start(text: Bytes, at: int, end: int) -> tuple[int, int]:
    """Read `"key" :` at `at`; position of the value and OK, or where and why it is wrong."""
    c = peek(text, at, end)
    if c != QUOTE:
        return at, CUT_SHORT if c < 0 else EXPECTED_KEY
    at, why = any_string_end(text, at + 1, end)
    if why > ESCAPED:
        return at, why
    at = skip_space(text, at + 1, end)
    c = peek(text, at, end)
    if c != COLON:
        return at, CUT_SHORT if c < 0 else EXPECTED_COLON
    return skip_space(text, at + 1, end), OK


@called
def skip_value(text: Bytes, at: int, end: int, stack: Bytes, base: int) -> tuple[int, int]:
    """Check any value and find its end.

    Args:
        text: The bytes.
        at: First byte of the value.
        end: End of the record.
        stack: Room for MAX_DEPTH + 1 closing brackets.
        base: Depth at which the value stands.

    Returns:
        Position after the value and OK, or where and why it is wrong.
    """
    depth = base
    while True:
        c = peek(text, at, end)
        if c == OPEN_BRACE or c == OPEN_BRACKET:
            depth += 1
            if depth > MAX_DEPTH:
                return at, TOO_DEEP
            stack[depth] = c + 2
            at = skip_space(text, at + 1, end)
            if peek(text, at, end) != c + 2:
                if c == OPEN_BRACE:
                    at, why = value_start(text, at, end)
                    if why != OK:
                        return at, why
                continue
            at += 1
            depth -= 1
        elif c == QUOTE:
            at, why = any_string_end(text, at + 1, end)
            if why > ESCAPED:
                return at, why
            at += 1
        elif c == MINUS or 48 <= c <= 57:
            after = number_end(text, at, end)
            if after < 0:
                return at, BAD_NUMBER
            at = after
        elif c < 0:
            return at, CUT_SHORT
        else:
            after = literal_end(text, at, end)
            if after < 0:
                return at, EXPECTED_VALUE
            at = after
        while depth > base:
            at = skip_space(text, at, end)
            c = peek(text, at, end)
            if c == stack[depth]:
                at += 1
                depth -= 1
                continue
            if c != COMMA:
                return at, CUT_SHORT if c < 0 else EXPECTED_COMMA
            at = skip_space(text, at + 1, end)
            if stack[depth] == CLOSE_BRACE:
                at, why = value_start(text, at, end)
                if why != OK:
                    return at, why
            break
        else:
            return at, OK
