"""`sluice stream`: starts streams, watches and steers them, and shows their results."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from starter import stream_tuning
from starter.call import pipeline_file, project_settings, run_calls, seconds
from starter.output import Output, OutputFormat, command_app, print_json, say, show

if TYPE_CHECKING:
    from common.settings import Settings
    from pipelines.stream import SinkSpec, StreamSpec
    from starter.stream_client import StreamClient, StreamRun

T = TypeVar("T")

app = command_app(
    """Start, watch and steer streams.

    Example: sluice stream start sales-1m --until latest --wait
    """
)

Name = Annotated[str, typer.Argument(help="Name of a pipeline, or path of its file.")]
Wait = Annotated[bool, typer.Option("--wait", help="Watch until it is done.")]
AcceptLoss = Annotated[
    bool,
    typer.Option(
        "--accept-loss",
        help="Go on without records that the topic no longer has; they are counted.",
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(help="Longest wait, such as 5m; the run goes on after it (exit code 6)."),
]

app.command(context_settings=stream_tuning.UNKNOWN)(stream_tuning.configure)
app.command()(stream_tuning.scale)


class RowFormat(StrEnum):
    """Form of printed rows."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class SinkKind(StrEnum):
    """Where results can be read."""

    CLICKHOUSE = "clickhouse"
    TIMESCALEDB = "timescaledb"
    POSTGRES = "postgres"
    KAFKA = "kafka"
    LAKE = "lake"


