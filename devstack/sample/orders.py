"""Orders of a made-up shop, each a pure function of the seed and its number; some are dirty."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.errors import UsageError

ZONE = ZoneInfo("Europe/Berlin")
FIRST_DAY = date(2026, 3, 25)
"""Fixed, so that the same seed gives the same rows on any day; the fifth day has 23 hours."""

CATEGORIES = ("audio", "books", "garden", "kitchen", "office", "outdoor", "sports", "toys")
COUNTRIES = ("DE", "AT", "CH", "NL", "FR", "BE", "DK", "PL", "SE", "IT", "ES", "US")
_COUNTRY_SHARES = (46, 9, 8, 7, 7, 4, 4, 4, 3, 3, 3, 2)
UNKNOWN_COUNTRY = "XX"
STATUSES = ("new", "paid", "shipped", "returned", "cancelled")
_STATUS_SHARES = (8, 17, 66, 6, 3)
TEST_STATUS = "test"
_ADJECTIVES = (
    "Amber", "Blue", "Compact", "Dark", "Easy", "Fine", "Grand", "Hazel", "Iron", "Jade", "Light",
    "Merry", "Nordic", "Oak", "Pure", "Quiet", "Red", "Silver", "Tidy", "Vivid",
)  # fmt: skip
_NOUNS = (
    "Anchor", "Basket", "Chair", "Desk", "Easel", "Flask", "Globe", "Hammock", "Jug", "Kettle",
    "Lamp", "Mug", "Notebook", "Oven", "Pillow", "Radio", "Scarf", "Tent", "Vase", "Whistle",
)  # fmt: skip
_FIRST_NAMES = (
    "Ada", "Ben", "Clara", "David", "Emma", "Finn", "Greta", "Hugo", "Ida", "Jonas", "Klara",
    "Leo", "Mia", "Noah", "Olga", "Paul", "Rosa", "Sven", "Tilda", "Willem",
)  # fmt: skip
_LAST_NAMES = (
    "Adler", "Bauer", "Claes", "Dietz", "Ebert", "Fischer", "Graf", "Huber", "Jansen", "Kaiser",
    "Lang", "Moser", "Novak", "Olsen", "Peters", "Rossi", "Schmid", "Thoma", "Vogel", "Weiss",
)  # fmt: skip

_CUSTOMER, _PRODUCT, _QUANTITY, _STATUS, _JITTER, _LAG, _COUNTRY, _PRICE = range(1, 9)
_LONGEST_LAG_US = 36 * 3_600_000_000
_FUTURE_US = 400 * 86_400_000_000
_PER_FAULT_BLOCK = 1_000
_SCRAMBLE = 617
"""Has no divisor in common with 1,000: so the places of faults look random, each once a block."""


class Fault(IntEnum):
    """What is wrong with an order; each has one fault at most."""

    NONE = 0
    TEST = 1
    NEGATIVE_AMOUNT = 2
    NO_CUSTOMER = 3
    UNKNOWN_COUNTRY = 4
    IN_THE_FUTURE = 5
    REPEATED = 6


FAULTS_PER_1000 = {
    Fault.TEST: 20,
    Fault.NEGATIVE_AMOUNT: 2,
    Fault.NO_CUSTOMER: 2,
    Fault.UNKNOWN_COUNTRY: 2,
    Fault.IN_THE_FUTURE: 1,
    Fault.REPEATED: 1,
}
"""How many of any 1,000 consecutive orders have each fault. A repeated one has the `order_id` of
the one before it, which has no fault, and was changed later."""


@dataclass(frozen=True)
class OrdersShape:
    """Which orders to make, numbered from 1 in the order of their last change.

    Changes are spread evenly over the elapsed time of whole days in Europe/Berlin, so a day with 23
    hours has fewer.

    Attributes:
        rows: How many, dirty ones included.
        days: Over how many days.
        first_day: The first of them.
    """

    rows: int
    seed: int = 1
    days: int = 7
    first_day: date = FIRST_DAY
    customers: int = 20_000
    products: int = 1_000

    def __post_init__(self) -> None:
        """Refuse what makes no orders; raises `UsageError`."""
        rules = [
            ("rows", self.rows, 0 <= self.rows <= 1_000_000_000, "from 0 to 1,000,000,000"),
            ("seed", self.seed, 0 <= self.seed < 1 << 63, "from 0 below 2^63"),
            ("days", self.days, 1 <= self.days <= 10_000, "from 1 to 10,000"),
            ("start", self.first_day, 1970 <= self.first_day.year <= 2200, "from 1970 to 2200"),
            ("customers", self.customers, 1 <= self.customers < 1 << 31, "at least 1"),
            ("products", self.products, 1 <= self.products < 1 << 31, "at least 1"),
        ]
        for name, value, holds, expected in rules:
            if not holds:
                raise UsageError(f"orders `{name}`: expected {expected}, got {value}")

    @property
    def last_day(self) -> date:
        """The last day, included."""
        return self.first_day + timedelta(days=self.days - 1)

    @property
    def start_us(self) -> int:
        """Midnight before the first change, in microseconds UTC."""
        return _midnight_us(self.first_day)

    @property
    def end_us(self) -> int:
        """Midnight after the last change."""
        return _midnight_us(self.last_day + timedelta(days=1))


def fault_counts(rows: int) -> dict[Fault, int]:
    """Count the faults of so many orders without making them.

    >>> fault_counts(2_000)[Fault.TEST]
    40
    """
    whole, rest = divmod(rows, _PER_FAULT_BLOCK)
    last = _faults(np.arange(1, rest + 1, dtype=np.int64))
    return {
        fault: whole * share + int(np.count_nonzero(last == fault))
        for fault, share in FAULTS_PER_1000.items()
    }


def orders_batches(shape: OrdersShape, batch_rows: int = 250_000) -> Iterator[pa.RecordBatch]:
    """Make all orders in batches; the rows are the same for every batch size."""
    for first in range(1, shape.rows + 1, batch_rows):
        yield orders_batch(shape, first, min(first + batch_rows, shape.rows + 1))


def orders_batch(shape: OrdersShape, first: int, stop: int) -> pa.RecordBatch:
    """Make the orders `first <= number < stop`; columns as those of the table."""
    number = np.arange(first, stop, dtype=np.int64)
    fault = _faults(number)
    customer = _skewed(shape, _CUSTOMER, number, shape.customers)
    product = _skewed(shape, _PRODUCT, number, shape.products)
    quantity = 1 + (_draw(shape.seed, _QUANTITY, number) % np.uint64(16) == 0) * 2
    quantity += (_draw(shape.seed, _QUANTITY, number) % np.uint64(3) == 0).astype(np.int64)
    cents = price_cents(shape, product) * quantity
    cents = np.where(fault == Fault.NEGATIVE_AMOUNT, -cents, cents)
    country = _shares(_draw(shape.seed, _COUNTRY, customer), _COUNTRY_SHARES)
    country = np.where(fault == Fault.UNKNOWN_COUNTRY, len(COUNTRIES), country)
    status = _shares(_draw(shape.seed, _STATUS, number), _STATUS_SHARES)
    status = np.where(fault == Fault.TEST, len(STATUSES), status)
    updated = changed_us(shape, number)
    lag = (_draw(shape.seed, _LAG, number) % np.uint64(_LONGEST_LAG_US)).astype(np.int64)
    ordered = np.where(fault == Fault.IN_THE_FUTURE, updated + _FUTURE_US, updated - lag)
    return pa.record_batch(
        {
            "id": pa.array(number),
            "order_id": pa.array(number - (fault == Fault.REPEATED)),
            "customer_id": pa.array(customer, mask=fault == Fault.NO_CUSTOMER),
            "product_id": pa.array(product),
            "product": _taken(product_names(), (product - 1) % len(product_names())),
            "quantity": pa.array(quantity.astype(np.int32)),
            "amount": _decimal(cents),
            "country": _taken((*COUNTRIES, UNKNOWN_COUNTRY), country),
            "status": _taken((*STATUSES, TEST_STATUS), status),
            "ordered_at": pa.array(ordered, pa.timestamp("us", "UTC")),
            "updated_at": pa.array(updated, pa.timestamp("us", "UTC")),
        }
    )


def customers_table(shape: OrdersShape) -> pa.Table:
    """Make the customers that buy."""
    number = np.arange(1, shape.customers + 1, dtype=np.int64)
    first, last = (number - 1) % len(_FIRST_NAMES), (number // 7) % len(_LAST_NAMES)
    names = [
        f"{_FIRST_NAMES[a]} {_LAST_NAMES[b]}"
        for a, b in zip(first.tolist(), last.tolist(), strict=True)
    ]
    country = _shares(_draw(shape.seed, _COUNTRY, number), _COUNTRY_SHARES)
    columns = [pa.array(number), pa.array(names), _taken(COUNTRIES, country)]
    return pa.table(columns, ["customer_id", "name", "country"])


def products_table(shape: OrdersShape) -> pa.Table:
    """Make the products that are sold."""
    number = np.arange(1, shape.products + 1, dtype=np.int64)
    names = _taken(product_names(), (number - 1) % len(product_names()))
    category = _taken(CATEGORIES, number % len(CATEGORIES))
    price = _decimal(price_cents(shape, number))
    columns = [pa.array(number), names, category, price]
    return pa.table(columns, ["product_id", "name", "category", "price"])


def product_names() -> tuple[str, ...]:
    """Give the names of products; more products than names share them."""
    return tuple(f"{a} {n}" for n in _NOUNS for a in _ADJECTIVES)


def price_cents(shape: OrdersShape, product: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give the prices of products: mostly small, some of several hundred."""
    part = (_draw(shape.seed, _PRICE, product) >> np.uint64(44)).astype(np.int64)
    return 299 + part * part // 1_048_576 * 79_000 // 1_048_576


