"""`sluice up | down | ps | logs | doctor`: the embedded stack of a project."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from common.settings import Settings

app = typer.Typer(
    help="Start, stop and look at the stack.", no_args_is_help=True, rich_markup_mode=None,
    add_completion=False,
)  # fmt: skip


class Output(StrEnum):
    """How a list is printed."""

    table = "table"
    json = "json"


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="table or json")]


def _load() -> "Settings":
    from common.settings_load import load_settings

    return load_settings()


@app.command("up")
def up(
    workers: Annotated[bool, typer.Option(help="Also run the worker processes")] = True,
    output: OutputOption = Output.table,
) -> None:
    """Start what is not running yet, wait until it answers, and show the addresses.

    Services that the settings point elsewhere are not started. Ports and data stay the same from
    start to start.

    Example: sluice up
    """
    from devstack import stack
    from starter.stack_view import follow, print_services, troubles

    settings = _load()
    with follow("starting the stack") as tell:
        stack.up(settings, workers=workers, on_progress=tell)
    found = stack.services(settings)
    print_services(found, as_json=output is Output.json)
    wrong = troubles(found)
    for line in wrong:
        typer.echo(line, err=True)
    if wrong:
        raise typer.Exit(1)


@app.command("down")
def down(
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also delete what the services stored")
    ] = False,
) -> None:
    """Stop the workers and the services, and wait until no process is left; the data stays.

    Example: sluice down
    """
    from devstack import stack
    from starter.stack_view import follow

    settings = _load()
    with follow("stopping the stack") as tell:
        stack.down(settings, delete_data=delete_data, on_progress=tell)
    typer.echo("the stack is down" + (" and its data deleted" if delete_data else ""), err=True)


@app.command("scale")
def scale(
    processes: Annotated[int, typer.Argument(help="Compute worker processes to have")],
) -> None:
    """Change how many compute worker processes the running stack has.

    A worker that goes finishes what it holds first. The number holds until `sluice down`; the
    setting `worker.processes` says what `sluice up` begins with.

    Example: sluice scale 8
    """
    from devstack import stack
    from starter.stack_view import follow

    settings = _load()
    with follow(f"changing to {processes} compute workers") as tell:
        stack.scale(settings, processes, on_progress=tell)
    typer.echo(f"{processes} compute workers run", err=True)


@app.command("ps")
def ps(output: OutputOption = Output.table) -> None:
    """Show every service and worker with state, address, process, restarts and uptime.

    Example: sluice ps -o json
    """
    from devstack import stack
    from starter.stack_view import print_services

    settings = _load()
    found = stack.services(settings)
    if not found and output is Output.table:
        typer.echo("no stack was started here; `sluice up` starts one", err=True)
        return
    print_services(found, as_json=output is Output.json)
    if warning := stack.space_warning(settings.data_dir):
        typer.echo(warning, err=True)


@app.command("logs")
def logs(
    service: Annotated[
        str | None, typer.Argument(help="Service or worker; all of them when left out")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Wait for more")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Last lines of each")] = 50,
) -> None:
    """Show what the services wrote.

    Example: sluice logs kafka -n 100 -f
    """
    from starter.stack_log import show_logs

    show_logs(_load().data_dir / "logs", service, follow=follow, count=lines)


@app.command("doctor")
def doctor(output: OutputOption = Output.table) -> None:
    """Check this machine and the stack, and say what to do.

    The exit code is 1 when something that is needed is wrong.

    Example: sluice doctor
    """
    import json
    from dataclasses import asdict

    from devstack.doctor import examine

    findings = examine(_load())
    if output is Output.json:
        typer.echo(json.dumps([{**asdict(one), "ok": one.ok} for one in findings], indent=2))
    else:
        width = max(len(one.check) for one in findings)
        for one in findings:
            mark = "ok  " if one.ok else "FAIL" if one.required else "warn"
            typer.echo(f"{mark}  {one.check:<{width}}  {one.found}")
            if one.advice:
                typer.echo(f"      {'':<{width}}  -> {one.advice}")
    if any(one.required and not one.ok for one in findings):
        raise typer.Exit(1)
