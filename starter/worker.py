"""`sluice worker`: runs worker processes in the foreground."""

import os
from typing import Annotated

import typer

from starter.output import command_app

app = command_app(
    """Run worker processes in the foreground.

    Example: sluice worker --queues stream-compute,etl-compute --processes 4
    """
)


@app.command()
def worker(
    queues: Annotated[
        str, typer.Option(help="Task queues, separated by commas.")
    ] = "stream,stream-compute,etl,etl-compute",
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes for each compute queue; by default one per core."),
    ] = None,
) -> None:
    """Run worker processes until Ctrl-C or SIGTERM, and start again what crashes.

    Every queue gets processes of its own: a compute queue as many as --processes says, the others
    one (they get --processes too where no compute queue is named). On Ctrl-C each finishes or hands
    back what it holds; a second Ctrl-C ends them at once.

    Example: sluice worker --queues stream-compute,etl-compute --processes 4
    """
    import asyncio

    from common.settings_load import load_settings
    from starter.worker_process import plan_processes, supervise

    settings = load_settings()
    count = processes or settings.worker.processes
    plans = plan_processes(queues, count, _processors(), os.getpid())
    raise typer.Exit(asyncio.run(supervise(plans, settings)))


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
