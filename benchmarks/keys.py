"""`keys`: the engine's own cost for 10 to 1,000,000 keys per window, alone and through a stack."""

import asyncio
import os
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchmarks.bench_stack import BenchStack
from benchmarks.history import busy_seconds, stage_seconds, sums
from benchmarks.line import Line, emit, say
from benchmarks.sales import RANGES, run_once
from connectors.kafka import KafkaLog
from devstack.sample.sales import SalesShape
from pipelines.load import find_pipeline, load_stream
from pipelines.stream import SinkSpec, StreamSpec
from starter.generate_write import write_sales
from workers.wiring import object_store_url

KEYS = (10, 1_000, 100_000, 1_000_000)
EVENTS_A_WINDOW = 2_000_000
WINDOWS = (1, 2, 4, 12)
"""Windows of the largest number of keys; the smaller ones run over the first of these."""

_CUSTOMERS = {1_000_000: 1_900_000}
"""Customers are drawn with a preference, so some of very many do not occur in a window."""


async def keys_alone() -> None:
    """Merge and fire without a stack, each number of keys in a process of its own."""
    for arguments in ([], *([str(keys)] for keys in KEYS)):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.keys_micro", *arguments
        )
        if await process.wait():
            raise RuntimeError(f"keys {arguments}: exit code {process.returncode}")


def keys_spec(topic: str, keys: int) -> StreamSpec:
    """Take `sales-1m` with customers as keys: a count, a sum and an exact distinct count."""
    spec = load_stream(find_pipeline("sales-1m", Path.cwd()))
    aggregate = {
        "sales": "count(*)", "revenue": "sum(amount)", "products": "count(distinct product_id)",
    }  # fmt: skip
    update = {
        "name": f"keys-{keys}",
        "topic": topic,
        "group_by": ["customer_id"],
        "aggregate": aggregate,
        "late": spec.late.model_copy(update={"allowed_ms": 0}),
        "sinks": [SinkSpec(kind="clickhouse", table=f"keys_{keys}")],
    }
    return spec.model_copy(update=update)


async def fill(stack: BenchStack, keys: int, windows: int) -> str:
    """Write the events of so many windows of a minute; gives the topic."""
    events = windows * EVENTS_A_WINDOW
    topic = f"bench-keys-{keys}-{windows}"
    log = KafkaLog(stack.settings.kafka)
    try:
        there = sum((await log.describe(topic)).end.values())
    except Exception:  # noqa: BLE001 - whatever says that it is not there, it is written anew
        there = 0
    finally:
        await log.close()
    if there != events:
        shape = SalesShape(
            events, rate=EVENTS_A_WINDOW / 60, topic=topic, customers=_CUSTOMERS.get(keys, keys)
        )
        await write_sales(stack.settings, shape, fresh=True, progress=lambda _: None)
    return topic


async def keys_on_stack(stack: BenchStack) -> None:
    """Run a bounded stream for each number of keys, and of windows for the largest."""
    cases = [(keys, WINDOWS[0]) for keys in KEYS]
    cases += [(KEYS[-1], windows) for windows in WINDOWS[1:]]
    for keys, windows in cases:
        topic = await fill(stack, keys, windows)
        before = await asyncio.to_thread(_stored, stack)
        say(f"{windows} windows of up to {keys:,} keys")
        run = await run_once(stack, keys_spec(topic, keys), windows * EVENTS_A_WINDOW)
        stored = await asyncio.to_thread(_stored, stack)
        peaks = {
            f"{name}_bytes": run.usage.peak_bytes.get(name, 0)
            for name in ("worker-stream", *stack.compute_workers())
        }
        stages = stage_seconds(run.spans, RANGES)
        notes: dict[str, object] = {
            "keys": keys,
            "windows": windows,
            "events": run.events,
            "rows": run.result.flushed_rows,
            "flushes": run.result.flush_seq,
            "history_events": run.history_events,
            "history_bytes": run.history_bytes,
            "store_objects": stored[0] - before[0],
            "store_bytes": stored[1] - before[1],
            **peaks,
            **{f"{name}_s": round(spent, 2) for name, spent in stages.items()},
            **{
                f"{name}_s": [total.count, round(total.worked_s, 2)]
                for name, total in sorted(sums(run.spans).items())
            },
            "combine_keys_busy_s": round(busy_seconds(run.spans, "stream.combine_keys"), 2),
            "cores": len(stack.cores) or os.cpu_count(),
            "load_others": round(run.usage.others_cpu_s / run.usage.seconds, 2),
        }
        memory = run.usage.peak_of(stack.compute_workers())
        emit(Line("keys", run.events_per_s, "events/s", memory, notes=notes))


def _stored(stack: BenchStack) -> tuple[int, int]:
    """Count the objects of the stack's store, and their bytes."""
    parts = urlsplit(object_store_url(stack.settings))
    if parts.scheme != "file":
        return 0, 0
    sizes = [path.stat().st_size for path in Path(unquote(parts.path)).rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)
