"""`sluice sweep`: deletes what pipelines left behind and nothing can reach any more."""

from typing import TYPE_CHECKING, Annotated

import typer

from starter.output import Output, OutputFormat, command_app, print_json, print_table, say

if TYPE_CHECKING:
    from activities.etl_io import PinnedRun
    from activities.sweep import Swept
    from common.settings import Settings
    from workers.wiring import Clients

app = command_app(
    """Delete what pipelines left behind and nothing can reach any more.

    Example: sluice sweep --dry-run
    """
)


@app.command()
def sweep(
    pipeline: Annotated[
        str | None,
        typer.Argument(help="Name of a stream or an ETL pipeline; all of them when left out"),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Find it, delete nothing")] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Delete what pipelines left behind and nothing can reach any more.

    Of streams and ETL runs: working objects of runs that were terminated, of attempts and merges
    that were given up, once no history that Temporal still has names them; staging of such runs.
    Of ETL runs that ended: raw rows and records after the days of section `retention`. Pipelines
    may run meanwhile. Run it daily. Exit code 5 when a target kept its staging.

    Example: sluice sweep --dry-run
    """
    import asyncio

    from common.settings_load import load_settings

    found = asyncio.run(_sweep(load_settings(), pipeline, dry_run=dry_run))
    rows = [
        (one.pipeline, one.kind, len(one.objects), sum(o.size_bytes for o in one.objects), one.kept)
        for one in found
    ]
    names = ("pipeline", "kind", "objects", "bytes", "kept")
    if output is OutputFormat.JSON:
        told = [dict(zip(names, row, strict=True)) for row in rows]
        keys = [{"keys": [o.key for o in one.objects], "trouble": one.trouble} for one in found]
        print_json([left | right for left, right in zip(told, keys, strict=True)])
    else:
        print_table(names, rows)
        say("nothing was deleted" if dry_run else f"{sum(row[2] for row in rows)} objects deleted")
    trouble = [line for one in found for line in one.trouble]
    for line in trouble:
        say(line)
    if trouble:
        raise typer.Exit(5)


async def _sweep(settings: "Settings", pipeline: str | None, *, dry_run: bool) -> "list[Swept]":
    import time

    from activities import sweep as streams
    from activities.etl_sweep import EtlSweep, KeptFor, etl_pipelines
    from common.errors import UnknownNameError
    from common.near_miss import near_miss
    from connectors.temporal import connect
    from connectors.temporal_run import TemporalRuns
    from workers.wiring import open_clients

    clients = open_clients(settings)
    try:
        names = {"stream": await streams.streams(clients.store)}
        names["etl"] = await etl_pipelines(clients.store)
        known = [*names["stream"], *names["etl"]]
        if pipeline is not None and pipeline not in known:
            raise UnknownNameError(
                f"pipeline `{pipeline}`: expected one that has objects in {clients.store.url}, got "
                f"none{near_miss(pipeline, known)}; `sluice sweep --dry-run` lists them"
            )
        runs = TemporalRuns(await connect(settings.temporal))
        kept_for = KeptFor(settings.retention.raw_days, settings.retention.record_days)
        etl = EtlSweep(clients.store, clients.lake, runs, _discarding(clients), kept_for)
        now_ms = time.time_ns() // 1_000_000
        chosen = {kind: [n for n in names[kind] if pipeline in (None, n)] for kind in names}
        return [
            *[
                await streams.sweep(clients.store, runs, name, now_ms, dry_run=dry_run)
                for name in chosen["stream"]
            ],
            *[await etl.sweep(name, now_ms, dry_run=dry_run) for name in chosen["etl"]],
        ]
    finally:
        await clients.close()


def _discarding(clients: "Clients"):  # type: ignore[no-untyped-def] # noqa: ANN202 - its import is heavy
    from activities.etl_table import batch_table

    async def discard(run: "PinnedRun") -> None:
        for target in run.spec.targets:
            await clients.target(target).discard(batch_table(run, target))

    return discard
