"""`sluice quarantine`: rows that checks rejected; lists, shows and releases them."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from starter.call import project_settings
from starter.output import Output, OutputFormat, command_app, print_json, print_table, show

if TYPE_CHECKING:
    import polars as pl

    from activities.etl_history import RunRecord
    from common.settings import Settings

app = command_app(
    """List, show and release the rows that checks rejected.

    Example: sluice quarantine list orders-daily
    """
)

Run = Annotated[str, typer.Argument(help="PIPELINE/NUMBER, or PIPELINE for its newest run.")]
Checks = Annotated[
    list[str] | None, typer.Option("--check", help="Only rows that this check rejected.")
]
Rows = Annotated[
    list[str] | None, typer.Option("--row", help="Only this row, as CHUNK:ROW of `show`.")
]

UNRELEASABLE = frozenset({"unreadable", "cast", "step", "schema"})
"""Reasons that leave nothing that could be loaded."""


@app.command("list")
def list_runs(
    pipeline: Annotated[str, typer.Argument(help="Name of a pipeline.")],
    output: Output = OutputFormat.TABLE,
) -> None:
    """List the runs of a pipeline that rejected rows, the newest first.

    Example: sluice quarantine list orders-daily -o json
    """
    settings = project_settings()

    async def read() -> list["RunRecord"]:
        from starter.run_name import find_history

        return await (await find_history(settings, pipeline)).newest()

    found = [one for one in asyncio.run(read()) if one.ledger.quarantined]
    if output is OutputFormat.JSON:
        print_json(
            [
                {
                    "run": f"{one.pipeline}/{one.run}",
                    "slot": one.slot,
                    "state": one.state,
                    "quarantined": one.ledger.quarantined,
                    "release_of": one.release_of,
                }
                for one in found
            ]
        )
        return
    print_table(
        ["run", "slot", "state", "quarantined", "release of"],
        [
            [f"{one.pipeline}/{one.run}", one.slot, one.state, one.ledger.quarantined,
             one.release_of]
            for one in found
        ],
    )  # fmt: skip


@app.command("show")
def show_rows(
    run: Run,
    check: Checks = None,
    limit: Annotated[int, typer.Option(min=0, help="Most rows to show; 0 is all.")] = 20,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show the rows that a run rejected, with the reason and the row as it came.

    Example: sluice quarantine show orders-daily/12 --check "range(amount)"
    """
    settings = project_settings()
    record, rows = asyncio.run(_rows(settings, run, check, None))
    shown = rows.head(limit) if limit else rows
    if output is OutputFormat.JSON:
        content = [{**row, "content": json.loads(row["content"])} for row in shown.to_dicts()]
        print_json(content)
        return
    cells = [
        [f"{row['chunk']}:{row['row']}", row["check"], row["reason"], row["content"][:120]]
        for row in shown.to_dicts()
    ]
    print_table(["row", "check", "reason", "content"], cells)
    show(
        f"{shown.height:,} of {record.ledger.quarantined:,} rows of {record.pipeline}/{record.run}"
    )


@app.command()
def release(
    run: Run,
    check: Checks = None,
    row: Rows = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch until it is done.")] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Load the run's interval again, and let rows through that were rejected.

    Released rows pass the checks of rows; what could not be read or computed cannot be released.

    Example: sluice quarantine release orders-daily/12 --check "range(amount)" --wait
    """
    from common.errors import UsageError
    from starter.etl import run_released

    settings = project_settings()
    record, rows = asyncio.run(_rows(settings, run, check, row))
    import polars as pl

    from batch.clean import digest

    wanted = rows.filter(~pl.col("check").is_in(sorted(UNRELEASABLE)))
    if wanted.is_empty():
        raise UsageError(
            f"run `{record.pipeline}/{record.run}`: expected rows that can be released, got none; "
            f"see `sluice quarantine show {record.pipeline}/{record.run}`"
        )
    digests = sorted({digest(content) for content in wanted["content"]})
    asyncio.run(run_released(settings, record, digests, wanted.height, wait=wait, output=output))


async def _rows(
    settings: "Settings", run: str, checks: list[str] | None, places: list[str] | None
) -> tuple["RunRecord", "pl.DataFrame"]:
    """Read the rejected rows of a run, in the order in which they were read."""
    import polars as pl

    from activities.parquet_part import read_part
    from batch.quarantine import QUARANTINE
    from connectors.object_store import ObstoreStore
    from connectors.sinks import lake_url
    from starter.run_name import find_run

    record = await find_run(settings, run)
    lake = ObstoreStore(lake_url(settings), settings.object_store, setting="lake.url")
    parts = [await read_part(lake, part) for part in record.quarantine]
    rows = pl.concat([pl.DataFrame(schema=QUARANTINE), *parts]).sort("chunk", "row")
    if checks:
        rows = rows.filter(pl.col("check").is_in(checks))
    if places:
        rows = rows.filter(pl.format("{}:{}", "chunk", "row").is_in(places))
    return record, rows
