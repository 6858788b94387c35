"""A stream on the time-skipping server: real workflow, real activities, systems in memory."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.alert import AlertActivities
from activities.stream import StreamActivities
from activities.stream_book import StreamBookActivities
from activities.stream_deliver import StreamDeliverActivities
from activities.stream_keys import KeyRangeActivities
from activities.stream_sink import StreamSinkActivities
from common.names import STREAM_COMPUTE_QUEUE, STREAM_QUEUE, stream_workflow_id
from pipelines.stream import SinkSpec, StreamSpec
from streaming.status import (
    RewindTo,
    Rewound,
    StreamFrom,
    StreamResult,
    StreamStatus,
    StreamUntil,
)
from tests.unit.streaming.event_log import make_spec
from tests.workflows.memory import (
    MemoryLog,
    MemoryRecordSink,
    MemorySink,
    MemoryStore,
    MemoryWebhook,
)
from workflows.sandbox import sandboxed_runner
from workflows.stream import StreamWorkflow
from workflows.stream_input import REWIND_LATER, STREAM_WORKFLOW, StreamInput

Handle = WorkflowHandle[StreamWorkflow, StreamResult]


def event(at_ms: int, category: str | None = "a", amount: float = 1.0, customer: int = 1) -> bytes:
    """Encode one record."""
    record = {"at": at_ms, "category": category, "amount": amount, "customer": customer}
    return json.dumps(record).encode()


class StreamRig:
    """Everything that a stream needs, in memory; two sinks, `clickhouse` and `timescaledb`."""

    def __init__(self, server: WorkflowEnvironment, gateway: Client | None = None) -> None:
        self.server = server
        self._gateway = gateway or server.client
        self.log = MemoryLog("events", {}, sleep=self._sleep)
        self.store = MemoryStore()
        self.sinks = {"clickhouse": MemorySink(), "timescaledb": MemorySink()}
        self.dead = MemoryRecordSink()
        self.webhook = MemoryWebhook()

    async def _sleep(self, seconds: float) -> None:
        """Let the server's clock pass; on a server with a real clock, wait for records as long.

        A sleep of the skipping server that is cut short would leave it running away for ever.
        """
        if self.server.supports_time_skipping:
            await asyncio.shield(self.server.sleep(seconds))
            return
        self.log.grown.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.log.grown.wait(), seconds)

    def spec(self, disorder_ms: int = 0, max_records: int = 100, **changes: object) -> StreamSpec:
        """Make the specification of one-second windows into both sinks."""
        sinks = [SinkSpec(kind="clickhouse", table="t"), SinkSpec(kind="timescaledb", table="t")]
        spec = make_spec(disorder_ms, max_records)
        return spec.model_copy(update={"sinks": sinks, **changes})

    @contextlib.asynccontextmanager
    async def workers(self) -> AsyncIterator[None]:
        """Poll both queues."""
        stream = StreamActivities(self.log, self.store)
        keys = KeyRangeActivities(self.store)
        book = StreamBookActivities(self.log, self.store, self.sinks.__getitem__)
        sink = StreamSinkActivities(self.store, self.sinks.__getitem__, self.dead)
        alert = AlertActivities(self.store, self.webhook)
        light: list[Callable[..., Any]] = [
            book.open, book.claim_epoch, book.survey_log, book.save_state, book.release,
            sink.write_flush, sink.publish_progress, sink.refresh_offset, sink.deliver_dead_letters,
            sink.deliver_late_events, stream.wait_for_data,
            alert.raise_alert, alert.tell, alert.end,
        ]  # fmt: skip
        raw = StreamDeliverActivities(self.log, self.store)
        client = self._gateway
        async with (
            Worker(
                client, task_queue=STREAM_QUEUE, workflows=[StreamWorkflow], activities=light,
                workflow_runner=sandboxed_runner(),
            ),
            Worker(
                client, task_queue=STREAM_COMPUTE_QUEUE,
                activities=[
                    stream.aggregate_ranges, stream.combine, keys.combine_keys, raw.deliver_ranges,
                ],
            ),
        ):  # fmt: skip
            yield

    async def start(
        self,
        spec: StreamSpec,
        *,
        until: StreamUntil | None = None,
        fresh: bool = False,
        begin: StreamFrom | None = None,
        rewind: RewindTo | None = None,
        accept_loss: bool = False,
        history_events: int = 8_000,
        carried: str | None = None,
    ) -> Handle:
        """Start the stream; `carried` is what a run before it handed over."""
        task = StreamInput(
            spec=spec,
            rewind=rewind,
            until=until,
            fresh=fresh,
            begin=begin or StreamFrom(),
            history_events=history_events,
            accept_loss=accept_loss,
            carried=carried,
        )
        return await self.server.client.start_workflow(
            STREAM_WORKFLOW,
            task,
            id=stream_workflow_id(spec.name),
            task_queue=STREAM_QUEUE,
            result_type=StreamResult,
            execution_timeout=timedelta(days=300),
        )

    async def ended(self, handle: Handle) -> StreamResult:
        """Wait for the end on the real clock.

        The server skips time even while activities run, so their time-outs would pass in no time.
        """
        with self.server.auto_time_skipping_disabled():
            return await handle.result()

    async def rewind(self, handle: Handle, to: RewindTo) -> Rewound:
        """Send the update; a stream between two runs is asked again."""
        while True:
            try:
                return await handle.execute_update(StreamWorkflow.rewind, to)
            except WorkflowUpdateFailedError as error:
                if getattr(error.cause, "type", "") != REWIND_LATER:
                    raise
                await self.server.sleep(0.02)

    async def status(self, handle: Handle) -> StreamStatus:
        """Ask the stream how it is."""
        return await handle.query(StreamWorkflow.status)

    async def until(
        self, handle: Handle, condition: Callable[[StreamStatus], bool]
    ) -> StreamStatus:
        """Let time pass until the status is as wanted."""
        async with asyncio.timeout(100):
            while True:
                status = await self.status(handle)
                if condition(status):
                    return status
                await self.server.sleep(timedelta(milliseconds=50))

    async def until_next_run(self, handle: Handle) -> str:
        """Wait until the stream continued as a new run; gives its run id."""
        async with asyncio.timeout(100):
            run = handle.first_execution_run_id
            while run == handle.first_execution_run_id:
                await self.server.sleep(0.02)
                run = (await handle.describe()).run_id
            return run or ""

    def view(self, sink: str = "clickhouse") -> dict[tuple[int, str], int]:
        """Give window start (ms) and key to number of events, as a reader sees it."""
        return {
            (int(start.timestamp() * 1000), key): row["n"]
            for (start, key), row in self.sinks[sink].rows.items()
            if not row["_deleted"]
        }
