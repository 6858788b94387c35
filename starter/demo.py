"""`sluice demo`: two data sets streamed end to end, shown, and checked against another way."""

from typing import TYPE_CHECKING, Annotated

import typer

from starter.output import command_app, say

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from common.settings import Settings
    from pipelines.stream import StreamSpec

DIFFERENT = 7

app = command_app("Stream two data sets end to end and check the result.")


@app.command()
def demo(
    events: Annotated[int, typer.Option(min=1, help="Sales events to make.")] = 2_000_000,
) -> None:
    """Start the stack, stream real flights and made-up sales, show and check the results.

    Both go into both sinks. Run again, it reuses everything that is there. The same can be done by
    hand: each step is printed as the command that does it.

    Example: sluice demo
    """
    import asyncio

    from common.settings_load import load_settings

    _step("up")
    settings = load_settings()
    if asyncio.run(_record_count(settings, "flights")) == 0:
        _step("generate", "flights")
    if asyncio.run(_record_count(settings, "sales")) == 0:
        _step("generate", "sales", "--events", str(events), "--seed", "1", "--malformed", "0.005")
    for name in ("flights-1h", "sales-1m"):
        _step("stream", "start", name, "--until", "latest", "--wait")
        _step("stream", "results", name, "--limit", "8")
    say("\nEvery row of both final views against polars over the raw records, in both sinks:")
    different = asyncio.run(_check_all(settings))
    _step("ps")
    if different:
        say(f"\n{different:,} rows differ; please report this with the lines above")
        raise typer.Exit(DIFFERENT)
    say(
        "\nNo row differs. Histories and retries are in the Temporal Web UI, "
        "at the address of temporal-ui above."
    )
    say(
        "Try `sluice stream status sales-1m`, or write a stream of your own (README). "
        "`sluice down` stops it all."
    )


def _step(*arguments: str) -> None:
    """Print a command and run it; an exit code other than 0 ends the demo with the same one."""
    from starter.main import run

    say(f"\n$ sluice {' '.join(arguments)}")
    if code := run(list(arguments)):
        raise typer.Exit(code)


async def _record_count(settings: "Settings", topic: str) -> int:
    from common.errors import TopicMissingError
    from connectors.kafka import KafkaLog

    log = KafkaLog(settings.kafka, "sluice-demo")
    try:
        return sum((await log.describe(topic)).end.values())
    except TopicMissingError:
        return 0
    finally:
        await log.close()


async def _check_all(settings: "Settings") -> int:
    from starter.demo_expected import expected_flights, expected_sales

    different = await _check(settings, "flights-1h", expected_flights)
    return different + await _check(settings, "sales-1m", expected_sales)


async def _check(
    settings: "Settings", name: str, expect: "Callable[[list[bytes | None]], pl.DataFrame]"
) -> int:
    """Compare each sink's final view with what the raw records come to; count rows that differ."""
    import polars as pl

    from connectors.sinks import open_sink
    from pipelines.load import find_pipeline, load_stream
    from starter.compare import compare

    spec = load_stream(find_pipeline(name, settings.project_dir))
    expected = expect(await _raw_values(settings, spec))
    different = 0
    for target in spec.sinks:
        sink = open_sink(target.kind, settings)
        try:
            table = pl.DataFrame(await sink.final_rows(target.table))
        finally:
            await sink.close()
        found = compare(expected, table, ["window_start", *spec.group_by])
        verdict = "equal" if not found.different_rows else f"{found.different_rows:,} DIFFER"
        rows = f"{found.found_rows:,} rows, expected {found.expected_rows:,}"
        say(f"  {name:<11} {target.kind:<12} {rows}: {verdict}")
        for example in found.examples:
            say(f"    {example}")
        different += found.different_rows
    return different


async def _raw_values(settings: "Settings", spec: "StreamSpec") -> list[bytes | None]:
    from connectors.kafka import KafkaLog
    from connectors.kafka_consumer import consume

    log = KafkaLog(settings.kafka, "sluice-demo")
    try:
        ends = (await log.describe(spec.topic)).end
    finally:
        await log.close()
    values: list[bytes | None] = []
    async for part in consume(settings.kafka, spec.topic, ends):
        values += [record.value for record in part]
    return values
