"""Kernels for JSON numbers: exact integers and decimals by digits, correctly rounded float64.

Floats follow Clinger's exact path and else the algorithm of Eisel and Lemire ("Number Parsing at a
Gigabyte per Second", 2021); what that cannot decide is left to Python.
"""
# ruff: noqa: C901, PLR0912, PLR1714
# A kernel is one flat machine over bytes: every call and every cleverer comparison costs speed.

import numpy as np
import numpy.typing as npt

from streaming.json_code import OK, TOO_MANY_DIGITS, TOO_MANY_PLACES
from streaming.json_jit import (
    Bytes,
    bits_of,
    byte_at,
    called,
    first_mark,
    high_product,
    inlined,
    int64,
    leading_zeros,
    word_at,
)
from streaming.json_text import DOT, MARKS, MINUS, ZERO, peek

UNSURE = -1
"""A float that needs more than 19 digits to be decided."""

DIGIT_ZEROS = np.uint64(0x3030303030303030)
ABOVE_NINE = np.uint64(0x7676767676767676)
PAIRS = np.uint64(0x000000FF000000FF)
MULTIPLY_A = np.uint64(0x000F424000000064)
MULTIPLY_B = np.uint64(0x0000271000000001)
LOW_HALF = np.uint64(0xFFFFFFFF)
ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
PRECISION_MASK = np.uint64(0x1FF)
HIDDEN_BIT = np.uint64(1 << 52)
INFINITY = 2047 << 52
MAX_EXPONENT = 10**15

POWERS = np.array([10**i for i in range(20)], dtype=np.uint64)
EXACT_POWERS = np.array([float(10**i) for i in range(23)], dtype=np.float64)

SMALLEST_POWER = -342
LARGEST_POWER = 308


def _powers_of_five() -> npt.NDArray[np.uint64]:
    """Leading 128 bits of 5**q as (high, low), q from -342 to 308; reciprocals are rounded up."""
    rows = []
    for q in range(SMALLEST_POWER, LARGEST_POWER + 1):
        power = 5 ** abs(q)
        if q < 0:
            bits = (power - 1).bit_length()
            value = 2 ** (bits + 127 if q >= -27 else 2 * bits + 128) // power + 1
        else:
            value = power << 128
        value >>= value.bit_length() - 128
        rows.append((value >> 64, value & (1 << 64) - 1))
    return np.array(rows, dtype=np.uint64)


FIVES = _powers_of_five()


@inlined
def digits(text: Bytes, at: int, end: int, value: np.uint64) -> tuple[int, np.uint64]:
    """Read digits behind those in `value`; position after them and the value modulo 2**64."""
    while at + 8 <= end:
        w = word_at(text, at) ^ DIGIT_ZEROS
        count = first_mark(((w + ABOVE_NINE) | w) & MARKS)
        if count == 0:
            return at, value
        w = w << np.uint64(64 - 8 * count)
        w = w * np.uint64(10) + (w >> np.uint64(8))
        w = ((w & PAIRS) * MULTIPLY_A + ((w >> np.uint64(16)) & PAIRS) * MULTIPLY_B) >> np.uint64(
            32
        )
        value = value * POWERS[count] + (w & LOW_HALF)
        at += count
        if count < 8:
            return at, value
    while at < end:
        c = byte_at(text, at)
        if c < 48 or c > 57:
            break
        value = value * np.uint64(10) + np.uint64(c - 48)
        at += 1
    return at, value


@inlined
def scan_number(text: Bytes, at: int, end: int) -> tuple[int, np.uint64, int, int, int]:
    """Read a number.

    Returns:
        Position after it, or -1 if it is none; all its digits as one integer modulo 2**64; how many
        digits stand before the point; how many after it, or -1 without a point; the exponent, or
        MAX_EXPONENT + 1 without one.
    """
    if byte_at(text, at) == MINUS:
        at += 1
    first = at
    at, value = digits(text, at, end, np.uint64(0))
    whole = at - first
    if whole == 0 or (whole > 1 and byte_at(text, first) == ZERO):
        return -1, value, 0, 0, 0
    places = -1
    exponent = MAX_EXPONENT + 1
    c = peek(text, at, end)
    if c == DOT:
        first = at + 1
        at, value = digits(text, first, end, value)
        places = at - first
        if places == 0:
            return -1, value, 0, 0, 0
        c = peek(text, at, end)
    if c | 32 == 101:
        at, exponent = scan_exponent(text, at + 1, end)
    return at, value, whole, places, exponent


@called
def scan_exponent(text: Bytes, at: int, end: int) -> tuple[int, int]:
    """Read what follows an `e`; position after it (-1 if malformed) and the bounded exponent."""
    sign = peek(text, at, end)
    if sign == 43 or sign == MINUS:
        at += 1
    first = at
    value = 0
    while at < end and 48 <= byte_at(text, at) <= 57:
        value = min(value * 10 + byte_at(text, at) - 48, MAX_EXPONENT)
        at += 1
    if at == first:
        return -1, 0
    return at, -value if sign == MINUS else value


