"""Merge and fire by number of keys: the pure functions and the store, in a process of its own.

`python -m benchmarks.keys_micro KEYS` prints a JSON line; `make bench SCENARIO=keys` calls it for
each number of keys, so that each has its own peak of memory.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from activities.flush_rows import chunks
from activities.sliced_blob import encode, freeze_slices
from activities.stream_keys import freeze_segment, merge_keys
from benchmarks.line import Line, emit
from benchmarks.machine import own_peak_bytes
from connectors.object_store import ObstoreStore
from pipelines.stream import EventTime, SinkSpec, StreamSpec, Window
from streaming.combine import pane_span
from streaming.key_hash import cut
from streaming.key_merge import joined, part_of
from streaming.key_range import key_range_count, lanes
from streaming.partial import start_partials
from streaming.plan import StreamPlan, compile_stream
from streaming.progress import CombineTask
from streaming.segment import KeySpan, Segment
from streaming.state import Flush
from streaming.window import PANE

RANGE_EVENTS = 100_000
EVENTS_A_KEY = 2
LEAST_EVENTS = 400_000
WINDOW_MS = 60_000
SLICES = 64


def keys_spec() -> StreamSpec:
    """Make a stream of one-minute windows by user: count, decimal sum, exact distinct count."""
    return StreamSpec(
        name="keys",
        topic="keys",
        fields={
            "at": "timestamp_ms", "user": "int64", "amount": "decimal(12,2)", "product": "int64",
        },
        event_time=EventTime(field="at"),
        group_by=["user"],
        window=Window(kind="tumbling", size_ms=WINDOW_MS),
        aggregate={"n": "count(*)", "total": "sum(amount)", "products": "count(distinct product)"},
        sinks=[SinkSpec(kind="clickhouse", table="keys")],
    )  # fmt: skip


class _Stages:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the body takes."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def _ranges(plan: StreamPlan, keys: int) -> Iterator[pl.DataFrame]:
    """Yield the partials of ranges in which every key occurs, each range with others of them."""
    events = max(keys * EVENTS_A_KEY, LEAST_EVENTS)
    chance = np.random.default_rng(keys)
    kind = pl.Decimal(12, 2)
    for first in range(0, events, RANGE_EVENTS):
        numbers = np.arange(first, min(first + RANGE_EVENTS, events))
        rows = pl.DataFrame(
            {
                "user": numbers % keys,
                "amount": pl.Series(chance.integers(0, 10**6, len(numbers))).cast(kind),
                "product": chance.integers(0, 5_000, len(numbers)),
                PANE: np.zeros(len(numbers), np.int64),
            }
        )
        yield start_partials(plan, rows)


async def measure(keys: int, store: ObstoreStore, folder: Path) -> None:
    """Freeze ranges, merge and fire them, read the flush as a sink's writer does."""
    spec, took = keys_spec(), _Stages()
    plan = compile_stream(spec)
    segments: list[Segment] = []
    ranges = 1
    for number, frame in enumerate(_ranges(plan, keys)):
        with took.stage("freeze"):
            blob, span = await freeze_segment(store, f"r{number}", plan, frame, ranges, 0)
        _, _, fresh = pane_span(frame)
        segments.append(
            Segment(blob=blob, first_pane_ms=0, last_pane_ms=0, first_fresh_ms=fresh, keys=span)
        )
        ranges = key_range_count(segments, ranges, lambda: True)
    task = CombineTask(
        name_seq=1, segments=segments, fire_ms=WINDOW_MS, keep_ms=WINDOW_MS, inline=False,
        key_ranges=ranges,
    )  # fmt: skip
    spans = lanes(segments, ranges)
    with took.stage("combine"):
        merged = [await merge_keys(store, spec, "run", part_of(task, one), one) for one in spans]
    result = joined(merged)
    assert result.emitted is not None
    flush = Flush(
        flush_seq=1, rows=result.emitted, chunk_rows=50_000, sha256="", parts=result.parts
    )
    rows = 0
    with took.stage("read"):
        async for _, chunk in chunks(store, flush):
            rows += chunk.to_arrow().num_rows
    if rows != keys:
        raise ValueError(f"flush: expected {keys} rows, got {rows}")
    sizes = await asyncio.to_thread(_sizes, folder)
    notes = {
        "keys": keys,
        "key_ranges": ranges,
        "lanes": len(spans),
        "segments": len(segments),
        "objects": len(sizes),
        "store_bytes": sum(sizes),
        **{f"{name}_ms": round(seconds * 1e3, 1) for name, seconds in took.seconds.items()},
    }
    peak = own_peak_bytes()
    emit(Line("keys-merge", took.seconds["combine"] * 1e3, "ms", peak, notes=notes))


def _sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


async def measure_objects(store: ObstoreStore) -> None:
    """Write a segment of slices as one object, and as one object for each slice."""
    plan = compile_stream(keys_spec())
    frame = next(_ranges(plan, RANGE_EVENTS))
    span = KeySpan(count=SLICES, first=0, stop=SLICES)
    slices = [encode(part) for part in cut(frame, plan.keys, span)]
    started = time.perf_counter()
    one = await freeze_slices(store, "one", slices)
    middle = time.perf_counter()
    many = [await store.put(f"many-{n}", content) for n, (_, content) in enumerate(slices)]
    ended = time.perf_counter()
    assert one is not None
    peak = own_peak_bytes()
    notes = {"slices": SLICES, "rows": frame.height, "bytes": one.size_bytes}
    emit(Line("keys-object", (middle - started) * 1e3, "ms", peak, notes=notes))
    notes = notes | {"bytes": sum(ref.size_bytes for ref in many)}
    emit(Line("keys-objects", (ended - middle) * 1e3, "ms", peak, notes=notes))


def main(arguments: list[str]) -> None:
    """Measure for each number of keys that is given; without one, compare layouts of objects."""
    with tempfile.TemporaryDirectory(prefix="sluice-keys-") as name:
        folder = Path(name)
        store = ObstoreStore(folder.as_uri())
        if not arguments:
            asyncio.run(measure_objects(store))
        for keys in arguments:
            asyncio.run(measure(int(keys), store, folder))


if __name__ == "__main__":
    main(sys.argv[1:])
