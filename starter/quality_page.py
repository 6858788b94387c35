"""Pages about a run beside the stack's data: the gate's report, and the pipeline's own."""

import asyncio

from activities.etl_history import PipelineHistory, RunRecord
from batch.gate_report import GateReport
from batch.quality_html import quality_page
from common.errors import UnknownNameError
from common.settings import Settings
from connectors.object_store import ObstoreStore
from connectors.sinks import lake_url
from workers.wiring import object_store_url


async def read_report(settings: Settings, record: RunRecord) -> GateReport:
    """Read the report of a run.

    Raises:
        UnknownNameError: It has none.
    """
    lake = ObstoreStore(lake_url(settings), settings.object_store, setting="lake.url")
    if record.report is None:
        raise UnknownNameError(
            f"run `{record.pipeline}/{record.run}`: expected a report, got none; it ended before "
            "its gate"
        )
    return GateReport.model_validate_json(await lake.get(record.report))


async def write_page(settings: Settings, record: RunRecord) -> str:
    """Write the report of a run as HTML; gives its path."""
    report = await read_report(settings, record)
    store = ObstoreStore(object_store_url(settings), settings.object_store)
    history = await PipelineHistory(store, record.pipeline).entries()
    return await _save(settings, record, "-quality", quality_page(report, history).encode())


async def write_report(settings: Settings, record: RunRecord) -> str:
    """Write the report that the pipeline names as HTML; gives its path.

    Raises:
        UnknownNameError: The run has none.
    """
    if record.page is None:
        raise UnknownNameError(
            f"run `{record.pipeline}/{record.run}`: expected a report, got none; its pipeline "
            "names none, or its gate blocked it"
        )
    lake = ObstoreStore(lake_url(settings), settings.object_store, setting="lake.url")
    return await _save(settings, record, "", await lake.get(record.page))


async def _save(settings: Settings, record: RunRecord, what: str, content: bytes) -> str:
    day = record.slot[:10] if record.interval is not None else record.slot
    folder = settings.data_dir / "reports" / record.pipeline
    path = folder / f"{day}{what}.html"
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(path.write_bytes, content)
    return str(path)
