"""ETL runs on the time-skipping server: real workflow, real activities, systems in memory."""

# ruff: noqa: ARG002 - fakes take what their Protocols say

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.etl_book import EtlBookActivities
from activities.etl_clean import EtlCleanActivities
from activities.etl_extract import EtlExtractActivities
from activities.etl_gate import EtlGateActivities
from activities.etl_ports import BatchTable, Published, SourceBlock, TargetPlan
from activities.etl_publish import EtlPublishActivities
from activities.etl_report import EtlReportActivities
from batch.chunk import Chunk, CursorWindow, Settled, SourceShape
from common.names import ETL_COMPUTE_QUEUE, ETL_QUEUE, etl_workflow_id
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec, Target
from pipelines.etl_source import PostgresSource
from tests.workflows.memory import MemoryStore
from workflows.etl import EtlWorkflow
from workflows.etl_input import ETL_WORKFLOW, EtlInput, EtlResult, EtlStatus
from workflows.sandbox import sandboxed_runner

Handle = WorkflowHandle[object, EtlResult]
Row = dict[str, Any]


@dataclass
class MemorySource:
    """Rows with a key `id`; each read can be made to fail or to wait.

    Attributes:
        open_transactions: What `settle` finds, one list for each call.
        settling: `settle` waits for it.
        failures: Errors of the next reads.
        gate: Reads wait for it.
        reads: Chunks that were read.
        closed: How often somebody was done with it.
    """

    rows: list[Row]
    columns: dict[str, str] = field(default_factory=lambda: {"id": "int64", "amount": "int64?"})
    open_transactions: list[list[str]] = field(default_factory=list)
    settling: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    reads: list[int] = field(default_factory=list)
    closed: int = 0

    async def describe(self) -> SourceShape:
        return SourceShape(columns=self.columns, primary_key=["id"])

    async def settle(self, wanted: CursorWindow, before: Settled | None) -> Settled:
        await self.settling.wait()
        left = self.open_transactions.pop(0) if self.open_transactions else []
        return Settled(window=wanted, open_transactions=left)

    async def plan(self, shape: SourceShape, window: CursorWindow, chunk_rows: int) -> list[Chunk]:
        starts = range(0, len(self.rows), chunk_rows)
        return [
            Chunk(number=n, part=json.dumps([at, at + chunk_rows]), row_estimate=chunk_rows)
            for n, at in enumerate(starts)
        ]

    async def read(
        self, shape: SourceShape, window: CursorWindow, chunk: Chunk, block_bytes: int
    ) -> AsyncIterator[SourceBlock]:
        self.reads.append(chunk.number)
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        start, stop = json.loads(chunk.part)
        rows = self.rows[start:stop]
        schema = pa.schema([(name, pa.int64()) for name in shape.columns])
        yield SourceBlock(pa.RecordBatch.from_pylist(rows, schema))

    def at_one_moment(self) -> contextlib.AbstractAsyncContextManager["MemorySource"]:
        return contextlib.nullcontext(self)

    async def close(self) -> None:
        self.closed += 1


@dataclass
class MemoryTarget:
    """Rows by key, staged by chunk and attempt.

    Attributes:
        refusals: Errors of the next publications.
        publications: How often rows became visible.
        gate: Publications wait for it.
        staging_gate: Chunks wait for it before they are staged.
        stagings: How many were begun.
    """

    rows: dict[int, Row] = field(default_factory=dict)
    staging: dict[tuple[str, int, str], list[Row]] = field(default_factory=dict)
    refusals: list[Exception] = field(default_factory=list)
    publications: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    staging_gate: asyncio.Event = field(default_factory=asyncio.Event)
    stagings: int = 0

    async def preflight(self, table: BatchTable) -> TargetPlan:
        return TargetPlan()

    async def open(self, table: BatchTable) -> None:
        return None

    async def stage(
        self, table: BatchTable, chunk: int, token: str, rows: AsyncIterator[pa.RecordBatch]
    ) -> int:
        self.stagings += 1
        await self.staging_gate.wait()
        found = [row async for batch in rows for row in batch.to_pylist()]
        self.staging[table.run_id, chunk, token] = found
        return len(found)

    async def staged(self, table: BatchTable, tokens: Mapping[int, str]) -> dict[int, int]:
        return {n: len(self.staging[table.run_id, n, token]) for n, token in tokens.items()}

    async def publish(self, table: BatchTable, tokens: Mapping[int, str]) -> Published:
        await self.gate.wait()
        if self.refusals:
            raise self.refusals.pop(0)
        self.publications += 1
        before = len(self.rows)
        for number, token in tokens.items():
            for row in self.staging[table.run_id, number, token]:
                self.rows[row["id"]] = row
        return Published(inserted=len(self.rows) - before)

    async def discard(self, table: BatchTable) -> None:
        self.staging = {key: rows for key, rows in self.staging.items() if key[0] != table.run_id}

    async def final_rows(self, name: str, limit: int | None = None) -> pa.Table:
        return pa.Table.from_pylist(list(self.rows.values()))

    async def close(self) -> None:
        return None


