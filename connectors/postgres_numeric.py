"""Kernels between 128-bit decimals and PostgreSQL's `numeric`, whose digits count to 10,000.

A sent `numeric` is four shorts (count of digits, power of 10,000 of the first, sign, places shown)
and its digits, as `numeric_send` of PostgreSQL's source lays them out. All is exact.
"""
# ruff: noqa: C901, PLR0912, PLR0915
# A kernel is one flat machine: it takes its columns one by one, and every call costs speed.

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from connectors import postgres_jit
from connectors.postgres_jit import put_short, short_at
from streaming import json_jit
from streaming.json_jit import (
    byte_pointer,
    entry,
    fingerprint,
    high_product,
    inlined,
    int64,
    int_pointer,
    long_pointer,
)

SLOT_BYTES: Final = 8 + 2 * 12
"""A numeric of 38 digits, however they lie to the point, with its head."""

FINE, NOT_A_NUMBER, INFINITE, MINUS_INFINITE, MANY_DIGITS, MANY_PLACES, MALFORMED = range(7)

_SOURCE = fingerprint(json_jit, postgres_jit)

_BASE = np.uint64(10_000)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_HALF = np.uint64(32)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_TENS = np.array([1, 10, 100, 1000, 10_000], np.uint64)
_OVERFLOWS = np.array([2**63 // ten + 1 for ten in (1, 10, 100, 1000, 10_000)], np.uint64)
"""Upper halves of numbers that do not fit 127 bits when multiplied by a power of ten."""


@inlined
def _divide(limbs: npt.NDArray[np.uint64], divisor: np.uint64) -> np.uint64:
    """Divide four 32-bit limbs, highest last, in place; returns the remainder."""
    rest = _ZERO
    for index in range(3, -1, -1):
        value = (rest << _HALF) | limbs[index]
        limbs[index] = value // divisor
        rest = value - limbs[index] * divisor
    return rest


def _write_numerics_kernel(source: str) -> Callable[..., int]:
    @entry
    def write_numerics(
        decimal_at: int, count: int, scale: int, target_at: int, size_at: int
    ) -> int:
        """Write decimals of one scale (0 to 38), each into a slot of SLOT_BYTES.

        Args:
            decimal_at: Two words a value, the lower first.
            count: Of values.
            scale: Digits behind the point.
            target_at: Slots.
            size_at: int32 a value: negative for a null, else it is set to the bytes written.

        Returns:
            The length of the kernel's fingerprint, so that it is part of it.
        """
        words, target, sizes = (
            long_pointer(decimal_at),
            byte_pointer(target_at),
            int_pointer(size_at),
        )
        digits, limbs = np.zeros(16, np.uint64), np.zeros(4, np.uint64)
        part, groups = scale & 3, (scale + 3) >> 2
        unit, lift = _TENS[part], _TENS[4 - part]
        for row in range(count):
            if sizes[row] < 0:
                continue
            low, high = np.uint64(words[2 * row]), np.uint64(words[2 * row + 1])
            negative = words[2 * row + 1] < 0
            if negative:
                low = ~low + _ONE
                high = ~high + (_ONE if low == _ZERO else _ZERO)
            used = 0
            if high == _ZERO:
                if part:
                    rest = low // unit
                    digits[0] = (low - rest * unit) * lift
                    low = rest
                    used = 1
                while low != _ZERO:
                    rest = low // _BASE
                    digits[used] = low - rest * _BASE
                    low = rest
                    used += 1
            else:
                limbs[0], limbs[1] = low & _LOW_HALF, low >> _HALF
                limbs[2], limbs[3] = high & _LOW_HALF, high >> _HALF
                if part:
                    digits[0] = _divide(limbs, unit) * lift
                    used = 1
                while (limbs[0] | limbs[1] | limbs[2] | limbs[3]) != _ZERO:
                    digits[used] = _divide(limbs, _BASE)
                    used += 1
            last = 0
            while last < used and digits[last] == _ZERO:
                last += 1
            while used > last and digits[used - 1] == _ZERO:
                used -= 1
            at = row * SLOT_BYTES
            put_short(target, at, used - last)
            put_short(target, at + 2, used - 1 - groups if used > last else 0)
            put_short(target, at + 4, 0x4000 if negative else 0)
            put_short(target, at + 6, scale)
            at += 8
            for index in range(used - 1, last - 1, -1):
                put_short(target, at, int64(digits[index]))
                at += 2
            sizes[row] = 8 + 2 * (used - last)
        return len(source)

    return write_numerics


write_numerics = _write_numerics_kernel(_SOURCE)
"""Write decimals of one scale (0 to 38), each into a slot of SLOT_BYTES."""


def _read_numerics_kernel(source: str) -> Callable[..., int]:
    @entry
    def read_numerics(
        source_at: int,
        start_at: int,
        size_at: int,
        count: int,
        precision: int,
        scale: int,
        decimal_at: int,
        reason_at: int,
    ) -> int:
        """Read numerics into decimals of one precision (1 to 38) and scale (0 to it).

        Args:
            source_at: Bytes as they were sent.
            start_at: int64 a value.
            size_at: int32 a value; negative for a null.
            count: Of values.
            precision: Digits that a value may have.
            scale: Of those, behind the point.
            decimal_at: Gets two words a value, the lower first; 0 for a null or a bad one.
            reason_at: Gets a byte a value: FINE, or why it cannot be had.

        Returns:
            How many values are not FINE.
        """
        sent, starts, sizes = byte_pointer(source_at), long_pointer(start_at), int_pointer(size_at)
        words, reasons = long_pointer(decimal_at), byte_pointer(reason_at)
        bad = 0 * len(source)
        full, part = scale >> 2, scale & 3
        keep, cut = _TENS[part], _TENS[4 - part]
        limit_low, limit_high = _ONE, _ZERO
        for _ in range(precision):
            limit_high = limit_high * np.uint64(10) + high_product(limit_low, np.uint64(10))
            limit_low = limit_low * np.uint64(10)
        for row in range(count):
            words[2 * row], words[2 * row + 1], reasons[row] = 0, 0, FINE
            if sizes[row] < 0:
                continue
            at = starts[row]
            reason, low, high = FINE, _ZERO, _ZERO
            used = short_at(sent, at) if sizes[row] >= 8 else -1
            if used < 0 or sizes[row] != 8 + 2 * used:
                reasons[row] = MALFORMED
                bad += 1
                continue
            power, sign = short_at(sent, at + 2), short_at(sent, at + 4) & 0xFFFF
            end = at + sizes[row]
            at += 8
            if sign == 0xC000:
                reason = NOT_A_NUMBER
            elif sign == 0xD000:
                reason = INFINITE
            elif sign == 0xF000:
                reason = MINUS_INFINITE
            elif used > 0 and (power + 1) * 4 + scale <= 18:
                while at < end and power >= -full:
                    low = low * _BASE + np.uint64(short_at(sent, at))
                    at += 2
                    power -= 1
                while power >= -full:
                    low = low * _BASE
                    power -= 1
                if part:
                    low = low * keep
            elif used > 0:
                while power >= -full and reason == FINE:
                    if high >= _OVERFLOWS[4]:
                        reason = MANY_DIGITS
                    high = high * _BASE + high_product(low, _BASE)
                    low = low * _BASE
                    if at < end:
                        digit = np.uint64(short_at(sent, at))
                        at += 2
                        low = low + digit
                        if low < digit:
                            high = high + _ONE
                    power -= 1
                if part:
                    if high >= _OVERFLOWS[part]:
                        reason = MANY_DIGITS
                    high = high * keep + high_product(low, keep)
                    low = low * keep
            if reason == FINE and used > 0:
                if part and power == -full - 1 and at < end:
                    digit = np.uint64(short_at(sent, at))
                    at += 2
                    whole = digit // cut
                    low = low + whole
                    if low < whole:
                        high = high + _ONE
                    if digit != whole * cut:
                        reason = MANY_PLACES
                while at < end:
                    if short_at(sent, at) != 0:
                        reason = MANY_PLACES
                    at += 2
                if high > limit_high or (high == limit_high and low >= limit_low):
                    reason = MANY_DIGITS
            if reason != FINE:
                reasons[row] = reason
                bad += 1
                continue
            if sign == 0x4000:
                low = ~low + _ONE
                high = ~high + (_ONE if low == _ZERO else _ZERO)
            words[2 * row], words[2 * row + 1] = int64(low), int64(high)
        return bad

    return read_numerics


read_numerics = _read_numerics_kernel(_SOURCE)
"""Read numerics into decimals of one precision (1 to 38) and scale (0 to it)."""
