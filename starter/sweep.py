"""`sluice sweep`: deletes working objects of streams that nothing can reach any more."""

from typing import TYPE_CHECKING, Annotated

import typer

from starter.output import Output, OutputFormat, command_app, print_json, print_table, say

if TYPE_CHECKING:
    from activities.sweep import Swept
    from common.settings import Settings

app = command_app(
    """Delete working objects of streams that nothing can reach any more.

    Example: sluice sweep --dry-run
    """
)


@app.command()
def sweep(
    stream: Annotated[
        str | None, typer.Argument(help="Name of a stream; all of them when left out")
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Find them, delete nothing")] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Delete working objects of streams that nothing can reach any more.

    Those of runs that were terminated, of attempts and merges that were given up. An object goes
    when its writer is closed, it is older than the namespace's retention, and neither a history
    that Temporal still has nor a saved state names it. Streams may run meanwhile. Run it daily.

    Example: sluice sweep --dry-run
    """
    import asyncio

    from common.settings_load import load_settings

    found = asyncio.run(_sweep(load_settings(), stream, dry_run=dry_run))
    rows = [
        (one.stream, len(one.objects), sum(o.size_bytes for o in one.objects), one.kept)
        for one in found
    ]
    names = ("stream", "objects", "bytes", "kept")
    if output is OutputFormat.JSON:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    print_table(names, rows)
    say("nothing was deleted" if dry_run else f"{sum(row[1] for row in rows)} objects deleted")


async def _sweep(settings: "Settings", stream: str | None, *, dry_run: bool) -> "list[Swept]":
    import time

    from activities import sweep as sweeping
    from common.errors import UnknownNameError
    from common.near_miss import near_miss
    from connectors.object_store import ObstoreStore
    from connectors.temporal import connect
    from connectors.temporal_run import TemporalRuns
    from workers.wiring import object_store_url

    store = ObstoreStore(object_store_url(settings), settings.object_store)
    runs = TemporalRuns(await connect(settings.temporal))
    names = await sweeping.streams(store)
    if stream is not None and stream not in names:
        raise UnknownNameError(
            f"stream `{stream}`: expected one that has objects in {store.url}, got none"
            f"{near_miss(stream, names)}; `sluice sweep --dry-run` lists them"
        )
    now_ms = time.time_ns() // 1_000_000
    chosen = names if stream is None else [stream]
    return [await sweeping.sweep(store, runs, name, now_ms, dry_run=dry_run) for name in chosen]