class EtlRig:
    """Everything that a run needs, in memory; two targets."""

    def __init__(
        self, server: WorkflowEnvironment, gateway: Client | None = None, rows: int = 100
    ) -> None:
        self.server = server
        self._gateway = gateway or server.client
        self.source = MemorySource([{"id": n, "amount": n * 2} for n in range(rows)])
        self.source.gate.set()
        self.source.settling.set()
        self.targets = {"clickhouse": MemoryTarget(), "postgres": MemoryTarget()}
        for target in self.targets.values():
            target.gate.set()
            target.staging_gate.set()
        self.store, self.lake = MemoryStore(), MemoryStore()

    def spec(self, **changes: object) -> EtlSpec:
        """Make a specification into both targets."""
        targets = [Target(kind="clickhouse", table="t"), Target(kind="postgres", table="t")]
        spec = EtlSpec(name="load", source=PostgresSource(table="t"), targets=targets)
        limits = spec.limits.model_copy(update={"chunk_rows": 30, "parallelism": 2})
        return spec.model_copy(update={"limits": limits, **changes})

    @contextlib.asynccontextmanager
    async def workers(self) -> AsyncIterator[None]:
        """Poll both queues."""

        def open_source(_spec: EtlSpec, _interval: DataInterval | None) -> MemorySource:
            return self.source

        def open_target(target: Target) -> MemoryTarget:
            return self.targets[target.kind]

        book = EtlBookActivities(self.store, self.lake, open_source, open_target)
        out = EtlPublishActivities(self.store, self.lake, open_target)
        extract = EtlExtractActivities(self.store, self.lake, open_source)
        clean = EtlCleanActivities(self.store, self.lake)
        gate = EtlGateActivities(self.store, self.lake)
        report = EtlReportActivities(self.store, self.lake)
        light: list[Callable[..., Any]] = [
            book.open, book.settle, book.plan, book.discard, out.reconcile, out.publish, out.finish,
        ]  # fmt: skip
        heavy: list[Callable[..., Any]] = [
            extract.extract_chunk, extract.extract_snapshot, clean.transform_chunk, clean.group,
            gate.find_repeated, gate.audit, out.stage_chunk, report.write_report,
        ]  # fmt: skip
        client = self._gateway
        async with (
            Worker(
                client, task_queue=ETL_QUEUE, workflows=[EtlWorkflow], activities=light,
                workflow_runner=sandboxed_runner(),
            ),
            Worker(client, task_queue=ETL_COMPUTE_QUEUE, activities=heavy),
        ):  # fmt: skip
            yield

    async def start(self, spec: EtlSpec, **options: Any) -> Handle:  # noqa: ANN401 - fields of EtlInput
        """Start a run."""
        return await self.server.client.start_workflow(
            ETL_WORKFLOW,
            EtlInput(spec=spec, **options),
            id=etl_workflow_id(spec.name),
            task_queue=ETL_QUEUE,
            result_type=EtlResult,
        )

    async def ended(self, handle: Handle) -> EtlResult:
        """Wait for the end on the real clock."""
        with self.server.auto_time_skipping_disabled():
            return await handle.result()

    async def run(self, spec: EtlSpec, **options: Any) -> EtlResult:  # noqa: ANN401 - as above
        """Start a run and wait for its end."""
        return await self.ended(await self.start(spec, **options))

    async def until(self, handle: Handle, condition: Callable[[EtlStatus], bool]) -> EtlStatus:
        """Wait until the status is as wanted."""
        async with asyncio.timeout(50):
            while True:
                status: EtlStatus = await handle.query("status", result_type=EtlStatus)
                if condition(status):
                    return status
                await asyncio.sleep(0)

    @property
    def staged(self) -> int:
        """Count what lies in staging."""
        return sum(len(target.staging) for target in self.targets.values())
