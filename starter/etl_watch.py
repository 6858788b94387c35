"""Watching a run of an ETL pipeline until it ends, with a live line on stderr."""

import asyncio

from activities.etl_history import PipelineHistory
from common.errors import ServiceUnavailableError
from common.settings import Settings
from connectors.object_store import ObstoreStore
from starter.etl_client import EtlClient, EtlNoAnswerError, EtlRun
from starter.etl_view import SavedPages, live_line
from starter.live import Show, WaitTimedOutError, live
from starter.output import say
from workers.wiring import object_store_url
from workflows.etl_input import EtlResult

POLL_INTERVAL_S = 0.4
RETRY_PAUSE_S = 1.0


async def wait_for_end(client: EtlClient, run: EtlRun, timeout_s: float | None) -> EtlResult:
    """Show a run until it has ended; outages of Temporal and of the workers are waited out.

    Raises:
        WaitTimedOutError: It goes on after `timeout_s`.
        EtlFailedError: It failed.
        EtlCancelledError: It was cancelled.
    """
    ended = asyncio.ensure_future(_patient_result(client, run))
    again = f"watch it again with `sluice etl status {run.name} --wait`"
    try:
        async with asyncio.timeout(timeout_s), live() as show:
            while not ended.done():
                await _show_status(client, run, show)
                await asyncio.wait([ended], timeout=POLL_INTERVAL_S)
            return await ended
    except TimeoutError as error:
        raise WaitTimedOutError(
            f"etl `{run.name}` {run.label}: expected to end within {timeout_s:g} s, it goes on; "
            f"{again}"
        ) from error
    except asyncio.CancelledError:
        say(f"{run.name}  goes on; {again}")
        raise
    finally:
        ended.cancel()


async def _patient_result(client: EtlClient, run: EtlRun) -> EtlResult:
    while True:
        try:
            return await client.result(run)
        except ServiceUnavailableError:
            await asyncio.sleep(RETRY_PAUSE_S)


async def _show_status(client: EtlClient, run: EtlRun, show: Show) -> None:
    try:
        status = await client.status(run)
    except (EtlNoAnswerError, ServiceUnavailableError) as error:
        show(f"{run.name}  waiting   {error}", type(error).__name__)
        return
    show(live_line(status), f"{status.state} {status.phase} {status.reason}")


async def save_pages(settings: Settings, name: str, result: EtlResult) -> SavedPages:
    """Write the pages about a run beside the stack's data."""
    from starter.quality_page import write_page, write_report

    store = ObstoreStore(object_store_url(settings), settings.object_store)
    record = await PipelineHistory(store, name).find(result.run)
    if record is None:
        return SavedPages()
    return SavedPages(
        quality=await write_page(settings, record) if record.report is not None else "",
        report=await write_report(settings, record) if record.page is not None else "",
    )
