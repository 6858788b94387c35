"""Kernels for what JSON may hold and a sink may not."""
# A kernel is one flat machine over bytes: every call and every cleverer comparison costs speed.

from streaming.json_code import HUGE_NUMBER, MAX_NUMBER_BYTES, MAX_POWER, OK, ZERO_CHARACTER
from streaming.json_jit import Bytes, byte_at, called
from streaming.json_text import BACKSLASH, MINUS, QUOTE, hex4, number_end


@called
def holds_zero(text: Bytes, at: int, end: int) -> bool:
    """Whether the bytes of an unescaped text hold U+0000, which comes in by an escape only."""
    while at < end:
        if byte_at(text, at) == 0:
            return True
        at += 1
    return False


@called
def stored_fault(text: Bytes, at: int, end: int) -> int:
    """Say what in a checked JSON value PostgreSQL's jsonb would refuse; OK if nothing."""
    while at < end:
        c = byte_at(text, at)
        if c == MINUS or 48 <= c <= 57:
            first = at
            at = number_end(text, at, end)
            if at - first > MAX_NUMBER_BYTES or power_size(text, first, at) > MAX_POWER:
                return HUGE_NUMBER
            continue
        at += 1
        if c != QUOTE:
            continue
        c = byte_at(text, at)
        while c != QUOTE:
            if c == BACKSLASH:
                if byte_at(text, at + 1) == 117 and hex4(text, at + 2, end) == 0:
                    return ZERO_CHARACTER
                at += 1
            at += 1
            c = byte_at(text, at)
        at += 1
    return OK


@called
def power_size(text: Bytes, at: int, end: int) -> int:
    """Size of the exponent of a checked number, without its sign; more than MAX_POWER if huge."""
    while at < end and byte_at(text, at) | 32 != 101:
        at += 1
    power = 0
    while at < end and power <= MAX_POWER:
        c = byte_at(text, at)
        if 48 <= c <= 57:
            power = power * 10 + c - 48
        at += 1
    return power