@called
def long_decimal(
    text: Bytes, at: int, end: int, exponent: int, precision: int, scale: int
) -> tuple[int, int, int]:
    """Read a number of any length as a decimal, exactly.

    Args:
        text: The bytes.
        at: First byte of the number, which was checked.
        end: Position after it.
        exponent: Its exponent, 0 without one.
        precision: Digits in all, at most 38.
        scale: Digits after the point.

    Returns:
        OK, TOO_MANY_PLACES or TOO_MANY_DIGITS; low and high word of value times 10**scale as a
        128-bit integer.
    """
    negative = byte_at(text, at) == MINUS
    seen = 0
    last = 0
    after_point = 0
    in_fraction = False
    for i in range(at, end):
        c = byte_at(text, i)
        if c == DOT:
            in_fraction = True
        elif c | 32 == 101:
            break
        elif c != MINUS:
            if in_fraction:
                after_point += 1
            if seen > 0 or c != ZERO:
                seen += 1
                if c != ZERO:
                    last = seen
    if last == 0:
        return OK, 0, 0
    zeros = exponent - after_point + (seen - last) + scale
    if zeros < 0:
        return TOO_MANY_PLACES, 0, 0
    if last + zeros > precision:
        return TOO_MANY_DIGITS, 0, 0
    low = np.uint64(0)
    high = np.uint64(0)
    seen = 0
    for i in range(at, end):
        c = byte_at(text, i)
        if c < 48 or c > 57 or (seen == 0 and c == ZERO):
            continue
        seen += 1
        carry = high_product(low, np.uint64(10))
        low = low * np.uint64(10)
        high = high * np.uint64(10) + carry
        low = low + np.uint64(c - 48)
        if low < np.uint64(c - 48):
            high = high + np.uint64(1)
        if seen == last:
            break
    for _ in range(zeros):
        carry = high_product(low, np.uint64(10))
        low = low * np.uint64(10)
        high = high * np.uint64(10) + carry
    if negative:
        low = ~low + np.uint64(1)
        high = ~high
        if low == np.uint64(0):
            high = high + np.uint64(1)
    return OK, int64(low), int64(high)


@called
def lemire(value: np.uint64, power: int) -> int:
    """Bits of value times 10**power, rounded to nearest even; INFINITY or UNSURE."""
    if value == np.uint64(0) or power < SMALLEST_POWER:
        return 0
    if power > LARGEST_POWER:
        return INFINITY
    zeros = leading_zeros(value)
    value = value << np.uint64(zeros)
    five_high = FIVES[power - SMALLEST_POWER, 0]
    low = value * five_high
    high = high_product(value, five_high)
    if high & PRECISION_MASK == PRECISION_MASK:
        more = high_product(value, FIVES[power - SMALLEST_POWER, 1])
        low = low + more
        if low < more:
            high = high + np.uint64(1)
    if low == ALL_ONES and (power < -27 or power > 55):
        return UNSURE
    upper = int64(high >> np.uint64(63))
    shift = np.uint64(upper + 9)
    mantissa = high >> shift
    exponent = ((152170 + 65536) * power >> 16) + 63 + upper - zeros + 1023
    if exponent <= 0:
        if exponent <= -63:
            return 0
        mantissa = mantissa >> np.uint64(1 - exponent)
        mantissa = (mantissa + (mantissa & np.uint64(1))) >> np.uint64(1)
        return int64(mantissa)
    if (
        low <= np.uint64(1)
        and -4 <= power <= 23
        and mantissa & np.uint64(3) == np.uint64(1)
        and mantissa << shift == high
    ):
        mantissa = mantissa & ~np.uint64(1)
    mantissa = (mantissa + (mantissa & np.uint64(1))) >> np.uint64(1)
    if mantissa >= np.uint64(2) * HIDDEN_BIT:
        mantissa = HIDDEN_BIT
        exponent += 1
    if exponent >= 2047:
        return INFINITY
    return int64(mantissa & ~HIDDEN_BIT) | (exponent << 52)


@called
def long_float(text: Bytes, at: int, end: int, exponent: int) -> int:
    """Bits of the absolute value of a number of any length, INFINITY or UNSURE."""
    value = np.uint64(0)
    kept = 0
    dropped = False
    in_fraction = False
    for i in range(at, end):
        c = byte_at(text, i)
        if c == DOT:
            in_fraction = True
        elif c | 32 == 101:
            break
        elif c != MINUS:
            if kept < 19:
                value = value * np.uint64(10) + np.uint64(c - 48)
                if value != np.uint64(0):
                    kept += 1
                exponent -= in_fraction
            else:
                dropped = dropped or c != ZERO
                exponent += not in_fraction
    bits = lemire(value, exponent)
    if dropped and bits != lemire(value + np.uint64(1), exponent):
        return UNSURE
    return bits


@inlined
def float_bits(
    value: np.uint64, digit_count: int, power: int, text: Bytes, at: int, end: int, exponent: int
) -> int:
    """Bits of the absolute value of a scanned number, INFINITY or UNSURE."""
    if digit_count <= 19:
        if value <= np.uint64(1 << 53) and -22 <= power <= 22:
            if power < 0:
                return bits_of(np.float64(value) / EXACT_POWERS[-power])
            return bits_of(np.float64(value) * EXACT_POWERS[power])
        return lemire(value, power)
    return long_float(text, at, end, exponent)