def changed_us(shape: OrdersShape, number: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Say when orders were last changed, in microseconds UTC; it rises with their number."""
    length, rows = shape.end_us - shape.start_us, max(shape.rows, 1)
    slot, rest = divmod(length, rows)
    jitter = (_draw(shape.seed, _JITTER, number) % np.uint64(max(slot, 1))).astype(np.int64)
    return shape.start_us + (number - 1) * slot + (number - 1) * rest // rows + jitter


def _midnight_us(day: date) -> int:
    moment = datetime.combine(day, time(), ZONE).astimezone(UTC)
    return int(moment.timestamp()) * 1_000_000


def _faults(number: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    place = number * _SCRAMBLE % _PER_FAULT_BLOCK
    ends = np.cumsum(list(FAULTS_PER_1000.values()))
    found = np.searchsorted(ends, place, side="right")
    kinds = np.array([*FAULTS_PER_1000, Fault.NONE], np.int64)
    return kinds[found]


def _draw(seed: int, purpose: int, number: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Draw 64 bits for each number that depend on nothing but the three (SplitMix64)."""
    start = np.full(1, seed, np.uint64) ^ (np.uint64(purpose) << np.uint64(56))
    return _mix(_mix(start) + number.astype(np.uint64))


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return mixed


def _skewed(
    shape: OrdersShape, purpose: int, number: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int64]:
    """Choose from 1 to `count`, small ones more often."""
    bits = _draw(shape.seed, purpose, number)
    both = ((bits >> np.uint64(32)) * (bits & np.uint64(0xFFFFFFFF))) >> np.uint64(32)
    return 1 + ((both * np.uint64(count)) >> np.uint64(32)).astype(np.int64)


def _shares(bits: npt.NDArray[np.uint64], shares: tuple[int, ...]) -> npt.NDArray[np.int64]:
    part = ((bits >> np.uint64(32)) * np.uint64(sum(shares))) >> np.uint64(32)
    return np.searchsorted(np.cumsum(shares), part.astype(np.int64), side="right").astype(np.int64)


def _taken(texts: tuple[str, ...], place: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(texts, pa.string()).take(pa.array(place))


def _decimal(cents: npt.NDArray[np.int64]) -> pa.Array:
    """Give whole cents as decimal(12,2), exactly."""
    words = np.empty((len(cents), 2), np.int64)
    words[:, 0] = cents
    words[:, 1] = cents >> 63
    return pa.Array.from_buffers(
        pa.decimal128(12, 2), len(cents), [None, pa.py_buffer(words.tobytes())]
    )
