"""`latency`: from the append of the record that ends a window to its row in the final view."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import asyncpg
import clickhouse_connect
import numpy as np
from clickhouse_connect.driver import AsyncClient

from benchmarks.bench_stack import BenchStack
from benchmarks.line import Line, emit, percentile, say
from benchmarks.machine import watched
from benchmarks.options import Options
from common.names import STREAM_QUEUE, stream_workflow_id
from common.settings import Settings
from connectors.kafka_admin import KafkaAdmin
from connectors.kafka_producer import BulkProducer
from connectors.temporal import connect
from pipelines.stream import EventTime, SinkSpec, StreamSpec, Trigger, Window
from streaming.record_block import RecordBlock
from streaming.status import StreamResult
from workflows.stream_input import STREAM_WORKFLOW, StreamInput

WINDOW_MS = 1_000
PARTITIONS = 4
INTERVAL_MS = 20
WARM_WINDOWS = 3
TABLE = "bench_latency"
KINDS = ("a", "b", "c", "d", "e")


@dataclass
class Appends:
    """When the records that move the watermark were handed to the broker.

    Attributes:
        closing: Per window end and partition, the time (seconds of `perf_counter`) just before the
            append of the first record at or after that end.
    """

    closing: dict[int, dict[int, float]] = field(default_factory=dict)

    def note(self, partition: int, event_ms: int, at_s: float) -> None:
        """Note an append; of several for one window and partition the first counts."""
        end_ms = event_ms // WINDOW_MS * WINDOW_MS
        self.closing.setdefault(end_ms, {}).setdefault(partition, at_s)

    def closed_at(self, end_ms: int) -> float | None:
        """Give when the last partition passed a window's end; None when one never did."""
        times = self.closing.get(end_ms, {})
        return max(times.values()) if len(times) == PARTITIONS else None


def latencies_ms(appends: Appends, seen: Mapping[int, float], skip: int) -> list[float]:
    """Pair what was appended with what was seen.

    Args:
        appends: What was sent.
        seen: When each window, by its end in milliseconds, was first read from the view.
        skip: Windows to leave out at the beginning, while everything is used for the first time.
    """
    found = []
    for end_ms in sorted(seen)[skip:]:
        closed_s = appends.closed_at(end_ms)
        if closed_s is not None:
            found.append((seen[end_ms] - closed_s) * 1000)
    return found


def latency_spec(topic: str, table: str) -> StreamSpec:
    """Declare a stream of one-second windows over records in order."""
    return StreamSpec(
        name=topic,
        topic=topic,
        fields={"at": "timestamp_ms", "kind": "string", "amount": "int64"},
        event_time=EventTime(field="at", out_of_orderness_ms=0),
        group_by=["kind"],
        window=Window(kind="tumbling", size_ms=WINDOW_MS),
        aggregate={"events": "count(*)", "amount": "sum(amount)"},
        sinks=[SinkSpec(kind=kind, table=table) for kind in ("clickhouse", "timescaledb")],
        trigger=Trigger(interval_ms=50, max_records=100_000),
    )


