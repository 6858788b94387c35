"""Take extracted chunks through steps and checks: clean rows, and those that were rejected."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl
from temporalio import activity

from activities.etl_book import PLAN, pinned_run
from activities.etl_extract import extracted_chunk
from activities.etl_folder import RunFolder
from activities.etl_io import AuditInput, ChunkCounts, ChunkInput, ChunkPlan, Grouped, PinnedRun
from activities.etl_prepare import reading
from activities.etl_publish import CLEAN, GROUPED
from activities.etl_reference import read_references
from activities.heartbeat import with_heartbeats
from activities.parquet_part import PartWriter, arrow, encode, read_part
from activities.resource import resources_for
from batch.chunk import BatchLedger, CleanChunk, ledger_of
from batch.clean import CleanPlan, clean_part
from batch.clean_plan import drops_repeated, plan_of, typed
from batch.profile import Profile, RuleTally
from batch.promise import Promised
from batch.quarantine import QUARANTINE, quarantine_records
from batch.row_check import CompiledRowChecks
from batch.unique import PASS, UniqueCheck
from common.payloads import ObjectStore, Ref
from contracts.field_dtype import polars_type
from contracts.field_type_parse import parse_field_type
from streaming.frame import from_bytes, to_bytes


@dataclass
class _Taken:
    """What a chunk has come to so far.

    Attributes:
        landed: Files of the raw zone that hold just the clean rows; None where the rows differ.
    """

    ledger: BatchLedger
    rejected: list[pl.DataFrame]
    parts: list[pl.DataFrame] = field(default_factory=list)
    tallies: list[list[RuleTally]] = field(default_factory=list)
    promised: list[Promised] = field(default_factory=list)
    landed: list[Ref] | None = None


class EtlCleanActivities:
    """Computes; what it makes is created once under the run."""

    def __init__(self, store: ObjectStore, lake: ObjectStore) -> None:
        self._store = store
        self._lake = lake

    @activity.defn(name="etl.transform_chunk")
    @with_heartbeats
    async def transform_chunk(self, task: ChunkInput) -> ChunkCounts:
        """Clean the rows of one chunk that has landed."""
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        name = f"{CLEAN}/{task.chunk:05d}"
        kept = await folder.find(name, CleanChunk)
        if kept is None:
            run = await pinned_run(self._store, task.name)
            kept = await folder.keep(name, await self._clean(folder, run, task.chunk))
        return ChunkCounts(rows=kept.rows, rejected=kept.quarantined, ledger=ledger_of(kept))

    async def _clean(self, folder: RunFolder, run: PinnedRun, number: int) -> CleanChunk:
        plan = await bound_plan(self._store, folder, run)
        if not plan.looks_at_rows:
            return await self._as_landed(folder, run, plan, number)
        if plan.steps.grouping is not None:  # the gate looks at the groups
            plan = replace(plan, gate=replace(plan.gate, rows=CompiledRowChecks(())))
        taken = await self._take(folder, run, plan, number)
        prefix = run.prefix
        for place, (_, unique) in enumerate(plan.gate.promises.unique):
            keys = [part.keys[place] for part in taken.promised]
            await self._store_keys(run, f"promised-{place}", unique, number, keys)
        chunk = CleanChunk(
            number=number,
            rows_in=taken.ledger.extracted,
            rows=taken.ledger.loaded,
            filtered=taken.ledger.filtered,
            quarantined=taken.ledger.quarantined,
            expanded=taken.ledger.expanded,
            quarantine=await self._quarantine(run, number, taken.rejected),
        )
        if plan.steps.grouping is not None:
            partial = await asyncio.to_thread(plan.steps.group, taken.parts)
            content = await asyncio.to_thread(to_bytes, partial)
            ref = await self._lake.put(f"{prefix}/clean/groups-{number:05d}", content, "arrow")
            promised = await asyncio.to_thread(plan.gate.promises.merged, taken.promised)
            profile = plan.gate.profile(number, [], taken.tallies, "extracted", promised)
            kept = await self._keep_profile(run, number, profile)
            return chunk.model_copy(update={"parts": [ref], "profile": kept})
        return chunk.model_copy(update=await self._store_clean(run, plan, number, taken))

    async def _as_landed(
        self, folder: RunFolder, run: PinnedRun, plan: CleanPlan, number: int
    ) -> CleanChunk:
        """Give a chunk whose rows go to the targets as they landed, so that nobody reads them."""
        landed = await extracted_chunk(folder, number)
        profile = plan.gate.profile(number, [], []).model_copy(update={"rows": landed.rows})
        rejected = []
        if landed.unreadable_rows is not None:
            rejected.append(await read_part(self._lake, landed.unreadable_rows))
        return CleanChunk(
            number=number,
            rows_in=landed.rows + landed.unreadable,
            rows=landed.rows,
            quarantined=landed.unreadable,
            parts=landed.parts,
            quarantine=await self._quarantine(run, number, rejected),
            profile=await self._keep_profile(run, number, profile),
        )

    async def _keep_profile(self, run: PinnedRun, number: int, profile: Profile) -> Ref:
        content = profile.model_dump_json().encode()
        return await self._lake.put(f"{run.prefix}/clean/profile-{number:05d}", content, "json")

    async def _take(
        self, folder: RunFolder, run: PinnedRun, plan: CleanPlan, number: int
    ) -> _Taken:
        """Take a chunk part by part through the steps."""
        landed = await extracted_chunk(folder, number)
        taken = _Taken(BatchLedger(extracted=landed.unreadable, quarantined=landed.unreadable), [])
        if landed.unreadable_rows is not None:
            taken.rejected.append(await read_part(self._lake, landed.unreadable_rows))
        first = 0
        for part in landed.parts:
            rows = await read_part(self._lake, part)
            cleaned = await asyncio.to_thread(clean_part, plan, rows, number, first)
            first += rows.height
            taken.rejected.append(cleaned.quarantine)
            taken.parts.append(cleaned.rows)
            taken.tallies.append(cleaned.tallies)
            taken.promised.append(cleaned.promised)
            taken.ledger = taken.ledger.sum(
                BatchLedger(
                    extracted=cleaned.rows_in,
                    expanded=cleaned.expanded,
                    loaded=cleaned.rows.height,
                    filtered=cleaned.filtered,
                    quarantined=cleaned.quarantine.height,
                )
            )
        if not landed.parts:  # the checks still have to be told that they ran
            empty = pl.DataFrame(schema=_schema(reading(run).columns))
            cleaned = clean_part(plan, empty, number, 0)
            taken.tallies.append(cleaned.tallies)
            taken.promised.append(cleaned.promised)
        if plan.keeps_rows and taken.ledger.loaded == landed.rows and not drops_repeated(run.spec):
            taken.landed = landed.parts
        return taken

    async def _store_clean(
        self, run: PinnedRun, plan: CleanPlan, number: int, taken: _Taken
    ) -> dict[str, object]:
        """Store clean rows, the keys that must be unique, and what the gate needs to know."""
        prefix = f"{run.prefix}/clean"
        drops = drops_repeated(run.spec)
        parts = taken.landed
        if parts is None:
            parts = await self._store_parts(f"{prefix}/chunk-{number:05d}", taken, drops=drops)
        for place, check in enumerate(plan.gate.keys):
            start, keys = 0, []
            for part in taken.parts:
                keys.append(check.unique.keys_of(part, number, start))
                start += part.height
            await self._store_keys(run, f"keys-{place}", check.unique, number, keys)
        # Rows that go because their key repeats are left out of what is measured, later.
        measured = [] if drops else taken.parts
        side: Literal["all", "clean"] = "clean" if plan.steps.grouping is not None else "all"
        promised = [] if side == "clean" else plan.gate.promises.merged(taken.promised)
        profile = await asyncio.to_thread(
            plan.gate.profile, number, measured, taken.tallies, side, promised
        )
        return {"parts": parts, "profile": await self._keep_profile(run, number, profile)}

    async def _store_parts(self, prefix: str, taken: _Taken, *, drops: bool) -> list[Ref]:
        """Store clean rows, with the places of their records where some may still be taken out."""
        writer: PartWriter | None = None
        for part in taken.parts:
            table = arrow(part, with_record=drops)
            writer = writer or PartWriter(self._lake, prefix, table.schema)
            for batch in table.to_batches():
                await writer.add(batch)
        return await writer.close() if writer is not None else []

    async def _store_keys(
        self, run: PinnedRun, name: str, unique: UniqueCheck, number: int, keys: list[pl.DataFrame]
    ) -> None:
        """Store keys of a chunk, pass by pass."""
        together = pl.concat(keys) if keys else pl.DataFrame()
        for turn in range(unique.passes if keys else 0):
            found = together.filter(pl.col(PASS) == turn)
            key = f"{run.prefix}/clean/{name}-{turn:04d}/{number:05d}.arrow"
            await self._lake.create(key, await asyncio.to_thread(to_bytes, found))

    async def _quarantine(
        self, run: PinnedRun, number: int, rejected: list[pl.DataFrame]
    ) -> Ref | None:
        found = pl.concat([pl.DataFrame(schema=QUARANTINE), *rejected])
        if found.is_empty():
            return None
        content = await asyncio.to_thread(encode, arrow(found))
        prefix = f"{run.prefix}/quarantine/chunk-{number:05d}"
        return await self._lake.put(prefix, content, "parquet")

    @activity.defn(name="etl.group")
    @with_heartbeats
    async def group(self, task: AuditInput) -> Grouped:
        """Put the groups of all chunks together into one chunk of clean rows."""
        folder = RunFolder(self._store, task.name.pipeline, task.name.run)
        chunks = await folder.all(CLEAN, CleanChunk, task.chunk_count)
        kept = await folder.find(f"{GROUPED}/00000", CleanChunk)
        if kept is None:
            run = await pinned_run(self._store, task.name)
            plan = await bound_plan(self._store, folder, run)
            kept = await folder.keep(f"{GROUPED}/00000", await self._group(run, plan, chunks))
        before = BatchLedger()
        for chunk in chunks:
            before = before.sum(ledger_of(chunk))
        ledger = before.sum(
            BatchLedger(
                loaded=kept.rows - before.loaded,
                grouped=before.loaded - kept.rows_in,
                expanded=kept.expanded,
                filtered=kept.filtered,
                quarantined=kept.quarantined,
            )
        )
        return Grouped(chunk_count=1, ledger=ledger)

    async def _group(self, run: PinnedRun, plan: CleanPlan, chunks: list[CleanChunk]) -> CleanChunk:
        partials = [
            from_bytes(await self._lake.get(part)) for chunk in chunks for part in chunk.parts
        ]
        combined = await asyncio.to_thread(plan.steps.combine, partials)
        checked, tallies = await asyncio.to_thread(plan.gate.rows.apply, combined, len(chunks))
        types = dict(plan.steps.types)
        content = quarantine_records(combined.rows, checked.rejected, types, len(chunks))
        taken = _Taken(BatchLedger(), [content], [checked.rows], [tallies])
        chunk = CleanChunk(
            number=0,
            rows_in=combined.rows_in,
            rows=checked.rows.height,
            filtered=combined.filtered,
            quarantined=checked.rejected.height,
            expanded=checked.expanded,
            quarantine=await self._quarantine(run, len(chunks), taken.rejected),
        )
        return chunk.model_copy(update=await self._store_clean(run, plan, 0, taken))


async def bound_plan(store: ObjectStore, folder: RunFolder, run: PinnedRun) -> CleanPlan:
    """Compile what becomes of the rows of a run, with all that it needs from outside."""
    chunks = (await folder.need(PLAN, ChunkPlan)).chunks
    rows = sum(chunk.row_estimate for chunk in chunks)
    types = typed(run.types)
    references = await read_references(store, run, types)
    plan = plan_of(run.spec, run.decision, reading(run).columns, references, rows)
    calls, look_ups = plan.steps.calls, plan.steps.look_ups
    if calls or look_ups:
        plan = plan.bind(await resources_for(calls, look_ups, store))
    release = run.let_through or run.release  # runs that were opened before have only the latter
    if release is None:
        return plan
    released = json.loads(await store.get(release.contents))
    return replace(plan, released=frozenset(released))


def _schema(columns: Mapping[str, str]) -> pl.Schema:
    return pl.Schema({name: polars_type(parse_field_type(kind)) for name, kind in columns.items()})
