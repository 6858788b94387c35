"""`sluice quality`: reports of gates, and how quality went over time."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from starter.call import project_settings
from starter.output import Output, OutputFormat, command_app, print_json, print_table, show

if TYPE_CHECKING:
    from activities.etl_history import RunRecord
    from batch.gate_report import GateReport
    from batch.quality_trend import HistoryEntry
    from common.settings import Settings

app = command_app(
    """Show what gates found, run by run and over time.

    Example: sluice quality report orders-daily/12
    """
)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="PIPELINE/NUMBER, or PIPELINE for its newest run.")],
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show every check of a run with what it found, and write the same as an HTML page.

    Example: sluice quality report orders-daily/12 -o json
    """
    settings = project_settings()
    record, found, page = asyncio.run(_report(settings, run))
    if output is OutputFormat.JSON:
        print_json({**found.model_dump(mode="json"), "page": page})
        return
    show(f"{record.pipeline}/{record.run}  {record.slot}  {found.outcome}  score {found.score:g}")
    rows = [
        [one.outcome, one.severity, one.title, one.measured, one.expected, one.message]
        for one in found.checks
    ]
    print_table(["outcome", "severity", "check", "measured", "expected", "reason"], rows)
    show(f"page  {page}")


@app.command()
def trend(
    pipeline: Annotated[str, typer.Argument(help="Name of a pipeline.")],
    limit: Annotated[int, typer.Option(min=1, help="Most runs to show.")] = 20,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show score, rows and outcome of the newest runs, and how they moved.

    Example: sluice quality trend orders-daily --limit 14
    """
    from batch.quality_trend import trend_of

    settings = project_settings()
    entries = asyncio.run(_entries(settings, pipeline))
    if output is OutputFormat.JSON:
        print_json([one.model_dump(mode="json") for one in entries[-limit:]])
        return
    rows = [
        [one.entry.run_id, one.entry.interval, one.entry.outcome, one.entry.score, one.change,
         one.entry.rows, one.entry.quarantined]
        for one in trend_of(entries, limit)
    ]  # fmt: skip
    print_table(["run", "slot", "outcome", "score", "change", "rows", "quarantined"], rows)


async def _report(settings: "Settings", run: str) -> tuple["RunRecord", "GateReport", str]:
    from starter.quality_page import read_report, write_page
    from starter.run_name import find_run

    record = await find_run(settings, run)
    return record, await read_report(settings, record), await write_page(settings, record)


async def _entries(settings: "Settings", pipeline: str) -> list["HistoryEntry"]:
    from starter.run_name import find_history

    return await (await find_history(settings, pipeline)).entries()
