"""`sluice alerts`: what waits, or waited, for a person."""

from typing import TYPE_CHECKING, Annotated

import typer

from starter.output import Output, OutputFormat, command_app, iso_time, print_json, print_table

if TYPE_CHECKING:
    from activities.alert_record import RecordedAlert
    from common.settings import Settings

app = command_app(
    """List alerts of streams, newest first.

    Example: sluice alerts --limit 5
    """
)


@app.command()
def alerts(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of them at most")] = 20,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List alerts of streams, newest first.

    A stream that pauses because no retry helps raises one; it ends when the stream goes on. They
    are read from the object store, so neither Temporal nor workers need to run.

    Example: sluice alerts --limit 5
    """
    import asyncio

    from common.settings_load import load_settings

    found = asyncio.run(_newest(load_settings(), limit))
    if output is OutputFormat.JSON:
        print_json(
            [
                {
                    "name": one.name,
                    "time": iso_time(one.raised_ms),
                    "pipeline": one.pipeline,
                    "state": _state(one),
                    "ended": iso_time(one.ended_ms),
                    "what": one.what,
                    "reason": one.reason,
                }
                for one in found
            ]
        )
        return
    names = ("time", "pipeline", "state", "what", "reason")
    rows = [
        (iso_time(one.raised_ms), one.pipeline, _state(one), one.what, one.reason) for one in found
    ]
    print_table(names, rows)


def _state(alert: "RecordedAlert") -> str:
    return "open" if alert.ended_ms is None else "ended"


async def _newest(settings: "Settings", limit: int) -> "list[RecordedAlert]":
    from activities.alert_record import AlertRecord
    from connectors.object_store import ObstoreStore
    from workers.wiring import object_store_url

    store = ObstoreStore(object_store_url(settings), settings.object_store)
    return await AlertRecord(store).newest(limit)
