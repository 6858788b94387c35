"""Writing sample data to a topic: the pure columns on one side, the bulk producer on the other."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from common.errors import UsageError
from common.settings import KafkaSettings, Settings
from devstack.sample.flights import flights_records
from devstack.sample.sales import SalesBatch, SalesShape, sales_batch
from streaming.record_block import RecordBlock

BATCH_EVENTS = 200_000
BATCHES_AHEAD = 3
"""Batches made or under way at the same time; bounds the memory to about 200 MB."""

FLIGHT_COUNT = 336_776

Progress = Callable[[int], None]
"""Takes the count of records that are in the log."""


@dataclass
class WriteSummary:
    """What was written.

    Attributes:
        created: Whether the topic is new.
        size_bytes: Sum of keys and values.
        first_ms, last_ms: Least and greatest event time, None without events.
    """

    topic: str
    partitions: int
    created: bool
    events: int = 0
    malformed: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    first_ms: int | None = None
    last_ms: int | None = None

    def add(self, batch: SalesBatch) -> None:
        """Count a batch that is in the log."""
        self.events += sum(len(block) for block in batch.blocks)
        self.malformed += batch.malformed
        self.size_bytes += batch.size_bytes
        low, high = batch.first_ms, batch.last_ms
        self.first_ms = low if self.first_ms is None else min(low, self.first_ms)
        self.last_ms = high if self.last_ms is None else max(high, self.last_ms)


async def topic_partitions(settings: KafkaSettings, topic: str) -> int | None:
    """Count the partitions of a topic; None when there is none."""
    from connectors.kafka_admin import KafkaAdmin

    admin = KafkaAdmin(settings, "sluice-generate")
    try:
        return (await admin.list_topics()).get(topic)
    finally:
        await admin.close()


async def write_sales(
    settings: Settings, shape: SalesShape, *, fresh: bool = False, progress: Progress
) -> WriteSummary:
    """Append sales events to their topic, which is made if missing.

    Args:
        settings: Where Kafka is.
        shape: Which events; its partitions must be those of a topic that exists.
        fresh: Delete the topic and its records first.
        progress: Told after each batch.
    """
    summary = await _prepare(settings.kafka, shape.topic, shape.partitions, fresh=fresh)
    with ThreadPoolExecutor(BATCHES_AHEAD, "generate") as threads:

        def batches() -> Iterator[asyncio.Future[SalesBatch]]:
            loop = asyncio.get_running_loop()
            for first in range(0, shape.events, BATCH_EVENTS):
                stop = min(first + BATCH_EVENTS, shape.events)
                yield loop.run_in_executor(threads, sales_batch, shape, first, stop)

        return await _write(settings.kafka, summary, batches(), progress)


async def write_flights(
    settings: Settings,
    *,
    topic: str = "flights",
    partitions: int = 3,
    fresh: bool = False,
    progress: Progress,
) -> WriteSummary:
    """Append the flights of 2013 to a topic, which is made if missing; see `write_sales`."""
    summary = await _prepare(settings.kafka, topic, partitions, fresh=fresh)
    source = flights_records(partitions, topic)

    def batches() -> Iterator[asyncio.Future[SalesBatch]]:
        while True:
            found: asyncio.Future[list[RecordBlock] | None] = asyncio.ensure_future(
                asyncio.to_thread(next, source, None)
            )
            yield asyncio.ensure_future(_flight_batch(found))

    return await _write(settings.kafka, summary, batches(), progress, ahead=1)


async def _flight_batch(found: asyncio.Future[list[RecordBlock] | None]) -> SalesBatch:
    blocks = await found or []
    times = [block.timestamp_ms for block in blocks]
    first_ms = min((int(one.min()) for one in times), default=0)
    return SalesBatch(blocks, 0, first_ms, max((int(one.max()) for one in times), default=0))


async def _prepare(
    settings: KafkaSettings, topic: str, partitions: int, *, fresh: bool
) -> WriteSummary:
    from connectors.kafka_admin import KafkaAdmin

    admin = KafkaAdmin(settings, "sluice-generate")
    try:
        if fresh:
            await admin.delete_topic(topic)
        # Event times are old: a retention by time would delete the records at once.
        created = await admin.create_topic(topic, partitions, config={"retention.ms": "-1"})
        there = (await admin.list_topics()).get(topic, partitions)
    finally:
        await admin.close()
    if there != partitions:
        raise UsageError(
            f"topic `{topic}`: expected {partitions} partitions, got a topic with {there}; give "
            f"`--partitions {there}`, another `--topic`, or `--fresh` to delete it and its records"
        )
    return WriteSummary(topic, partitions, created)


async def _write(
    settings: KafkaSettings,
    summary: WriteSummary,
    batches: Iterator[asyncio.Future[SalesBatch]],
    progress: Progress,
    ahead: int = BATCHES_AHEAD,
) -> WriteSummary:
    from connectors.kafka_producer import BulkProducer

    began = time.monotonic()
    producer = BulkProducer(settings, client_id="sluice-generate")
    made: list[asyncio.Future[SalesBatch]] = []
    try:
        await producer.start()
        while True:
            while len(made) < ahead and (future := next(batches, None)) is not None:
                made.append(future)
            batch = await made.pop(0) if made else None
            if batch is None or not batch.blocks:
                break
            async with asyncio.TaskGroup() as group:
                for block in batch.blocks:
                    group.create_task(producer.append(summary.topic, block.partition, block))
            summary.add(batch)
            progress(summary.events)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        for future in made:
            future.cancel()
        await producer.stop()
        summary.seconds = time.monotonic() - began
    return summary
