"""Kernels that write text into a buffer, and Kafka's hash of a key."""

# ruff: noqa: ANN401 - numba infers its own types

from typing import Any

from numba import int64, njit, uint32, uint64


@njit(cache=True, nogil=True, inline="always")
def mix(value: Any) -> Any:
    """Scramble 64 bits; a bijection (the finaliser of SplitMix64, Steele et al. 2014)."""
    value = uint64(value) + uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> uint64(27))) * uint64(0x94D049BB133111EB)
    return value ^ (value >> uint64(31))


@njit(cache=True, nogil=True)
def put_text(buffer: Any, at: int, text: Any) -> Any:
    """Copy bytes; returns the position after them."""
    for index in range(len(text)):
        buffer[at + index] = text[index]
    return at + len(text)


@njit(cache=True, nogil=True)
def put_integer(buffer: Any, at: int, value: int) -> Any:
    """Write a decimal number; returns the position after it."""
    if value < 0:
        buffer[at] = 45
        at += 1
        value = -value
    size = 1
    rest = value // 10
    while rest > 0:
        size += 1
        rest //= 10
    for index in range(size):
        buffer[at + size - 1 - index] = 48 + value % 10
        value //= 10
    return at + size


@njit(cache=True, nogil=True)
def put_hex(buffer: Any, at: int, value: Any) -> Any:
    """Write 64 bits as 16 hex digits; returns the position after them."""
    for index in range(16):
        digit = int64((value >> uint64(60 - 4 * index)) & uint64(15))
        buffer[at + index] = 48 + digit if digit < 10 else 87 + digit
    return at + 16


@njit(cache=True, nogil=True)
def partition_of(buffer: Any, start: int, size: int, partitions: int) -> Any:
    """Choose the partition that Kafka's default partitioner gives a key (murmur2, sign dropped)."""
    scale = uint32(0x5BD1E995)
    state = uint32(0x9747B28C) ^ uint32(size)
    whole = size // 4
    for index in range(whole):
        at = start + index * 4
        word = (
            uint32(buffer[at])
            | uint32(uint32(buffer[at + 1]) << uint32(8))
            | uint32(uint32(buffer[at + 2]) << uint32(16))
            | uint32(uint32(buffer[at + 3]) << uint32(24))
        )
        word = uint32(word * scale)
        word = uint32(word ^ (word >> uint32(24)))
        word = uint32(word * scale)
        state = uint32(uint32(state * scale) ^ word)
    at = start + whole * 4
    rest = size - whole * 4
    if rest >= 3:
        state = uint32(state ^ uint32(uint32(buffer[at + 2]) << uint32(16)))
    if rest >= 2:
        state = uint32(state ^ uint32(uint32(buffer[at + 1]) << uint32(8)))
    if rest >= 1:
        state = uint32(state ^ uint32(buffer[at]))
        state = uint32(state * scale)
    state = uint32(state ^ (state >> uint32(13)))
    state = uint32(state * scale)
    state = uint32(state ^ (state >> uint32(15)))
    return int64(state & uint32(0x7FFFFFFF)) % partitions


@njit(cache=True, nogil=True)
def partitions_of(keys: Any, starts: Any, partitions: int, partition: Any) -> None:
    """Choose the partition of each key; key i is `keys[starts[i]:starts[i + 1]]`."""
    for index in range(len(partition)):
        size = starts[index + 1] - starts[index]
        partition[index] = partition_of(keys, starts[index], size, partitions)
