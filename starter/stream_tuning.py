"""`sluice stream configure | scale`: operational options of a running stream."""

from typing import TYPE_CHECKING, Annotated

import typer

from starter.output import Output, OutputFormat, print_json, show

if TYPE_CHECKING:
    from starter.stream_client import StreamClient
    from streaming.tuning import Operation, TuningChange

Name = Annotated[str, typer.Argument(help="Name of a pipeline, or path of its file.")]

_RESULT_OPTIONS = (
    "source", "fields", "event_time", "out_of_orderness", "idle_timeout", "max_ahead", "max_drift",
    "close_after", "where", "derive", "flat_map", "group_by", "window", "tumbling", "sliding",
    "session", "aggregate", "late", "allowed", "emit", "sinks", "deduplicate",
)  # fmt: skip
"""Options of a stream file that change its results, as somebody may write them here."""

UNKNOWN = {"ignore_unknown_options": True, "allow_extra_args": True}
"""So that an option which changes results is refused with what to do instead."""


def configure(
    context: typer.Context,
    name: Name,
    interval: Annotated[
        str | None, typer.Option(help="How often a range is cut, such as 500ms.")
    ] = None,
    max_records: Annotated[
        int | None, typer.Option(help="Records that cut a range at once.")
    ] = None,
    parallelism: Annotated[int | None, typer.Option(help="Whole ranges in flight.")] = None,
    max_pending_flushes: Annotated[
        int | None, typer.Option(help="Flushes that wait before reading is held back.")
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Go back to the options of the file.")
    ] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Change a running stream's operational options; results stay the same.

    The change holds until it is changed again, also after a stop and a start.

    Example: sluice stream configure sales-1m --interval 500ms --max-records 50000
    """
    from common.duration import parse_duration
    from streaming.tuning import Tuning, TuningChange

    _refuse(context.args)
    tuning = Tuning(
        interval_ms=None if interval is None else parse_duration(interval),
        max_records=max_records,
        parallelism=parallelism,
        max_pending_flushes=max_pending_flushes,
    )
    _configure(name, TuningChange(change=tuning, reset=reset), output)


def scale(
    name: Name,
    parallelism: Annotated[int, typer.Argument(help="Whole ranges in flight.")],
    output: Output = OutputFormat.TABLE,
) -> None:
    """Change how many whole ranges of a stream are in flight; results stay the same.

    How many worker processes there are is changed by `sluice scale`.

    Example: sluice stream scale sales-1m 16
    """
    from streaming.tuning import Tuning, TuningChange

    _configure(name, TuningChange(change=Tuning(parallelism=parallelism)), output)


def _refuse(unknown: list[str]) -> None:
    """Refuse what is no operational option. Raises `UsageError`."""
    from common.errors import UsageError

    if not unknown:
        return
    option = unknown[0].split("=", 1)[0]
    if option.lstrip("-").replace("-", "_").split(".")[0] in _RESULT_OPTIONS:
        raise UsageError(
            f"`{option}`: expected an operational option, got one that changes results; change "
            "the file, then compute everything again with `sluice stream start NAME --fresh`"
        )
    raise UsageError(
        f"`{option}`: expected --interval, --max-records, --parallelism, --max-pending-flushes or "
        "--reset; nothing was changed"
    )


def _configure(name: str, change: "TuningChange", output: OutputFormat) -> None:
    from common.errors import UsageError
    from starter.stream import find_stream, run_with_client
    from streaming.tuning import Operation, refusal

    if (reason := refusal(change)) is not None:
        raise UsageError(reason)

    async def run(client: "StreamClient") -> None:
        found = await find_stream(client, name)
        now = await client.update(found, "configure", change, Operation)
        if output is OutputFormat.JSON:
            print_json(now.model_dump())
        else:
            show(f"{found.name}  {operation_line(now)}")

    run_with_client(run)


def operation_line(operation: "Operation") -> str:
    """Write the options in force in one line."""
    from common.duration import format_duration

    parts = [
        f"interval {format_duration(operation.interval_ms)}",
        f"max records {operation.max_records:,}",
        f"parallelism {operation.parallelism}",
        f"max pending flushes {operation.max_pending_flushes}",
    ]
    names = [one.removesuffix("_ms").replace("_", " ") for one in operation.configured]
    return ", ".join(parts) + (f"  (configured: {', '.join(names)})" if names else "")
