"""What a run would do: schema changes, chunks, and what every target would execute."""

import time

from activities.etl_history import PipelineHistory
from activities.etl_prepare import Prepared, pin, preflight, reading
from batch.chunk import Chunk, Settled
from common.settings import Settings
from connectors.object_store import ObstoreStore
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec
from starter.output import OutputFormat, print_json, show
from workers.wiring import object_store_url, open_clients

MOST_SHOWN = 40


async def dry_run(
    spec: EtlSpec, interval: DataInterval | None, settings: Settings, output: OutputFormat
) -> None:
    """Look at source and targets as a run would, and print what it would do; nothing is written."""
    clients = open_clients(settings)
    store = ObstoreStore(object_store_url(settings), settings.object_store)
    source = clients.source(spec, interval)
    try:
        history = PipelineHistory(store, spec.name)
        last = await history.last_published()
        run = await pin(
            spec, source, last, run=await history.next_number(), owner="dry-run",
            now_us=time.time_ns() // 1_000, interval=interval,
        )  # fmt: skip
        plans = await preflight(run, clients.target)
        settled = await source.settle(run.window, None)
        chunks = await source.plan(reading(run), settled.window, spec.limits.chunk_rows)
    finally:
        await source.close()
        await clients.close()
    prepared = Prepared(run, plans)
    write = _print_json if output is OutputFormat.JSON else _print
    write(prepared, settled, chunks)


def _print(prepared: Prepared, settled: Settled, chunks: list[Chunk]) -> None:
    run = prepared.run
    rows = sum(chunk.row_estimate for chunk in chunks)
    show(f"{run.spec.name}  {run.slot}  dry run, nothing is written")
    changes = run.decision.changes
    for change in changes:
        show(f"  schema   {change} (on_schema_change: {run.spec.on_schema_change})")
    if not changes:
        show("  schema   no change")
    for note in run.source.notes:
        show(f"  source   {note}")
    for label in settled.open_transactions:
        show(f"  waits    for the transaction of {label}")
    show(f"  chunks   {len(chunks):,}, about {rows:,} rows")
    for chunk in chunks[:MOST_SHOWN]:
        show(f"    {chunk.number:>5}  {chunk.label}  about {chunk.row_estimate:,} rows")
    if len(chunks) > MOST_SHOWN:
        show(f"           and {len(chunks) - MOST_SHOWN:,} more; `-o json` has them all")
    for name, plan in prepared.plans.items():
        show(f"  target   {name}")
        for statement in plan.statements:
            show(f"    {statement}")
        for note in plan.notes:
            show(f"    note: {note}")


def _print_json(prepared: Prepared, settled: Settled, chunks: list[Chunk]) -> None:
    run = prepared.run
    print_json(
        {
            "pipeline": run.spec.name,
            "slot": run.slot,
            "schema_changes": run.decision.changes,
            "columns": run.types,
            "window": settled.window.model_dump(mode="json"),
            "open_transactions": settled.open_transactions,
            "chunks": [chunk.model_dump(mode="json") for chunk in chunks],
            "targets": {
                name: {"statements": plan.statements, "notes": plan.notes}
                for name, plan in prepared.plans.items()
            },
        }
    )
