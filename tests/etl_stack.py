"""ETL runs on the embedded stack: fill a table, run a pipeline, read what its readers see."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import asyncpg
import polars as pl
from temporalio.client import WorkflowHandle

from common.names import ETL_QUEUE, etl_workflow_id
from common.settings import Settings
from connectors.batch_targets import open_target
from connectors.temporal import connect
from devstack import stack as devstack
from pipelines.etl import EtlSpec, Target
from pipelines.etl_source import PostgresSource
from tests.stack_rig import wait_for
from workflows.etl_input import ETL_WORKFLOW, EtlInput, EtlResult, EtlStatus

ORDERS: dict[str, type[pl.DataType] | pl.DataType] = {
    "order_id": pl.Int64,
    "customer": pl.String,
    "status": pl.String,
    "amount": pl.Decimal(12, 2),
    "changed": pl.Datetime("us", "UTC"),
}


async def fill_orders(settings: Settings, table: str, rows: int) -> pl.DataFrame:
    """Make a table of orders; gives its rows as asyncpg reads them."""
    dsn = settings.postgres.dsn.get_secret_value() if settings.postgres.dsn else ""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"DROP TABLE IF EXISTS {table}")
        await connection.execute(
            f"CREATE TABLE {table} (order_id bigint PRIMARY KEY, customer text NOT NULL, "
            "status text, amount numeric(12,2), changed timestamptz NOT NULL)"
        )
        await connection.execute(
            f"INSERT INTO {table} SELECT n, 'customer ' || n % 1000, "
            "CASE WHEN n % 10 = 0 THEN 'test' WHEN n % 7 = 0 THEN NULL ELSE 'paid' END, "
            "(n % 50000 - 100) / 100.0, "
            "'2026-05-01T00:00Z'::timestamptz + n * interval '1.000123 second' "
            f"FROM generate_series(1, {rows}) n"
        )
        found = await connection.fetch(f"SELECT * FROM {table} ORDER BY order_id")
    finally:
        await connection.close()
    values = [tuple(row) for row in found]
    return pl.DataFrame(values, schema=ORDERS, orient="row")


@dataclass
class EtlOnStack:
    """One run on the stack."""

    settings: Settings
    spec: EtlSpec
    handle: WorkflowHandle[object, EtlResult] = field(init=False)

    async def start(self, **options: object) -> None:
        """Start it."""
        client = await connect(self.settings.temporal)
        self.handle = await client.start_workflow(
            ETL_WORKFLOW,
            EtlInput.model_validate({"spec": self.spec, **options}),
            id=etl_workflow_id(self.spec.name),
            task_queue=ETL_QUEUE,
            result_type=EtlResult,
        )

    async def status(self) -> EtlStatus:
        """Ask the workflow where it stands."""
        status: EtlStatus = await self.handle.query("status", result_type=EtlStatus)
        return status

    async def until(self, condition: Callable[[EtlStatus], bool]) -> EtlStatus:
        """Wait until the status is as wanted."""
        return await wait_for(self.status, condition)

    async def rows(self, target: Target) -> pl.DataFrame:
        """Give what readers of a target see."""
        opened = open_target(target.kind, target.connection, self.settings)
        try:
            found = pl.from_arrow(await opened.final_rows(target.table))
        finally:
            await opened.close()
        assert isinstance(found, pl.DataFrame)
        return found

    async def attempts(self, activity: str) -> list[int]:
        """Give how often each activity of a type was begun."""
        scheduled: dict[int, str] = {}
        found: list[int] = []
        async for event in self.handle.fetch_history_events():
            if event.HasField("activity_task_scheduled_event_attributes"):
                name = event.activity_task_scheduled_event_attributes.activity_type.name
                scheduled[event.event_id] = name
            if event.HasField("activity_task_started_event_attributes"):
                started = event.activity_task_started_event_attributes
                if scheduled[started.scheduled_event_id] == activity:
                    found.append(started.attempt)
        return found


def orders_spec(name: str, table: str, targets: list[Target], chunk_rows: int) -> EtlSpec:
    """Make a pipeline over a table of orders."""
    spec = EtlSpec(name=name, source=PostgresSource(table=table), targets=targets)
    limits = spec.limits.model_copy(update={"chunk_rows": chunk_rows, "parallelism": 4})
    return spec.model_copy(update={"limits": limits})


def kill_workers(settings: Settings, choose: Callable[[list[int]], int]) -> None:
    """Kill one of the worker processes."""
    found = devstack.services(settings)
    workers = [one.pid for name, one in sorted(found.items()) if name.startswith("worker")]
    os.kill(choose([pid for pid in workers if pid]), signal.SIGKILL)


def cents(amount: Decimal | None) -> int | None:
    """Give an amount in its smallest unit."""
    return None if amount is None else int(amount * 100)