@app.command()
def start(
    name: Name,
    until: Annotated[
        str | None,
        typer.Option(help="End of a bounded run: latest, a time, or offsets such as 0=1500,1=900."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin a new epoch instead of going on.")
    ] = False,
    begin: Annotated[
        str, typer.Option("--from", help="Where a new epoch begins: earliest, latest or a time.")
    ] = "earliest",
    rewind_to: Annotated[
        str | None,
        typer.Option(help="Go on from a time, or from offsets such as 0=1500,1=900."),
    ] = None,
    accept_loss: AcceptLoss = False,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Start a stream; it goes on from where its last run ended.

    Example: sluice stream start sales-1m --until latest --wait
    """
    from common.errors import UsageError
    from pipelines.load import find_pipeline
    from starter.reference import freeze_references
    from starter.stream_target import parse_from, parse_rewind, parse_until
    from workflows.stream_input import StreamInput

    if fresh and rewind_to is not None:
        raise UsageError(
            "`start`: expected `--fresh` or `--rewind-to`, got both; a fresh start has no state "
            "to turn back"
        )
    settings = project_settings()
    spec = _load_spec(name, settings)
    task = StreamInput(
        spec=spec,
        fresh=fresh,
        begin=parse_from(begin),
        rewind=None if rewind_to is None else parse_rewind(rewind_to),
        accept_loss=accept_loss,
        until=None if until is None else parse_until(until),
    )
    timeout_s = seconds(timeout)

    async def run(client: "StreamClient") -> None:
        await freeze_references(spec, find_pipeline(name, settings.project_dir), settings)
        started = await client.start(task)
        if wait:
            await _watch(client, started, timeout_s, output)
            return
        web_ui = client.web_ui(spec.name)
        if output is OutputFormat.JSON:
            print_json({"pipeline": spec.name, "state": "starting", "web_ui": web_ui})
            return
        show(f"{spec.name}  started")
        show(f"  watch    sluice stream status {spec.name} --wait")
        show(f"  web UI   {web_ui}")

    _run(settings, run)


@app.command()
def status(
    name: Name,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show where a stream stands; with --wait watch it until it ends.

    Example: sluice stream status sales-1m -o json
    """
    from starter.stream_view import print_status, print_status_json

    settings = project_settings()
    stream, timeout_s = _stream_name(name, settings), seconds(timeout)

    async def run(client: "StreamClient") -> None:
        found = await _find(client, stream, settings)
        if wait:
            await _watch(client, found, timeout_s, output)
            return
        write = print_status_json if output is OutputFormat.JSON else print_status
        write(await client.status(found), client.web_ui(stream))

    _run(settings, run)


@app.command()
def pause(
    name: Name,
    wait: Wait = False,
    timeout: Timeout = None,
) -> None:
    """Read nothing more until `resume`; what was read is finished and flushed.

    Example: sluice stream pause sales-1m --wait
    """
    _steer(name, "pause", {"paused"}, wait=wait, timeout=timeout)


@app.command()
def resume(
    name: Name,
    accept_loss: AcceptLoss = False,
    wait: Wait = False,
    timeout: Timeout = None,
) -> None:
    """Go on exactly where the stream paused.

    When records were deleted before they were read, or the topic was made anew, it pauses again;
    with --accept-loss it goes on with what the topic has now, and counts what is gone as skipped.

    Example: sluice stream resume sales-1m
    """
    signal = "accept_loss" if accept_loss else "resume"
    _steer(name, signal, {"running"}, wait=wait, timeout=timeout)


@app.command()
def drain(
    name: Name,
    wait: Wait = False,
    timeout: Timeout = None,
) -> None:
    """Take in no more, finish what is planned, save the state and end.

    Windows that are half full stay in the saved state; `start` goes on with them.

    Example: sluice stream drain sales-1m --wait
    """
    _steer(name, "drain", None, wait=wait, timeout=timeout)


@app.command()
def stop(
    name: Name,
    wait: Wait = False,
    timeout: Timeout = None,
) -> None:
    """Save the state at once and end; what was in flight is read again by the next start.

    Example: sluice stream stop sales-1m --wait
    """
    _steer(name, "stop", None, wait=wait, timeout=timeout)


@app.command()
def rewind(
    name: Name,
    to: Annotated[
        str | None, typer.Option(help="Time, such as 2026-05-01T00:00Z, to compute again from.")
    ] = None,
    to_offset: Annotated[
        str | None, typer.Option(help="Offsets, such as 0=1500,1=900, to compute again from.")
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Compute windows, or write events, again from a time or offsets on; a pause holds.

    Example: sluice stream rewind sales-1m --to 2026-05-01T00:00Z
    """
    from starter.stream_rewind import print_rewound, send_rewind
    from starter.stream_target import parse_rewind_options

    settings = project_settings()
    stream, wanted = _stream_name(name, settings), parse_rewind_options(to, to_offset)

    async def run(client: "StreamClient") -> None:
        found = await _find(client, stream, settings)
        print_rewound(stream, await send_rewind(client, found, wanted), output)

    _run(settings, run)


@app.command()
def results(
    name: Name,
    limit: Annotated[int, typer.Option(min=0, help="Most rows to show; 0 is all.")] = 20,
    sink: Annotated[
        SinkKind | None, typer.Option(help="Sink to read; by default the stream's first.")
    ] = None,
    output: Annotated[
        RowFormat, typer.Option("-o", "--output", help="Form of the output.")
    ] = RowFormat.TABLE,
) -> None:
    """Show the newest rows of a stream's final view: each window or event once, as it was last.

    Example: sluice stream results sales-1m --limit 20 --sink timescaledb
    """
    from activities.stream_sink import sink_table
    from common.errors import UnknownNameError
    from connectors.sinks import open_sink
    from starter.stream_view import print_rows

    settings = project_settings()
    spec = _load_spec(name, settings)
    kinds: dict[str, SinkSpec] = {}
    for one in spec.sinks:
        kinds.setdefault(one.kind, one)
    kind = spec.sinks[0].kind if sink is None else sink.value
    if kind not in kinds:
        raise UnknownNameError(
            f"sink `{kind}` of stream `{spec.name}`: expected one of {', '.join(kinds)}; "
            "correct `--sink`"
        )

    async def run() -> None:
        opened = open_sink(kind, settings)
        try:
            table = sink_table(spec, kinds[kind])
            rows = await opened.final_rows(table.name, limit or None, table.time)
        finally:
            await opened.close()
        print_rows(rows, output.value)

    asyncio.run(run())


def _steer(
    name: str, signal: str, states: set[str] | None, *, wait: bool, timeout: str | None
) -> None:
    """Send a signal; with `wait` until the stream is in one of `states`, or has ended if None."""
    from starter.stream_view import print_result
    from starter.stream_watch import wait_for_end, wait_for_state

    settings = project_settings()
    stream, timeout_s = _stream_name(name, settings), seconds(timeout)

    async def run(client: "StreamClient") -> None:
        found = await _find(client, stream, settings)
        await client.signal(found, signal)
        if not wait:
            say(f"{stream}  {signal} requested; see `sluice stream status {stream}`")
        elif states is None:
            result = await wait_for_end(client, found, timeout_s)
            print_result(stream, result, client.web_ui(stream))
        else:
            reached = await wait_for_state(client, found, states, timeout_s)
            show(f"{stream}  {reached.state}")

    _run(settings, run)


async def _watch(
    client: "StreamClient", run: "StreamRun", timeout_s: float | None, output: OutputFormat
) -> None:
    """Watch a stream to its end and print it; exit code 1 when its ledger does not balance."""
    from starter.stream_view import print_result, print_result_json
    from starter.stream_watch import wait_for_end

    result = await wait_for_end(client, run, timeout_s)
    write = print_result_json if output is OutputFormat.JSON else print_result
    write(run.name, result, client.web_ui(run.name))
    if not result.ledger.balanced:
        raise typer.Exit(1)


async def _find(client: "StreamClient", name: str, settings: "Settings") -> "StreamRun":
    from common.errors import UsageError
    from pipelines.load import find_pipeline

    run = await client.find(name)
    if run is None:
        find_pipeline(name, settings.project_dir)  # an unknown name is told with its near miss
        raise UsageError(
            f"stream `{name}`: expected one that was started, got none; "
            f"start it with `sluice stream start {name}`"
        )
    return run


async def find_stream(client: "StreamClient", name: str) -> "StreamRun":
    """Find the last run of a stream that was given by name or path.

    Raises:
        UsageError: It was never started.
        UnknownNameError: There is no pipeline of that name.
    """
    settings = project_settings()
    return await _find(client, _stream_name(name, settings), settings)


def run_with_client(action: "Callable[[StreamClient], Awaitable[None]]") -> None:
    """Connect and act, with the exit codes of every stream command."""
    _run(project_settings(), action)


def _run(settings: "Settings", action: "Callable[[StreamClient], Awaitable[None]]") -> None:
    """Connect and act."""
    from starter.stream_client import StreamClient

    async def connected() -> None:
        await action(await StreamClient.open(settings))

    run_calls(connected())


def _load_spec(name: str, settings: "Settings") -> "StreamSpec":
    from pipelines.load import load_stream

    return load_stream(pipeline_file(name, settings))


def _stream_name(name: str, settings: "Settings") -> str:
    """Give the name of a stream that was given by name or path."""
    is_path = name.endswith((".yaml", ".yml")) or "/" in name
    return _load_spec(name, settings).name if is_path else name
