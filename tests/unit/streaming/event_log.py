"""Events of a partitioned log, the stream that counts them, and its rows by brute force."""

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import polars as pl

from pipelines.stream import EventTime, Late, SinkSpec, StreamSpec, Trigger, Window
from tests.unit.streaming.window_oracle import mean_of, starts_of

SIZE_MS = 1_000


@dataclass(frozen=True)
class Event:
    """One event: time in milliseconds, key, amount in cents, customer."""

    event_ms: int
    category: str | None
    cents: int
    customer: int


Log = dict[int, list[Event]]


AGGREGATES = {
    "n": "count(*)",
    "total": "sum(amount)",
    "mean": "avg(amount)",
    "low": "min(amount)",
    "high": "max(amount)",
    "customers": "count(distinct customer)",
}
EXTENDED = {
    "few": "count(*) filter (where customer < 2)",
    "spread": "var_pop(amount)",
    "opened_by": "first(customer)",
    "closed_by": "last(customer)",
    "top": "top_k(customer, 2)",
    "about": "approx_count_distinct(customer)",
}
"""They take most of the time of a run, so only some tests have them."""


def make_spec(
    disorder_ms: int,
    max_records: int,
    allowed_ms: int = 0,
    window: Window | None = None,
    *,
    extended: bool = False,
) -> StreamSpec:
    """Make the specification of a stream of windows by category, of one second unless told."""
    return StreamSpec(
        name="model",
        topic="events",
        fields={
            "at": "timestamp_ms", "category": "string?", "amount": "decimal(12,2)",
            "customer": "int64",
        },
        event_time=EventTime(field="at", out_of_orderness_ms=disorder_ms, idle_timeout_ms=10_000),
        group_by=["category"],
        window=window or Window(kind="tumbling", size_ms=SIZE_MS),
        late=Late(allowed_ms=allowed_ms),
        aggregate=AGGREGATES | EXTENDED if extended else AGGREGATES,
        sinks=[SinkSpec(kind="clickhouse", table="t")],
        trigger=Trigger(interval_ms=0, max_records=max_records),
    )  # fmt: skip


def to_frame(events: list[Event], first_offset: int = 0) -> pl.DataFrame:
    """Give events as the decoder would."""
    return pl.DataFrame(
        {
            "at": [e.event_ms for e in events],
            "category": [e.category for e in events],
            "amount": [Decimal(e.cents) / 100 for e in events],
            "customer": [e.customer for e in events],
            "_offset": range(first_offset, first_offset + len(events)),
        },
        schema={
            "at": pl.Int64, "category": pl.String, "amount": pl.Decimal(12, 2),
            "customer": pl.Int64, "_offset": pl.Int64,
        },
    ).with_columns(pl.col("at").cast(pl.Datetime("ms", "UTC")))  # fmt: skip


def brute_force(
    log: Log, window: Window | None = None, *, extended: bool = False
) -> dict[tuple[int, str], tuple[object, ...]]:
    """Compute every window's row in plain Python."""
    window = window or Window(kind="tumbling", size_ms=SIZE_MS)
    keyed: dict[str, list[Event]] = defaultdict(list)
    for _, partition in sorted(log.items()):
        for event in partition:
            keyed[r"\N" if event.category is None else event.category].append(event)
    groups: dict[tuple[int, str], list[Event]] = defaultdict(list)
    for key, events in keyed.items():
        starts = starts_of([e.event_ms for e in events], window)
        for event in events:
            for start_ms in starts[event.event_ms]:
                groups[start_ms, key].append(event)
    rows: dict[tuple[int, str], tuple[object, ...]] = {}
    for name, events in groups.items():
        cents = [Decimal(e.cents) for e in events]
        total = sum(cents) / 100
        rows[name] = (
            len(events), total, mean_of(cents), min(cents) / 100, max(cents) / 100,
            len({e.customer for e in events}),
            *(_extended(events) if extended else ()),
        )  # fmt: skip
    return rows


def _extended(events: list[Event]) -> tuple[object, ...]:
    """Compute the other aggregates of a group whose events are in order of partition and offset."""
    counted = Counter(e.customer for e in events)
    ranked = sorted(counted, key=lambda customer: (-counted[customer], customer))
    in_time = sorted(events, key=lambda e: e.event_ms)
    return (
        sum(e.customer < 2 for e in events),
        float(statistics.pvariance(Fraction(e.cents, 100) for e in events)),
        in_time[0].customer,
        in_time[-1].customer,
        ranked[:2],
        len(counted),
    )


def patient(spec: StreamSpec) -> StreamSpec:
    """Let no partition become idle, so that no event is late within the bound of disorder."""
    waits = spec.event_time.model_copy(update={"idle_timeout_ms": None})
    return spec.model_copy(update={"event_time": waits})
