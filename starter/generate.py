"""`sluice generate`: writes sample events to Kafka, and sample tables to PostgreSQL."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from starter.output import (
    Output,
    OutputFormat,
    command_app,
    format_rate,
    format_seconds,
    iso_time,
    print_json,
    say,
    show,
)

if TYPE_CHECKING:
    from starter.generate_tables import TableSummary
    from starter.generate_write import WriteSummary

PLAIN_INTERVAL_S = 2.0

app = command_app(
    """Write sample events to Kafka, and sample tables to PostgreSQL.

    Example: sluice generate sales --events 2000000 --seed 1
    """
)


@app.command()
def sales(
    events: Annotated[
        int, typer.Option(min=0, help="How many, malformed ones included.")
    ] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same events.")] = 1,
    rate: Annotated[float, typer.Option(help="Events per second of event time.")] = 100.0,
    disorder: Annotated[str, typer.Option(help="How far back an event time may lie.")] = "2s",
    malformed: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of broken records.")
    ] = 0.0,
    topic: Annotated[str, typer.Option(help="Made if it is missing.")] = "sales",
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Of a new topic; by default 4.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="Event time of the first event: ISO 8601 with zone, or `now`.")
    ] = "2026-01-01T00:00Z",
    customers: Annotated[int, typer.Option(min=1, help="How many customers buy.")] = 100_000,
    products: Annotated[int, typer.Option(min=1, help="How many products are sold.")] = 5_000,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the topic and its records first.")
    ] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Write made-up sales, keyed by customer, as JSON.

    The same seed gives the same events, whatever the machine. A second run appends; give it a later
    --start, or its events are late for a stream that has seen the first.

    Example: sluice generate sales --events 2000000 --seed 1 --malformed 0.005
    """
    import asyncio

    from common.duration import parse_duration, parse_time
    from common.settings_load import load_settings
    from devstack.sample.sales import SalesShape
    from starter.generate_write import topic_partitions, write_sales

    settings = load_settings()
    start_ms = time.time_ns() // 1_000_000 if start == "now" else parse_time(start)
    disorder_ms = parse_duration(disorder)

    async def run() -> "WriteSummary":
        count = partitions
        if count is None:
            count = 4 if fresh else await topic_partitions(settings.kafka, topic) or 4
        shape = SalesShape(
            events, seed, rate, disorder_ms, malformed, count, start_ms, customers, products, topic
        )
        with _progress(topic, events) as progress:
            return await write_sales(settings, shape, fresh=fresh, progress=progress)

    _print(asyncio.run(run()), output)


@app.command()
def flights(
    topic: Annotated[str, typer.Option(help="Made if it is missing.")] = "flights",
    partitions: Annotated[int, typer.Option(min=1, help="Of a new topic.")] = 3,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the topic and its records first.")
    ] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Write the 336,776 flights that left New York in 2013, keyed by carrier, as JSON.

    Example: sluice generate flights --fresh
    """
    import asyncio

    from common.settings_load import load_settings
    from starter.generate_write import FLIGHT_COUNT, write_flights

    settings = load_settings()

    async def run() -> "WriteSummary":
        with _progress(topic, FLIGHT_COUNT) as progress:
            return await write_flights(
                settings, topic=topic, partitions=partitions, fresh=fresh, progress=progress
            )

    _print(asyncio.run(run()), output)


@app.command()
def orders(
    rows: Annotated[int, typer.Option(min=0, help="Orders, dirty ones included.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same rows.")] = 1,
    days: Annotated[int, typer.Option(min=1, help="Days that their changes are spread over.")] = 7,
    start: Annotated[
        str, typer.Option(help="First day in Europe/Berlin, such as 2026-03-25.")
    ] = "2026-03-25",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Drop the tables and their rows first.")
    ] = False,
    connection: Annotated[
        str | None,
        typer.Option(help="A PostgreSQL of [connections]; left out: the one of the stack."),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Make the tables `customers`, `products` and `orders` in PostgreSQL, and fill them.

    The same seed gives the same rows, whatever the machine. Of any 1,000 orders in a row 28 are
    dirty, each in one way; 29 March 2026 has 23 hours.

    Example: sluice generate orders --rows 2000000 --connection shop
    """
    import asyncio

    from common.settings_load import load_settings
    from connectors.named_connection import postgres_dsn
    from devstack.sample.orders import OrdersShape
    from starter.generate_tables import write_orders

    dsn = postgres_dsn(connection, load_settings())
    shape = OrdersShape(rows, seed, days, _day(start))
    with _progress("orders", rows, "rows") as progress:
        summary = asyncio.run(write_orders(dsn, shape, fresh=fresh, progress=progress))
    _print_tables(summary, output)


