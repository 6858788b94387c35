"""Kernels of the sales generator: integers only, so the bytes are the same on every machine."""

# ruff: noqa: ANN401, PLR0913 - numba infers its own types; a kernel takes its columns one by one

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import int64, njit, uint64

from devstack.sample import text
from devstack.sample.text import mix, partition_of, put_hex, put_integer, put_text
from streaming.json_jit import fingerprint

MAX_RECORD_BYTES: Final = 208
"""Upper bound of key and value of one record together."""

MALFORMED_KINDS: Final = 7
"""Cut off, wrong type, missing field, null field, null value, no object, invalid UTF-8."""

_ID, _CUSTOMER, _JITTER, _CATEGORY, _PRODUCT, _AMOUNT, _BROKEN = 1, 2, 3, 4, 5, 6, 7
_LOW: Final = 0xFFFFFFFF

_EVENT_ID = np.frombuffer(b'{"event_id":"', np.uint8)
_TIMESTAMP = np.frombuffer(b'","timestamp":', np.uint8)
_CATEGORY_TEXT = np.frombuffer(b',"category":', np.uint8)
_CUSTOMER_ID = np.frombuffer(b',"customer_id":', np.uint8)
_PRODUCT_ID = np.frombuffer(b',"product_id":', np.uint8)
_AMOUNT_TEXT = np.frombuffer(b',"amount":', np.uint8)
_COMMA_AMOUNT = np.frombuffer(b'"12,50"}', np.uint8)
_NULL = np.frombuffer(b"null", np.uint8)
_LIST = np.frombuffer(b"[1,2]", np.uint8)

_SOURCE = fingerprint(text)


@njit(nogil=True, inline="always")
def _draw(seed: Any, number: int, purpose: int) -> Any:
    """Draw 64 bits that depend on nothing but the three."""
    return mix(mix(seed ^ (uint64(purpose) << uint64(56))) + uint64(number))


def _chooser(source: str) -> Callable[..., None]:
    @njit(cache=True, nogil=True)
    def choose_customers(
        seed: Any, first: int, customers: int, partitions: int, customer: Any, partition: Any
    ) -> None:
        """Choose customer (small ids more often) and partition of the events from `first` on."""
        from_key = np.empty(20, np.uint8)
        for index in range(0 * len(source), len(customer)):
            bits = _draw(seed, first + index, _CUSTOMER)
            skewed = ((bits >> uint64(32)) * (bits & uint64(_LOW))) >> uint64(32)
            customer[index] = 1 + int64((skewed * uint64(customers)) >> uint64(32))
            size = put_integer(from_key, 0, customer[index])
            partition[index] = partition_of(from_key, 0, size, partitions)

    return choose_customers


choose_customers = _chooser(_SOURCE)
"""Choose customer and partition of events."""


def _writer(source: str) -> Callable[..., int]:
    @njit(cache=True, nogil=True)
    def write_events(
        seed: Any, first: int, start_ms: int, period_ns: int, disorder_ms: int, malformed: int,
        products: int, customer: Any, partition: Any, next_row: Any, labels: Any, label_ends: Any,
        share_ends: Any, buffer: Any, number: Any, timestamp_ms: Any, key_start: Any, key_size: Any,
        value_start: Any, value_size: Any, byte_end: Any,
    ) -> Any:  # fmt: skip
        """Write all events, grouped by partition; returns how many are malformed.

        `next_row` holds the first row of each partition and is moved on. The bytes of a partition
        begin at its first row times `MAX_RECORD_BYTES`; starts are relative to that.
        """
        begin = next_row * MAX_RECORD_BYTES
        broken_count = 0 * len(source)
        for index in range(len(customer)):
            event = first + index
            target = partition[index]
            row = next_row[target]
            next_row[target] = row + 1
            base = begin[target]
            time_ms = start_ms + event * period_ns // 1_000_000
            if disorder_ms > 0:
                time_ms -= int64(_draw(seed, event, _JITTER) % uint64(disorder_ms + 1))
                time_ms = max(time_ms, start_ms)
            broken: int = 0
            bits = _draw(seed, event, _BROKEN)
            if int64(bits & uint64(_LOW)) < malformed:
                broken = 1 + int64((bits >> uint64(32)) % uint64(MALFORMED_KINDS))
                broken_count += 1
            number[row] = event
            timestamp_ms[row] = time_ms
            at = base + byte_end[target]
            key_start[row] = at - base
            after = put_integer(buffer, at, customer[index])
            key_size[row] = after - at
            value_start[row] = after - base
            end = _put_value(
                buffer, after, seed, event, time_ms, customer[index], products, labels, label_ends,
                share_ends, broken,
            )  # fmt: skip
            value_size[row] = end - after if broken != 5 else -1
            byte_end[target] = end - base
        return broken_count

    return write_events


write_events = _writer(_SOURCE)
"""Write events as JSON."""


@njit(nogil=True)
def _put_value(
    buffer: Any, at: int, seed: Any, event: int, time_ms: int, customer: int, products: int,
    labels: Any, label_ends: Any, share_ends: Any, broken: int,
) -> Any:  # fmt: skip
    if broken == 5:
        return at
    if broken == 6:
        return put_text(buffer, at, _LIST)
    at = put_text(buffer, at, _EVENT_ID)
    at = put_hex(buffer, at, _draw(seed, event, _ID))
    at = put_text(buffer, at, _TIMESTAMP)
    at = put_integer(buffer, at, time_ms)
    category = _choose(share_ends, int64(_draw(seed, event, _CATEGORY) >> uint64(32)))
    at = _put_category(buffer, at, category, labels, label_ends, broken)
    if broken != 3:
        at = put_text(buffer, at, _CUSTOMER_ID)
        at = put_integer(buffer, at, customer)
    kinds = len(share_ends)
    choices = uint64(max(1, (products - category + kinds - 1) // kinds))
    product = int64(_draw(seed, event, _PRODUCT) % choices) * kinds + category
    at = put_text(buffer, at, _PRODUCT_ID)
    at = put_integer(buffer, at, product % products + 1)
    if broken == 1:
        return at
    at = put_text(buffer, at, _AMOUNT_TEXT)
    if broken == 2:
        return put_text(buffer, at, _COMMA_AMOUNT)
    bits = _draw(seed, event, _AMOUNT)
    cents = (199 + int64((bits >> uint64(32)) % uint64(20_000))) * (1 + int64(bits % uint64(3)))
    at = put_integer(buffer, at, cents // 100)
    buffer[at] = 46
    buffer[at + 1] = 48 + cents // 10 % 10
    buffer[at + 2] = 48 + cents % 10
    buffer[at + 3] = 125
    return at + 4


@njit(cache=True, nogil=True)
def _choose(share_ends: Any, point: int) -> Any:
    choice = 0
    while choice < len(share_ends) - 1 and point >= share_ends[choice]:
        choice += 1
    return choice


@njit(nogil=True)
def _put_category(
    buffer: Any, at: int, category: int, labels: Any, label_ends: Any, broken: int
) -> Any:
    at = put_text(buffer, at, _CATEGORY_TEXT)
    if broken == 4:
        return put_text(buffer, at, _NULL)
    buffer[at] = 34
    at += 1
    begin = label_ends[category - 1] if category > 0 else 0
    at = put_text(buffer, at, labels[begin : label_ends[category]])
    if broken == 7:
        buffer[at] = 0xFF
        at += 1
    buffer[at] = 34
    return at + 1
