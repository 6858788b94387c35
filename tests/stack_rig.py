"""Streams on the embedded stack: fill a topic, run a stream, read what its readers see."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import polars as pl
from temporalio.client import WorkflowHandle

from activities.stream_sink import sink_table
from common.names import STREAM_QUEUE, stream_workflow_id
from common.settings import Settings
from connectors.kafka import KafkaLog
from connectors.kafka_admin import KafkaAdmin
from connectors.kafka_consumer import consume
from connectors.kafka_producer import BulkProducer
from connectors.sinks import open_sink
from connectors.temporal import connect
from devstack.sample.sales import SalesShape, sales_records
from pipelines.load import find_pipeline, load_stream
from pipelines.stream import POSITION, SinkSpec, StreamSpec, Trigger
from streaming.status import StreamResult, StreamStatus, StreamUntil
from workflows.stream_input import STREAM_WORKFLOW, StreamInput

KINDS = ("clickhouse", "timescaledb", "postgres", "kafka", "lake")


async def fill(settings: Settings, shape: SalesShape) -> None:
    """Write sales events to their topic, which is made if missing."""
    admin = KafkaAdmin(settings.kafka)
    await admin.create_topic(shape.topic, shape.partitions, config={"retention.ms": "-1"})
    await admin.close()
    producer = BulkProducer(settings.kafka)
    await producer.start()
    try:
        for batch in sales_records(shape):
            for block in batch.blocks:
                await producer.append(shape.topic, block.partition, block)
    finally:
        await producer.stop()


async def raw_values(settings: Settings, topic: str) -> list[bytes | None]:
    """Read all values of a topic with the ordinary consumer."""
    log = KafkaLog(settings.kafka)
    ends = (await log.describe(topic)).end
    await log.close()
    values: list[bytes | None] = []
    async for part in consume(settings.kafka, topic, ends):
        values += [record.value for record in part]
    return values


def sales_spec(settings: Settings, name: str, topic: str, max_records: int) -> StreamSpec:
    """Make `sales-1m` of the catalog over another topic, into a table in each database."""
    spec = load_stream(find_pipeline("sales-1m", settings.project_dir))
    table = name.replace("-", "_")
    return spec.model_copy(
        update={
            "name": name,
            "topic": topic,
            "sinks": [SinkSpec.model_validate({"kind": k, "table": table}) for k in KINDS],
            "trigger": Trigger(interval_ms=50, max_records=max_records),
        }
    )


@dataclass
class StreamOnStack:
    """One stream on the stack."""

    settings: Settings
    spec: StreamSpec
    handle: WorkflowHandle[object, StreamResult] = field(init=False)

    async def start(
        self, *, until_latest: bool = True, fresh: bool = False, history_events: int = 8_000
    ) -> None:
        """Start it."""
        client = await connect(self.settings.temporal)
        task = StreamInput(
            spec=self.spec,
            until=StreamUntil(kind="latest") if until_latest else None,
            fresh=fresh,
            history_events=history_events,
        )
        self.handle = await client.start_workflow(
            STREAM_WORKFLOW, task, id=stream_workflow_id(self.spec.name), task_queue=STREAM_QUEUE,
            result_type=StreamResult,
        )  # fmt: skip

    @property
    def run_id(self) -> str:
        """Id of the run that was started, the first of its chain."""
        return self.handle.first_execution_run_id or ""

    async def history_length(self) -> int:
        """Ask the server how far the run's history got; needs no worker."""
        return (await self.handle.describe()).history_length

    async def status(self) -> StreamStatus:
        """Ask the workflow where it stands."""
        status: StreamStatus = await self.handle.query("status", result_type=StreamStatus)
        return status

    async def until(self, condition: Callable[[StreamStatus], bool]) -> StreamStatus:
        """Wait until the status is as wanted."""
        return await wait_for(self.status, condition)

    async def view(self, kind: str) -> pl.DataFrame:
        """Give what a reader of one sink sees."""
        sink = open_sink(kind, self.settings)
        try:
            table = sink_table(self.spec, self.spec.sinks[0])
            return pl.DataFrame(await sink.final_rows(table.name, None, table.time))
        finally:
            await sink.close()

    @property
    def key(self) -> list[str]:
        """Columns that tell rows apart."""
        return list(POSITION) if self.spec.raw else ["window_start", *self.spec.group_by]


T = TypeVar("T")


async def wait_for(read: Callable[[], Awaitable[T]], condition: Callable[[T], bool]) -> T:
    """Read until a condition holds; the test's own time-out bounds it."""
    while True:
        value = await read()
        if condition(value):
            return value
        await asyncio.sleep(0.02)
