"""`consumer`: reading a topic in pinned ranges, beside aiokafka's consumer on the same topic."""

import time

import psutil

from benchmarks.bench_stack import BenchStack
from benchmarks.line import Line, emit, say
from benchmarks.options import Options
from benchmarks.sales import fill
from connectors import kafka_batch
from connectors.kafka import KafkaLog
from connectors.kafka_consumer import consume
from streaming.offset_range import OffsetRange

RECORDS = 2_000_000
RANGE_RECORDS = 100_000
BLOCK_BYTES = 8 * 1024 * 1024
ROUNDS = 3


async def consumer(stack: BenchStack, options: Options) -> None:
    """Read the same records both ways, one after the other, and print one line."""
    topic = await fill(stack.settings, options)
    kafka_batch.warm_up()
    log = KafkaLog(stack.settings.kafka)
    try:
        state = await log.describe(topic)
        share = min(RECORDS, options.events) // len(state.end)
        ends = {n: state.start[n] + min(share, end) for n, end in state.end.items()}
        values = [
            await _ranges(log, topic, state.topic_id, state.start, ends) for _ in range(ROUNDS)
        ]
    finally:
        await log.close()
    other = [await _getmany(stack, topic, ends) for _ in range(ROUNDS)]
    say(f"getmany: {', '.join(f'{value:,.0f}' for value in other)} records/s")
    memory = psutil.Process().memory_info().rss
    emit(
        Line(
            "consumer", max(values), "records/s", memory, max(values) / max(other),
            "aiokafka getmany", values, {"other_rounds": [round(value) for value in other]},
        )
    )  # fmt: skip


async def _ranges(
    log: KafkaLog, topic: str, topic_id: str, start: dict[int, int], ends: dict[int, int]
) -> float:
    count, began = 0, time.perf_counter()
    for number, end in ends.items():
        for first in range(start[number], end, RANGE_RECORDS):
            span = OffsetRange(
                topic=topic, partition=number, start=first, stop=min(first + RANGE_RECORDS, end)
            )
            async for block in log.read(span, topic_id, BLOCK_BYTES):
                count += len(block)
    _require(count, sum(ends[n] - start[n] for n in ends))
    return count / (time.perf_counter() - began)


async def _getmany(stack: BenchStack, topic: str, ends: dict[int, int]) -> float:
    count, began = 0, time.perf_counter()
    async for part in consume(stack.settings.kafka, topic, ends):
        count += len(part)
    return count / (time.perf_counter() - began)


def _require(count: int, expected: int) -> None:
    if count != expected:
        raise ValueError(f"read: expected {expected} records, got {count}")
