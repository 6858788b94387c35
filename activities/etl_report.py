"""Write the report of a run: computed from its clean rows, before they are removed."""

import asyncio

from temporalio import activity

from activities.etl_book import pinned_run
from activities.etl_folder import RunFolder
from activities.etl_io import PinnedRun, ReportInput, ReportWritten
from activities.etl_publish import chunk_count, clean_chunk, kept_rows
from activities.heartbeat import with_heartbeats
from batch.clean_plan import typed
from batch.report import ReportBuilder, ReportResult
from batch.report_html import ReportSubject, report_page
from common.payloads import ObjectStore
from pipelines.report import ReportSpec

REPORT = "report"


class EtlReportActivities:
    """Reads what was published and writes a page about it, once."""

    def __init__(self, store: ObjectStore, lake: ObjectStore) -> None:
        self._store = store
        self._lake = lake

    @activity.defn(name="etl.report")
    @with_heartbeats
    async def write_report(self, task: ReportInput) -> ReportWritten:
        """Write the report that the pipeline names."""
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        kept = await folder.find(REPORT, ReportWritten)
        if kept is not None:
            return kept
        run = await pinned_run(self._store, task.name)
        spec = run.spec.report
        if spec is None:
            return ReportWritten()
        return await folder.keep(REPORT, await self._written(folder, run, spec, task.now_us))

    async def _written(
        self, folder: RunFolder, run: PinnedRun, spec: ReportSpec, now_us: int
    ) -> ReportWritten:
        result = await self._computed(folder, run, spec)
        subject = ReportSubject(run.spec.name, run.slot, run.run, run.spec.timezone, now_us)
        page = await asyncio.to_thread(report_page, spec, result, subject)
        prefix = f"{run.prefix}/page"
        return ReportWritten(page=await self._lake.put(prefix, page.encode(), "html"))

    async def _computed(self, folder: RunFolder, run: PinnedRun, spec: ReportSpec) -> ReportResult:
        builder = ReportBuilder.of(spec, typed(run.types))
        for number in range(await chunk_count(folder, run)):
            chunk = await clean_chunk(folder, run, number)
            async for rows in kept_rows(self._lake, folder, chunk):
                await asyncio.to_thread(builder.add, rows)
        return await asyncio.to_thread(builder.finish)
