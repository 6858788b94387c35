"""Audit a whole batch before anyone can read it, and keep the evidence."""

import asyncio

import polars as pl
from temporalio import activity

from activities.etl_book import pinned_run
from activities.etl_clean import bound_plan
from activities.etl_extract import extracted_chunk
from activities.etl_folder import RunFolder
from activities.etl_history import PipelineHistory
from activities.etl_io import (
    AuditInput,
    AuditResult,
    DroppedRows,
    Evidence,
    PinnedRun,
    StagedChunk,
)
from activities.etl_publish import CLEAN, DROPPED, GROUPED, is_grouped
from activities.heartbeat import with_heartbeats
from activities.parquet_part import arrow, encode, read_part
from batch.batch_step import without
from batch.chunk import CleanChunk
from batch.clean import CleanPlan
from batch.clean_plan import drops_repeated
from batch.gate import BatchFacts, KeyCheck, decide
from batch.profile import Profile
from batch.quality_trend import falls_below
from batch.quarantine import quarantine_records
from batch.unique import CHUNK, PLACE, REPEATED, UniqueCheck
from common.payloads import ObjectStore
from streaming.frame import from_bytes, to_bytes
from streaming.resource import RECORD

MOST_LINES = 20


class EtlGateActivities:
    """Judges what steps and checks of rows left, and keeps the evidence."""

    def __init__(self, store: ObjectStore, lake: ObjectStore) -> None:
        self._store = store
        self._lake = lake

    @activity.defn(name="etl.find_repeated")
    @with_heartbeats
    async def find_repeated(self, task: AuditInput) -> AuditResult:
        """Find the rows whose key repeats; those that the gate takes out go to quarantine."""
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        kept = await folder.find("repeated", AuditResult)
        if kept is not None:
            return kept
        run = await pinned_run(self._store, task.name)
        plan = await bound_plan(self._store, folder, run)
        count = 1 if is_grouped(run) else task.chunk_count
        found: list[tuple[KeyCheck, pl.DataFrame]] = []
        for place, (_, unique) in enumerate(plan.gate.promises.unique):
            repeated = await self._repeated(run, f"promised-{place}", unique, task.chunk_count)
            await self._keep(run, f"promised-{place}", repeated)
        for place, check in enumerate(plan.gate.keys):
            repeated = await self._repeated(run, f"keys-{place}", check.unique, count)
            await self._keep(run, f"keys-{place}", repeated)
            if check.severity == "quarantine":
                found.append((check, repeated))
        records, rows = 0, 0
        for number in range(count if found else 0):
            dropped = await self._drop(folder, run, plan, number, found)
            records, rows = records + len(dropped.records), rows + dropped.rows
        result = AuditResult(outcome="passed", dropped=records, dropped_rows=rows)
        return await folder.keep("repeated", result)

    async def _keep(self, run: PinnedRun, name: str, repeated: pl.DataFrame) -> None:
        content = await asyncio.to_thread(to_bytes, repeated)
        await self._lake.create(f"{run.prefix}/clean/repeated-{name}.arrow", content)

    async def _repeated(
        self, run: PinnedRun, name: str, unique: UniqueCheck, count: int
    ) -> pl.DataFrame:
        found = [pl.DataFrame(schema=REPEATED)]
        for turn in range(unique.passes):
            keys: list[pl.DataFrame] = []
            for number in range(count):
                key = f"{run.prefix}/clean/{name}-{turn:04d}/{number:05d}.arrow"
                content = await self._lake.read(key)
                if content is not None:
                    keys.append(from_bytes(content))
            found.append(await asyncio.to_thread(unique.repeated, keys))
        return pl.concat(found).sort(CHUNK, PLACE)

    async def _drop(
        self,
        folder: RunFolder,
        run: PinnedRun,
        plan: CleanPlan,
        number: int,
        found: list[tuple[KeyCheck, pl.DataFrame]],
    ) -> DroppedRows:
        """Take the records of repeated keys out of a chunk."""
        rejected = pl.concat([check.rejected(repeated, number) for check, repeated in found])
        rejected = rejected.unique(RECORD, keep="first", maintain_order=True).sort(RECORD)
        if rejected.is_empty():
            return DroppedRows(records=[], rows=0)
        place = GROUPED if is_grouped(run) else CLEAN
        clean = await folder.need(f"{place}/{number:05d}", CleanChunk)
        rows = 0
        for part in clean.parts:
            records = (await read_part(self._lake, part))[RECORD]
            rows += int(records.is_in(rejected[RECORD].implode()).sum())
        content = await self._contents(folder, run, plan, number, rejected)
        table = await asyncio.to_thread(encode, arrow(content))
        prefix = f"{run.prefix}/quarantine/repeated-{number:05d}"
        ref = await self._lake.put(prefix, table, "parquet")
        dropped = DroppedRows(records=rejected[RECORD].to_list(), rows=rows, quarantine=ref)
        return await folder.keep(f"{DROPPED}/{number:05d}", dropped)

    async def _contents(
        self,
        folder: RunFolder,
        run: PinnedRun,
        plan: CleanPlan,
        chunk: int,
        rejected: pl.DataFrame,
    ) -> pl.DataFrame:
        """Give rejected rows as they were extracted, or as groups where they are groups."""
        if is_grouped(run):
            clean = await folder.need(f"{GROUPED}/00000", CleanChunk)
            parts, types = clean.parts, dict(plan.steps.types)
        else:
            landed = await extracted_chunk(folder, chunk)
            parts, types = landed.parts, plan.extracted
        first, found = 0, []
        wanted = rejected[RECORD].implode()
        for part in parts:
            rows = await read_part(self._lake, part)
            if RECORD not in rows.columns:  # rows as they were extracted, in their order
                places = pl.int_range(first, first + rows.height, dtype=pl.Int64).alias(RECORD)
                rows = rows.with_columns(places)
            found.append(rows.filter(pl.col(RECORD).is_in(wanted)))
            first += rows.height
        return quarantine_records(pl.concat(found), rejected, types, chunk)

    @activity.defn(name="etl.audit")
    @with_heartbeats
    async def audit(self, task: AuditInput) -> AuditResult:
        """Judge the batch by all of its checks, and keep the report."""
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        run = await pinned_run(self._store, task.name)
        plan = await bound_plan(self._store, folder, run)
        chunks = await folder.all(CLEAN, CleanChunk, task.chunk_count)
        last = [await folder.need(f"{GROUPED}/00000", CleanChunk)] if is_grouped(run) else chunks
        dropped = [
            await folder.find(f"{DROPPED}/{chunk.number:05d}", DroppedRows) for chunk in last
        ]
        profiles = [
            await self._profile(plan, run, chunk, gone)
            for chunk, gone in zip(last, dropped, strict=True)
        ]
        if is_grouped(run):
            groups = profiles[0].model_copy(update={"chunk": len(chunks)})
            profiles = [*[await self._stored_profile(chunk) for chunk in chunks], groups]
        facts = BatchFacts(
            ledger=task.ledger,
            staged=await self._staged(folder, run, len(last)),
            end_us=run.moment_us,
            history=await PipelineHistory(self._store, run.spec.name).entries(),
            repeated=await self._kept_repeated(run, plan),
        )
        run_name = f"{run.spec.name}/{run.run}"
        report = await asyncio.to_thread(
            decide, plan.gate, profiles, facts, run.spec.name, run.slot, run_name
        )
        content = report.model_dump_json(indent=1).encode()
        ref = await self._lake.put(f"{run.prefix}/report/gate", content, "json")
        quarantine = [one.quarantine for one in chunks if one.quarantine is not None]
        quarantine += [one.quarantine for one in last if is_grouped(run) and one.quarantine]
        quarantine += [one.quarantine for one in dropped if one is not None and one.quarantine]
        await folder.keep(
            "evidence", Evidence(quarantine=quarantine, report=ref, metrics=report.metrics)
        )
        threshold = run.spec.quality_threshold
        before = facts.history[-1].score if facts.history else None
        alert = ""
        if falls_below(report.score, threshold, before):
            alert = f"quality score {report.score:g} of run {run_name} is below {threshold:g}"
        failed = [one for one in report.checks if one.outcome not in {"passed", "skipped"}]
        return AuditResult(
            outcome=report.outcome,
            passed=report.count("passed"),
            warned=sum(not one.blocks for one in failed),
            failed=sum(one.blocks for one in failed),
            score=report.score,
            lines=[
                f"{one.severity} {one.title}: {one.message or one.measured}"
                for one in failed[:MOST_LINES]
            ],
            alert=alert,
        )

    async def _profile(
        self, plan: CleanPlan, run: PinnedRun, chunk: CleanChunk, dropped: DroppedRows | None
    ) -> Profile:
        """Give the profile of a chunk; what is measured leaves dropped rows out."""
        profile = await self._stored_profile(chunk)
        if not drops_repeated(run.spec):
            return profile
        gone = pl.Series(dropped.records if dropped is not None else [], dtype=pl.Int64)
        parts = [without(await read_part(self._lake, part), gone) for part in chunk.parts]
        measured = await asyncio.to_thread(plan.gate.profile, chunk.number, parts, [])
        return profile.model_copy(update={"rows": measured.rows, "measured": measured.measured})

    async def _stored_profile(self, chunk: CleanChunk) -> Profile:
        assert chunk.profile is not None  # noqa: S101 - every clean chunk has one
        return Profile.model_validate_json(await self._lake.get(chunk.profile))

    async def _staged(self, folder: RunFolder, run: PinnedRun, count: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for place, target in enumerate(run.spec.targets):
            chunks = await folder.all(f"staged-{place}", StagedChunk, count)
            found[target.name] = sum(one.rows for one in chunks)
        return found

    async def _kept_repeated(self, run: PinnedRun, plan: CleanPlan) -> dict[str, pl.DataFrame]:
        found: dict[str, pl.DataFrame] = {}
        named = [(f"keys-{place}", check.key) for place, check in enumerate(plan.gate.keys)]
        promised = enumerate(plan.gate.promises.unique)
        named += [(f"promised-{place}", key) for place, (key, _) in promised]
        for name, key in named:
            content = await self._lake.read(f"{run.prefix}/clean/repeated-{name}.arrow")
            if content is not None:
                found[key] = from_bytes(content)
        return found
