"""The sales generator: same seed, same events; disorder within its bound; broken records broken."""

import hashlib
import json
from typing import Any

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UsageError
from devstack.sample.sales import CATEGORIES, SalesShape, sales_batch, sales_records

FIELDS = {"event_id", "timestamp", "category", "customer_id", "product_id", "amount"}

Record = tuple[int, bytes | None, bytes | None, int]


def records(shape: SalesShape, batch_events: int) -> dict[int, list[Record]]:
    """Give number, key, value and time of every record, in order, by partition."""
    found: dict[int, list[Record]] = {n: [] for n in range(shape.partitions)}
    for batch in sales_records(shape, batch_events):
        for block in batch.blocks:
            rows = range(len(block))
            found[block.partition] += [
                (int(block.offset[r]), block.key(r), block.value(r), int(block.timestamp_ms[r]))
                for r in rows
            ]
    return found


def parsed(value: bytes | None) -> dict[str, Any] | None:
    """Give the fields of a record without fault, else None."""
    try:
        fields = json.loads(value or b"")
    except ValueError:
        return None
    if not isinstance(fields, dict) or set(fields) != FIELDS or None in fields.values():
        return None
    return fields if isinstance(fields["amount"], float) else None


@given(
    events=st.integers(0, 300),
    seed=st.integers(0, (1 << 63) - 1),
    batch_events=st.integers(1, 400),
    partitions=st.integers(1, 7),
    malformed=st.sampled_from([0.0, 0.1, 1.0]),
)
@settings(max_examples=30, deadline=None)
def test_records_do_not_depend_on_the_batch_size(
    events: int, seed: int, batch_events: int, partitions: int, malformed: float
) -> None:
    shape = SalesShape(events, seed, malformed=malformed, partitions=partitions)
    whole = records(shape, max(1, events))
    assert records(shape, batch_events) == whole
    assert sorted(row[0] for rows in whole.values() for row in rows) == list(range(events))


def test_same_seed_gives_the_bytes_it_always_gave() -> None:
    digest = hashlib.sha256()
    for partition, rows in records(SalesShape(5_000, seed=1, malformed=0.02), 1_000).items():
        digest.update(repr((partition, rows)).encode())
    assert digest.hexdigest() == (
        "2e13bf17e6fa76f5c1e4cb44137874f8b1eb80262a1248032b1eeee9795eb756"
    )


def test_another_seed_gives_other_events() -> None:
    assert records(SalesShape(50, seed=1), 50) != records(SalesShape(50, seed=2), 50)


@given(
    seed=st.integers(0, 1 << 40),
    disorder_ms=st.integers(0, 10_000),
    rate=st.sampled_from([0.5, 3.0, 100.0, 7_777.0, 1e6]),
    partitions=st.integers(1, 5),
)
@settings(max_examples=30, deadline=None)
def test_no_event_is_further_behind_than_the_disorder(
    seed: int, disorder_ms: int, rate: float, partitions: int
) -> None:
    shape = SalesShape(400, seed, rate, disorder_ms, partitions=partitions)
    for rows in records(shape, 150).values():
        latest = 0
        for _, _, value, time_ms in rows:
            fields = parsed(value)
            assert fields is not None
            assert fields["timestamp"] == time_ms
            assert time_ms >= max(shape.start_ms, latest - disorder_ms)
            latest = max(latest, time_ms)


def test_disorder_is_there_when_asked_for() -> None:
    times = [row[3] for row in records(SalesShape(500, partitions=1), 500)[0]]
    assert times != sorted(times)
    times = [row[3] for row in records(SalesShape(500, disorder_ms=0, partitions=1), 500)[0]]
    assert times == sorted(times)


def test_rate_is_events_per_second_of_event_time() -> None:
    batch = sales_batch(SalesShape(1_001, rate=100, disorder_ms=0), 0, 1_001)
    assert batch.last_ms - batch.first_ms == 10_000


def test_customers_decide_the_partition_as_kafka_does() -> None:
    for partition, rows in records(SalesShape(2_000, partitions=5), 2_000).items():
        assert rows
        for _, key, value, _ in rows:
            fields = parsed(value)
            assert fields is not None
            assert key == str(fields["customer_id"]).encode()
            assert (murmur2(key) & 0x7FFFFFFF) % 5 == partition


def test_values_are_within_what_was_asked() -> None:
    shape = SalesShape(5_000, customers=50, products=30)
    events = [parsed(row[2]) for rows in records(shape, 5_000).values() for row in rows]
    found = [event for event in events if event is not None]
    assert len(found) == len({event["event_id"] for event in found}) == 5_000
    assert {event["category"] for event in found} == set(CATEGORIES)
    assert {event["customer_id"] for event in found} <= set(range(1, 51))
    assert {event["product_id"] for event in found} == set(range(1, 31))
    counts = [sum(e["category"] == name for e in found) for name in CATEGORIES]
    assert counts[0] > 5 * counts[-1] > 0


def test_amounts_have_two_places() -> None:
    for rows in records(SalesShape(500), 500).values():
        for _, _, value, _ in rows:
            assert value is not None
            amount = value.rsplit(b":", 1)[1].rstrip(b"}")
            assert len(amount.split(b".")[1]) == 2


@pytest.mark.parametrize("fraction", [0.0, 0.03, 1.0])
def test_malformed_records_are_counted_and_of_every_kind(fraction: float) -> None:
    shape = SalesShape(10_000, malformed=fraction)
    values = [row[2] for rows in records(shape, 3_000).values() for row in rows]
    broken = [value for value in values if parsed(value) is None]
    assert len(broken) == sum(batch.malformed for batch in sales_records(shape, 10_000))
    assert len(broken) == pytest.approx(10_000 * fraction, rel=0.2)
    if fraction:
        assert None in broken
        assert b"[1,2]" in broken
        assert any(value and b"\xff" in value for value in broken)
        assert any(value and b"null" in value for value in broken)
        assert any(value and b"customer_id" not in value for value in broken)
        assert any(value and b'"12,50"' in value for value in broken)
        assert any(value and not value.endswith((b"}", b"]")) for value in broken)


@pytest.mark.parametrize(
    "wrong",
    [
        {"events": -1}, {"rate": 0.0}, {"malformed": 1.5}, {"partitions": 0}, {"customers": 0},
        {"seed": -1}, {"disorder_ms": -1}, {"start_ms": -1}, {"products": 0},
        {"rate": float("nan")}, {"events": 10**15, "rate": 0.01},
    ],
)  # fmt: skip
def test_impossible_shape_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="sales `"):
        SalesShape(**{"events": 1, **wrong})