@app.command(name="flights-files")
def flights_files(output: Output = OutputFormat.TABLE) -> None:
    """Write the flights of New York in 2013, their airlines, airports, planes and weather as CSV.

    They go to `sample/flights` in the folder of the stack's data, where the catalog's pipelines
    `flights-load-…` read them.

    Example: sluice generate flights-files
    """
    from common.settings_load import load_settings
    from starter.generate_tables import write_flight_files

    sizes = write_flight_files(load_settings().data_dir)
    if output is OutputFormat.JSON:
        print_json({str(path): size for path, size in sizes.items()})
        return
    for path, size in sizes.items():
        show(f"{path}  {size / 1e6:,.1f} MB")


def _day(text: str) -> date:
    from common.errors import UsageError

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"`--start`: expected a day such as 2026-03-25, got `{text}`") from None


@contextmanager
def _progress(topic: str, total: int, what: str = "events") -> Iterator[Callable[[int], None]]:
    """Show how far writing got: a bar on a terminal, else a line now and then, on stderr."""
    if not sys.stderr.isatty():
        yield _plain_progress(topic, total, what)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(topic, total=total)
        yield lambda done: bar.update(task, completed=done)


def _plain_progress(topic: str, total: int, what: str) -> Callable[[int], None]:
    began = last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL_S and done < total:
            last = now
            say(f"{topic}  {done:,} of {total:,} {what}  {format_rate(done / (now - began))}")

    return tell


def _print(summary: "WriteSummary", output: OutputFormat) -> None:
    per_second = summary.events / summary.seconds if summary.seconds > 0 else 0.0
    if output is OutputFormat.JSON:
        print_json(
            {
                "topic": summary.topic,
                "partitions": summary.partitions,
                "created": summary.created,
                "events": summary.events,
                "malformed": summary.malformed,
                "bytes": summary.size_bytes,
                "seconds": round(summary.seconds, 3),
                "events_per_second": round(per_second),
                "first_event_time": iso_time(summary.first_ms),
                "last_event_time": iso_time(summary.last_ms),
            }
        )
        return
    made = "new topic" if summary.created else "appended"
    show(
        f"{summary.topic}  {summary.events:,} events in {format_seconds(summary.seconds)}  "
        f"{format_rate(per_second)}  {summary.size_bytes / 1e6:,.0f} MB  "
        f"{summary.malformed:,} malformed  {summary.partitions} partitions, {made}"
    )
    if summary.events:
        show(f"  event time {iso_time(summary.first_ms)} to {iso_time(summary.last_ms)}")


def _print_tables(summary: "TableSummary", output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json({**summary.model_dump(), "seconds": round(summary.seconds, 3)})
        return
    orders = summary.tables["orders"]
    per_second = orders / summary.seconds if summary.seconds > 0 else 0.0
    others = "  ".join(
        f"{name} {rows:,}" for name, rows in summary.tables.items() if name != "orders"
    )
    show(
        f"orders  {orders:,} rows in {format_seconds(summary.seconds)}  {format_rate(per_second)}  "
        f"{others}"
    )
    show(f"  changed from {summary.first_day} to {summary.last_day}, Europe/Berlin")
    faults = ", ".join(f"{count:,} {fault}" for fault, count in summary.faults.items())
    show(f"  dirty  {faults}")
