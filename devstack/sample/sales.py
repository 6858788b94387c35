"""Sales events, each a pure function of the seed and its number, whatever the batch or machine."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.errors import UsageError
from devstack.sample import sales_kernel as kernel
from streaming.record_block import RecordBlock

CATEGORIES = (
    "electronics", "clothing", "groceries", "home", "books", "toys", "sports", "beauty",
    "garden", "automotive", "music", "office", "jewelry",
)  # fmt: skip
_SHARES = (18, 15, 14, 11, 9, 8, 7, 6, 4, 3, 2, 2, 1)
"""Percent of the events per category."""

START_MS = 1_767_225_600_000
"""2026-01-01T00:00Z: fixed, so that the same seed gives the same bytes on any day."""

_LABELS = np.frombuffer("".join(CATEGORIES).encode(), np.uint8)
_LABEL_ENDS = np.cumsum([len(name) for name in CATEGORIES]).astype(np.int64)
_SHARE_ENDS = (np.cumsum(_SHARES) * (1 << 32) // 100).astype(np.int64)


@dataclass(frozen=True)
class SalesShape:
    """Which events to make.

    Event times rise with the number of the event, `rate` of them per second, and each lies up to
    `disorder_ms` back; so within a partition no event is more than `disorder_ms` behind one before.

    Attributes:
        events: How many, the malformed ones included.
        rate: Events per second of event time.
        malformed: Fraction of broken records, 0 to 1.
        partitions: Partitions that the customers are spread over by the hash of their key.
        start_ms: Event time of the first event, milliseconds since the epoch.
    """

    events: int
    seed: int = 1
    rate: float = 100.0
    disorder_ms: int = 2_000
    malformed: float = 0.0
    partitions: int = 4
    start_ms: int = START_MS
    customers: int = 100_000
    products: int = 5_000
    topic: str = "sales"

    def __post_init__(self) -> None:
        """Refuse what makes no events; raises `UsageError`."""
        rules = [
            ("events", self.events, self.events >= 0, "at least 0"),
            ("seed", self.seed, 0 <= self.seed < 1 << 63, "from 0 below 2^63"),
            ("rate", self.rate, 0.001 <= self.rate <= 1e9, "from 0.001 to 1,000,000,000"),
            ("disorder", self.disorder_ms, 0 <= self.disorder_ms <= 1 << 40, "at least 0"),
            ("malformed", self.malformed, 0 <= self.malformed <= 1, "a fraction from 0 to 1"),
            ("partitions", self.partitions, 1 <= self.partitions <= 10_000, "from 1 to 10,000"),
            ("customers", self.customers, 1 <= self.customers < 1 << 31, "at least 1"),
            ("products", self.products, 1 <= self.products < 1 << 31, "at least 1"),
        ]
        for name, value, holds, expected in rules:
            if not holds:
                raise UsageError(f"sales `{name}`: expected {expected}, got {value}")
        if self.start_ms < 0 or self.start_ms + self.events / self.rate * 1000 > 1 << 53:
            raise UsageError(
                f"sales `start`: expected all event times from 1970 to the year 280,000, got "
                f"{self.events:,} events at {self.rate} a second from {self.start_ms} ms"
            )

    @property
    def period_ns(self) -> int:
        """Distance of two events in event time, nanoseconds."""
        return round(1e9 / self.rate)


@dataclass(frozen=True)
class SalesBatch:
    """Consecutive events, one block per partition; `offset` in a block is the number of the event.

    Attributes:
        malformed: How many of them are broken.
        first_ms, last_ms: Least and greatest event time.
    """

    blocks: list[RecordBlock]
    malformed: int
    first_ms: int
    last_ms: int

    @property
    def size_bytes(self) -> int:
        """Sum of keys and values."""
        return sum(len(block.buffer) for block in self.blocks)


def sales_records(shape: SalesShape, batch_events: int = 200_000) -> Iterator[SalesBatch]:
    """Make all events in batches; the records of a partition are the same for every batch size."""
    for first in range(0, shape.events, batch_events):
        yield sales_batch(shape, first, min(first + batch_events, shape.events))


def sales_batch(shape: SalesShape, first: int, stop: int) -> SalesBatch:
    """Make the events `first <= number < stop`."""
    count = stop - first
    customer = np.empty(count, np.int64)
    partition = np.empty(count, np.int32)
    seed = np.uint64(shape.seed)
    kernel.choose_customers(seed, first, shape.customers, shape.partitions, customer, partition)
    counts = np.bincount(partition, minlength=shape.partitions)
    row_ends = np.cumsum(counts)
    buffer = np.empty(count * kernel.MAX_RECORD_BYTES, np.uint8)
    number, timestamp_ms = np.empty(count, np.int64), np.empty(count, np.int64)
    key_start, value_start = np.empty(count, np.int64), np.empty(count, np.int64)
    key_size, value_size = np.empty(count, np.int32), np.empty(count, np.int32)
    byte_end = np.zeros(shape.partitions, np.int64)
    malformed = kernel.write_events(
        seed, first, shape.start_ms, shape.period_ns, shape.disorder_ms,
        int(shape.malformed * (1 << 32)), shape.products, customer, partition,
        row_ends - counts, _LABELS, _LABEL_ENDS, _SHARE_ENDS, buffer, number, timestamp_ms,
        key_start, key_size, value_start, value_size, byte_end,
    )  # fmt: skip
    blocks = []
    for index in range(shape.partitions):
        rows = slice(int(row_ends[index] - counts[index]), int(row_ends[index]))
        begin = rows.start * kernel.MAX_RECORD_BYTES
        content: npt.NDArray[np.uint8] = buffer[begin : begin + int(byte_end[index])]
        blocks.append(
            RecordBlock(
                topic=shape.topic,
                partition=index,
                buffer=content,
                offset=number[rows],
                timestamp_ms=timestamp_ms[rows],
                value_start=value_start[rows],
                value_size=value_size[rows],
                key_start=key_start[rows],
                key_size=key_size[rows],
            )
        )
    first_ms = int(timestamp_ms.min()) if count else 0
    return SalesBatch(blocks, int(malformed), first_ms, int(timestamp_ms.max()) if count else 0)
