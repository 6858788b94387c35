"""ETL runs whose histories are recorded; see `tests.replay.record`."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from temporalio.client import Client, WorkflowFailureError

from common.names import etl_workflow_id
from common.settings import Settings
from pipelines.etl import Aggregation, Check, EtlSpec, EtlStep, Target
from pipelines.etl_source import PostgresSource
from tests.etl_stack import EtlOnStack, fill_orders, orders_spec
from tests.replay.kept_history import keep_history

ROWS = 20_000
CHUNK = 2_000


def _spec(name: str, **changes: object) -> EtlSpec:
    table = name.replace("-", "_")
    targets = [
        Target(kind="clickhouse", table=table, mode="merge", key=["order_id"]),
        Target(kind="lake", table=f"etl/{name}", mode="replace"),
    ]
    spec = orders_spec(name, f"{table}_source", targets, CHUNK)
    return spec.model_copy(update=changes)


async def _save(client: Client, run: EtlOnStack, name: str) -> None:
    run_id: str | None = run.handle.first_execution_run_id
    number = 1
    while run_id is not None:
        workflow_id = etl_workflow_id(run.spec.name)
        kept = f"{name}-{number}" if number > 1 else name
        run_id = await keep_history(client, workflow_id, kept, run_id)
        number += 1


async def etl_published(settings: Settings, client: Client) -> None:
    """Wait for an open transaction, set aside rows of repeated keys, publish, raise an alert."""
    gate = [
        Check(check="unique", fields=["customer", "amount"], severity="quarantine"),
        Check(check="range", fields=["amount"], min="0", severity="quarantine"),
        Check(check="reconciliation"),
    ]
    source = PostgresSource(table="etl_published_source", cursor="changed")
    spec = _spec("etl-published", gate=gate, source=source, quality_threshold=100.0)
    await fill_orders(settings, "etl_published_source", ROWS)
    run = EtlOnStack(settings, spec)
    dsn = settings.postgres.dsn
    other = await asyncpg.connect(dsn.get_secret_value() if dsn else "")
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT 1")
    await run.start()
    await run.until(lambda status: "open transactions" in status.reason)
    await transaction.rollback()
    await other.close()
    await run.handle.result()
    await _save(client, run, "etl-published")


async def etl_grouped(settings: Settings, client: Client) -> None:
    """Group all rows, pause and resume in the middle, continue as a new run."""
    steps = [EtlStep(aggregate=Aggregation(group_by=["customer"], columns={"n": "count(*)"}))]
    targets = [Target(kind="clickhouse", table="etl_grouped", mode="merge", key=["customer"])]
    await fill_orders(settings, "etl_grouped_source", ROWS)
    run = EtlOnStack(settings, _spec("etl-grouped", transform=steps, targets=targets))
    await run.start(history_events=60)
    await run.until(lambda status: status.chunks_done >= 2)
    await run.handle.signal("pause")
    await run.until(lambda status: status.state == "paused")
    await run.handle.signal("resume")
    await run.handle.result()
    await _save(client, run, "etl-grouped")


async def etl_blocked(settings: Settings, client: Client) -> None:
    """Be held back by the gate, after a snapshot."""
    gate = [Check(check="sql", expression="sum(amount) < 0")]
    source = PostgresSource(table="etl_blocked_source", consistency="snapshot")
    await fill_orders(settings, "etl_blocked_source", ROWS)
    run = EtlOnStack(settings, _spec("etl-blocked", gate=gate, source=source))
    await run.start()
    await run.handle.result()
    await _save(client, run, "etl-blocked")


async def etl_undone(settings: Settings, client: Client) -> None:
    """Fail at the first publication: a key is null."""
    targets = [Target(kind="clickhouse", table="etl_undone", mode="merge", key=["status"])]
    await fill_orders(settings, "etl_undone_source", ROWS)
    run = EtlOnStack(settings, _spec("etl-undone", targets=targets))
    await run.start()
    try:
        await run.handle.result()
    except WorkflowFailureError:
        await _save(client, run, "etl-undone")


async def etl_cancelled(settings: Settings, client: Client) -> None:
    """Be cancelled in the middle."""
    await fill_orders(settings, "etl_cancelled_source", ROWS)
    run = EtlOnStack(settings, _spec("etl-cancelled"))
    await run.start()
    await run.until(lambda status: status.chunks_done >= 1)
    await run.handle.cancel()
    try:
        await run.handle.result()
    except (WorkflowFailureError, asyncio.CancelledError):
        await _save(client, run, "etl-cancelled")


SCENARIOS: dict[str, Callable[[Settings, Client], Awaitable[None]]] = {
    one.__name__: one
    for one in (etl_published, etl_grouped, etl_blocked, etl_undone, etl_cancelled)
}
