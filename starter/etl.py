"""`sluice etl`: runs ETL pipelines, watches and steers their runs."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from starter.call import pipeline_file, project_settings, run_calls, seconds
from starter.output import Output, OutputFormat, command_app, print_json, say, show

if TYPE_CHECKING:
    from activities.etl_history import RunRecord
    from common.settings import Settings
    from pipelines.data_interval import DataInterval
    from pipelines.etl import EtlSpec
    from starter.etl_client import EtlClient, EtlRun

app = command_app(
    """Run ETL pipelines, watch and steer their runs.

    Example: sluice etl run orders-daily --interval 2026-05-01/2026-05-02 --wait
    """
)

Name = Annotated[str, typer.Argument(help="Name of a pipeline, or path of its file.")]
Interval = Annotated[
    str | None,
    typer.Option(help="Data interval START/END, such as 2026-05-01/2026-05-02."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Watch until it is done.")]
Timeout = Annotated[
    str | None,
    typer.Option(help="Longest wait, such as 5m; the run goes on after it (exit code 6)."),
]

BLOCKED = 3


@app.command()
def run(
    name: Name,
    interval: Interval = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; nothing is written.")
    ] = False,
    forget_releases: Annotated[
        bool,
        typer.Option("--forget-releases", help="Reject again what was released from quarantine."),
    ] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Load a data interval: extract, check, and publish it to every target.

    The same interval again gives the same targets. Exit code 3 when the gate blocked it.

    Example: sluice etl run orders-daily --interval 2026-05-01/2026-05-02 --wait
    """
    settings = project_settings()
    spec = _load_spec(name, settings)
    span = _interval(spec, interval)
    if dry_run:
        from starter.etl_dry_run import dry_run as say_what_would_be

        asyncio.run(say_what_would_be(spec, span, settings, output))
        return
    from workflows.etl_input import EtlInput

    task = EtlInput(spec=spec, interval=span, forget_releases=forget_releases)
    timeout_s = seconds(timeout)

    async def act(client: "EtlClient") -> None:
        from starter.reference import freeze_etl_references

        frozen = await freeze_etl_references(spec, settings)
        started = await client.start(task.model_copy(update={"spec": frozen}))
        if wait:
            await _watch(client, started, timeout_s, output, settings)
            return
        web_ui = client.web_ui(started)
        if output is OutputFormat.JSON:
            print_json({"pipeline": spec.name, "state": "running", "web_ui": web_ui})
            return
        show(f"{spec.name}  {started.label}  started")
        show(f"  watch    sluice etl status {spec.name} --wait")
        show(f"  web UI   {web_ui}")

    _run(settings, act)