async def latency(stack: BenchStack, options: Options) -> None:
    """Measure at 200 records a second and print a line for each percentile and sink."""
    settings = stack.settings
    name = f"bench-latency-{time.time_ns() // 1_000_000}"
    table = f"{TABLE}_{name[-13:]}"
    admin = KafkaAdmin(settings.kafka)
    await admin.create_topic(name, PARTITIONS, config={"retention.ms": "-1"})
    await admin.close()
    spec = latency_spec(name, table)
    client = await connect(settings.temporal)
    handle = await client.start_workflow(
        STREAM_WORKFLOW, StreamInput(spec=spec), id=stream_workflow_id(name),
        task_queue=STREAM_QUEUE, result_type=StreamResult,
    )  # fmt: skip
    clickhouse = await _clickhouse(settings)
    timescale = await _timescale(settings)
    readers = [_clickhouse_ends(clickhouse, table), _timescale_ends(timescale, table)]
    appends = Appends()
    seen: list[dict[int, float]] = [{}, {}]
    async with watched(stack.pids()) as usage:
        watchers = [
            asyncio.create_task(_watch(reader, into))
            for reader, into in zip(readers, seen, strict=True)
        ]
        await _produce(settings, name, options.seconds, appends)
        await asyncio.sleep(1.0)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
    await clickhouse.close()
    await timescale.close()
    await handle.signal("stop")
    await handle.result()
    memory = usage.peak_of(stack.compute_workers())
    for sink, times in zip(("clickhouse", "timescaledb"), seen, strict=True):
        found = latencies_ms(appends, times, WARM_WINDOWS)
        if not found:
            raise ValueError(f"latency of {sink}: expected windows in the view, got none")
        notes: dict[str, object] = {
            "windows": len(found), "most": round(max(found)),
            "load_others": round(usage.others_cpu_s / usage.seconds, 2),
        }  # fmt: skip
        for percent in (50, 95):
            scenario = f"latency-{sink}-p{percent}"
            emit(Line(scenario, percentile(found, percent), "ms", memory, notes=notes))
    say(f"core seconds a second: {sum(usage.cpu_s.values()) / usage.seconds:.2f}")


async def _produce(settings: Settings, topic: str, seconds: float, appends: Appends) -> None:
    """Append a record to each partition every 20 ms, each with the time of now."""
    producer = BulkProducer(settings.kafka)
    await producer.start()

    async def feed(partition: int) -> None:
        for number in range(int(seconds * 1000 / INTERVAL_MS)):
            due_s = begun + (number + partition / PARTITIONS) * INTERVAL_MS / 1000
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            event_ms = time.time_ns() // 1_000_000
            appends.note(partition, event_ms, time.perf_counter())
            await producer.append(topic, partition, _one(topic, partition, event_ms, number))

    begun = time.perf_counter()
    try:
        await asyncio.gather(*(feed(partition) for partition in range(PARTITIONS)))
    finally:
        await producer.stop()


def _one(topic: str, partition: int, event_ms: int, number: int) -> RecordBlock:
    value = f'{{"at":{event_ms},"kind":"{KINDS[number % len(KINDS)]}","amount":{number}}}'.encode()
    return RecordBlock(
        topic=topic,
        partition=partition,
        buffer=np.frombuffer(value, np.uint8),
        offset=np.array([number], np.int64),
        timestamp_ms=np.array([event_ms], np.int64),
        value_start=np.zeros(1, np.int64),
        value_size=np.array([len(value)], np.int32),
        key_start=np.zeros(1, np.int64),
        key_size=np.full(1, -1, np.int32),
    )


Reader = Callable[[], Awaitable[list[int]]]


async def _watch(read: Reader, seen: dict[int, float]) -> None:
    while True:
        try:
            ends = await read()
        except Exception:  # noqa: BLE001 - the view is made when the stream opens
            ends = []
        now_s = time.perf_counter()
        for end_ms in ends:
            seen.setdefault(end_ms, now_s)
        await asyncio.sleep(0.01)


async def _clickhouse(settings: Settings) -> AsyncClient:
    return await clickhouse_connect.get_async_client(
        dsn=settings.clickhouse.url, autogenerate_session_id=False
    )


def _clickhouse_ends(client: AsyncClient, table: str) -> Reader:
    async def read() -> list[int]:
        found = await client.query(
            f"SELECT DISTINCT toUnixTimestamp64Milli(window_end) FROM {table}_final"
        )
        return [int(row[0]) for row in found.result_rows]

    return read


async def _timescale(settings: Settings) -> asyncpg.Pool:
    assert settings.timescaledb.dsn is not None
    return await asyncpg.create_pool(
        settings.timescaledb.dsn.get_secret_value(), min_size=0, max_size=1
    )


def _timescale_ends(pool: asyncpg.Pool, table: str) -> Reader:
    async def read() -> list[int]:
        rows = await pool.fetch(
            f"SELECT DISTINCT (extract(epoch FROM window_end) * 1000)::bigint AS ms "
            f"FROM {table}_final"
        )
        return [int(row["ms"]) for row in rows]

    return read