@app.command()
def status(
    name: Name,
    interval: Interval = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show where a run stands: that of an interval, or the newest one; --wait watches it.

    Example: sluice etl status orders-daily --interval 2026-05-01/2026-05-02 -o json
    """
    from starter.etl_view import print_status, print_status_json

    settings = project_settings()
    timeout_s = seconds(timeout)

    async def act(client: "EtlClient") -> None:
        found = await _find(client, name, interval, settings)
        if wait:
            await _watch(client, found, timeout_s, output, settings)
            return
        write = print_status_json if output is OutputFormat.JSON else print_status
        write(await client.status(found), client.web_ui(found))

    _run(settings, act)


@app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="PIPELINE/NUMBER, or PIPELINE for its newest run.")],
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show the record of a run: what it read, as which columns, and what each target took.

    Example: sluice etl show orders-daily/12 -o json
    """
    from starter.etl_view import print_record

    settings = project_settings()

    async def read() -> "RunRecord":
        from starter.run_name import find_run

        return await find_run(settings, run)

    record = asyncio.run(read())
    if output is OutputFormat.JSON:
        print_json(record.model_dump(mode="json"))
        return
    print_record(record)


@app.command()
def cancel(
    name: Name, interval: Interval = None, wait: Wait = False, timeout: Timeout = None
) -> None:
    """Undo a run that has published nothing yet; one that has is finished.

    Example: sluice etl cancel orders-daily --interval 2026-05-01/2026-05-02 --wait
    """
    settings = project_settings()
    timeout_s = seconds(timeout)

    async def act(client: "EtlClient") -> None:
        from starter.etl_client import EtlCancelledError

        found = await _find(client, name, interval, settings)
        await client.cancel(found)
        if not wait:
            say(f"{found.name}  {found.label}  cancel requested; see `sluice etl status {name}`")
            return
        try:
            await _watch(client, found, timeout_s, OutputFormat.TABLE, settings)
        except EtlCancelledError as ended:
            show(str(ended))

    _run(settings, act)


@app.command()
def pause(name: Name, interval: Interval = None) -> None:
    """Begin nothing more of a run until `resume`; what is under way is finished.

    Example: sluice etl pause orders-daily
    """
    _signal(name, interval, "pause")


@app.command()
def resume(name: Name, interval: Interval = None) -> None:
    """Go on with a run that was paused, or that waits for a person.

    Example: sluice etl resume orders-daily
    """
    _signal(name, interval, "resume")


async def run_released(
    settings: "Settings",
    record: "RunRecord",
    digests: list[str],
    row_count: int,
    *,
    wait: bool,
    output: OutputFormat,
) -> None:
    """Load the interval of a run again as it ran, with rows of its quarantine let through.

    What earlier releases of the interval let through is let through again.
    """
    import json

    from activities.etl_history import PipelineHistory
    from activities.etl_io import Release
    from common.names import etl_prefix
    from connectors.object_store import ObstoreStore
    from starter.etl_client import EtlClient
    from starter.reference import freeze_etl_references
    from workers.wiring import object_store_url
    from workflows.etl_input import EtlInput

    spec = record.spec
    store = ObstoreStore(object_store_url(settings), settings.object_store)
    prefix = f"{etl_prefix(spec.name)}/releases/{record.run:06d}"
    before = await PipelineHistory(store, spec.name).let_through(record.interval)
    earlier = json.loads(await store.get(before.contents)) if before is not None else []
    together = json.dumps(sorted({*digests, *earlier})).encode()
    contents = await store.put(prefix, together, "json")
    count = row_count + (before.row_count if before is not None else 0)
    release = Release(run=record.run, contents=contents, row_count=count)
    client = await EtlClient.open(settings)
    spec = await freeze_etl_references(spec, settings)
    started = await client.start(EtlInput(spec=spec, interval=record.interval, release=release))
    if wait:
        await _watch(client, started, None, output, settings)
        return
    show(f"{spec.name}  {started.label}  releases {row_count:,} rows of run {record.run}")
    show(f"  watch    sluice etl status {spec.name} --wait")


def _signal(name: str, interval: str | None, signal: str) -> None:
    settings = project_settings()

    async def act(client: "EtlClient") -> None:
        found = await _find(client, name, interval, settings)
        await client.signal(found, signal)
        say(f"{found.name}  {found.label}  {signal} requested; see `sluice etl status {name}`")

    _run(settings, act)


async def _watch(
    client: "EtlClient",
    run: "EtlRun",
    timeout_s: float | None,
    output: OutputFormat,
    settings: "Settings",
) -> None:
    """Watch a run to its end and print it; exit code 3 when the gate blocked it."""
    from starter.etl_view import print_result, result_json
    from starter.etl_watch import save_pages, wait_for_end

    result = await wait_for_end(client, run, timeout_s)
    pages = await save_pages(settings, run.name, result)
    if output is OutputFormat.JSON:
        print_json({**result_json(run.name, result, client.web_ui(run)), **asdict(pages)})
    else:
        print_result(run.name, result, client.web_ui(run), pages)
    if result.state == "blocked":
        raise typer.Exit(BLOCKED)
    if not result.ledger.balanced:
        raise typer.Exit(1)


async def _find(
    client: "EtlClient", name: str, interval: str | None, settings: "Settings"
) -> "EtlRun":
    from common.errors import UsageError

    spec = _load_spec(name, settings)
    span = _interval(spec, interval) if interval is not None else None
    label = span.label if span is not None else None
    found = await client.find(spec.name, label)
    if found is None:
        which = f" of {interval}" if interval else ""
        raise UsageError(
            f"etl `{spec.name}`: expected a run{which}, got none; start it with "
            f"`sluice etl run {name}`"
        )
    return found


def _interval(spec: "EtlSpec", text: str | None) -> "DataInterval | None":
    """Read the data interval of a run; a pipeline has intervals or it has none."""
    from common.errors import UsageError
    from pipelines.data_interval import check_period, parse_interval

    if spec.interval_ms is None:
        if text is not None:
            raise UsageError(
                f"etl `{spec.name}`: expected no `--interval`, since its file has no `interval`; "
                "leave it out, or give the file one"
            )
        return None
    if text is None:
        raise UsageError(
            f"etl `{spec.name}`: expected `--interval START/END`, such as 2026-05-01/2026-05-02, "
            "got none"
        )
    interval = parse_interval(text, spec.timezone)
    check_period(interval, spec.interval_ms, spec.timezone)
    return interval


def _run(settings: "Settings", action: "Callable[[EtlClient], Awaitable[None]]") -> None:
    """Connect and act."""
    from starter.etl_client import EtlClient

    async def connected() -> None:
        await action(await EtlClient.open(settings))

    run_calls(connected())


def _load_spec(name: str, settings: "Settings") -> "EtlSpec":
    from pipelines.load import load_etl

    return load_etl(pipeline_file(name, settings))
