"""What runs of ETL pipelines left behind and nobody can need any more, found and deleted.

    etl/<pipeline>/claims/, records/, releases/    in the object store
    etl/<pipeline>/runs/<number>/                  working objects, there and in the lake

A run is dead when the claim of its number is older than the namespace's retention and no history
that the server still has, of an open run or of a closed one, names the workflow that claimed it.
Then go

1. of a run without a record everything, with its staging in every target;
2. of a run with a record what it works with.

By age alone go

3. the raw rows of a run that has ended, after `raw_days`: a release reads the source again;
4. its record, with quarantine, reports and announcement, after `record_days`, unless it is among
   the newest, says where the cursor stands, or which rows its interval has let through.

The server has to know the pipeline for 1 and 2: otherwise it may run in another namespace.
"""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from activities.etl_book import RUN
from activities.etl_folder import RunFolder
from activities.etl_history import NEWEST, PipelineHistory
from activities.etl_io import PinnedRun
from activities.sweep import BATCH, RunBook, Swept
from common.errors import SluiceError
from common.names import dataset_prefix, etl_prefix, etl_workflow_id
from common.payloads import ObjectStore, StoredObject

_RUN = re.compile(r"^etl/[^/]+/runs/(\d{6,})/")
_NUMBER = re.compile(r"^(\d{6,})[.-]")
_PIPELINE = re.compile(r"^etl/([^/]+)/")
_WORK = ("raw", "clean")
_DAY_MS = 86_400_000

Discard = Callable[[PinnedRun], Awaitable[None]]


class EtlRunBook(RunBook, Protocol):
    """What the server knows of the runs of pipelines."""

    async def knows(self, prefix: str) -> bool:
        """Tell whether there is any workflow whose id begins so."""
        ...


@dataclass(frozen=True)
class KeptFor:
    """How long what a run leaves behind is kept after its end, in days."""

    raw_days: int
    record_days: int


@dataclass
class _Found:
    """What there is of a pipeline, by number of the run, and by key what is to go.

    Attributes:
        claims: Claims of numbers.
        records: How runs ended.
        news: What was announced of them.
        releases: Which rows were released, by key.
        store, lake: Working objects.
        gone: Keys that go from the store, in this order.
        gone_in_lake: Those that go from the lake, before the former.
    """

    claims: dict[int, StoredObject]
    records: dict[int, StoredObject]
    news: dict[int, StoredObject]
    releases: dict[str, StoredObject]
    store: dict[int, list[StoredObject]]
    lake: dict[int, list[StoredObject]]
    gone: dict[str, StoredObject] = field(default_factory=dict)
    gone_in_lake: dict[str, StoredObject] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Count all objects."""
        single = len(self.claims) + len(self.records) + len(self.news) + len(self.releases)
        return single + sum(len(one) for one in [*self.store.values(), *self.lake.values()])


async def etl_pipelines(store: ObjectStore) -> list[str]:
    """Name the pipelines that have runs."""
    found = (_PIPELINE.match(key) for key in await store.keys("etl"))
    return sorted({match[1] for match in found if match})


class EtlSweep:
    """A sweep of ETL pipelines; runs may go on meanwhile, and twice is once.

    Args:
        store: The object store.
        lake: The lake.
        runs: The server; when it does not answer, nothing is deleted.
        discard: Removes the staging of a run from its targets.
        kept_for: How long runs that ended are kept.
    """

    def __init__(
        self,
        store: ObjectStore,
        lake: ObjectStore,
        runs: EtlRunBook,
        discard: Discard,
        kept_for: KeptFor,
    ) -> None:
        self._store, self._lake, self._runs = store, lake, runs
        self._discard, self._kept_for = discard, kept_for

    async def sweep(self, pipeline: str, now_ms: int, *, dry_run: bool) -> Swept:
        """Delete what nobody can need any more; what a target refuses stays with the reason."""
        found = await self._look(pipeline)
        count = found.count
        dead = await self._dead(pipeline, found, now_ms)
        buried = [await self._bury(pipeline, run, found, dry_run=dry_run) for run in dead]
        trouble = [told for told in buried if told is not None]
        self._tidy(found, now_ms)
        await self._expire(pipeline, found, now_ms)
        if not dry_run:
            await _delete(self._lake, found.gone_in_lake)
            await _delete(self._store, found.gone)
        gone = [*found.gone_in_lake.values(), *found.gone.values()]
        return Swept(pipeline, count - len(gone), gone, kind="etl", trouble=trouble)

    async def _look(self, pipeline: str) -> _Found:
        """List what there is; whoever is listed was known to the server by then."""
        prefix = etl_prefix(pipeline)
        releases = await self._store.listing(f"{prefix}/releases")
        return _Found(
            claims=_by_number(await self._store.listing(f"{prefix}/claims")),
            records=_by_number(await self._store.listing(f"{prefix}/records")),
            news=_by_number(await self._store.listing(dataset_prefix(pipeline))),
            releases={one.key: one for one in releases},
            store=_by_run(await self._store.listing(f"{prefix}/runs")),
            lake=_by_run(await self._lake.listing(f"{prefix}/runs")),
        )

    async def _dead(self, pipeline: str, found: _Found, now_ms: int) -> list[int]:
        """Give the runs that nobody can go on with and that left something."""
        claimed_before = now_ms - await self._runs.retention_ms()
        owners: dict[str, dict[str, int]] = {}
        dead: list[int] = []
        for run in sorted({*found.store, *found.lake}):
            store, lake = found.store.get(run, []), found.lake.get(run, [])
            if run in found.records and not store and not _of(lake, "clean"):
                continue
            claim = found.claims.get(run)
            made = [claim] if claim is not None else [*store, *lake]
            if max(one.modified_ms for one in made) >= claimed_before:
                continue
            said = json.loads((await self._store.read(claim.key)) or b"{}") if claim else {}
            if said:
                owners.setdefault(said["slot"] or "latest", {})[said["owner"]] = run
            else:  # its claim has expired, so it was dead by then
                dead.append(run)
        if not await self._runs.knows(etl_workflow_id(pipeline, "")):
            return []
        for label, left in owners.items():
            async for event in self._runs.histories(etl_workflow_id(pipeline, label)):
                for owner in [one for one in left if one.encode() in event]:
                    del left[owner]
            dead += left.values()
        return sorted(dead)

    async def _bury(self, pipeline: str, run: int, found: _Found, *, dry_run: bool) -> str | None:
        """Remove the staging of a dead run, then let all go but what belongs to its record."""
        pinned = await RunFolder(self._store, pipeline, run).find(RUN, PinnedRun)
        if pinned is not None and not dry_run:
            try:
                await self._discard(pinned)
            except SluiceError as error:
                return f"{pipeline}/{run}: its staging stays: {error}"
        lake = found.lake.get(run, [])
        left = _of(lake, "clean") if run in found.records else lake
        found.gone_in_lake |= {one.key: one for one in left}
        found.gone |= {one.key: one for one in found.store.get(run, [])}
        return None

    def _tidy(self, found: _Found, now_ms: int) -> None:
        """Let raw rows go of runs that ended long ago."""
        ended_before = now_ms - self._kept_for.raw_days * _DAY_MS
        for run, objects in found.lake.items():
            record = found.records.get(run)
            if record is not None and record.modified_ms < ended_before:
                found.gone_in_lake |= {one.key: one for one in _of(objects, *_WORK)}

    async def _expire(self, pipeline: str, found: _Found, now_ms: int) -> None:
        """Let records go that are old and that no later run can need, with all that they name."""
        before = now_ms - self._kept_for.record_days * _DAY_MS
        history = PipelineHistory(self._store, pipeline)
        old = [n for n in sorted(found.records)[:-NEWEST] if found.records[n].modified_ms < before]
        last = await history.last_published() if old else None
        kept = set(found.records)
        for run in old:
            record = await history.find(run)
            if record is None or run in found.store or (last is not None and last.run == run):
                continue
            newest = None if record.release is None else await history.newest_of(record.interval)
            if newest is not None and newest.run == run:
                continue
            kept.discard(run)
            found.gone_in_lake |= {one.key: one for one in found.lake.get(run, [])}
            ended = [one[run] for one in (found.news, found.records) if run in one]
            found.gone |= {one.key: one for one in ended}
        await self._expire_releases(found, kept, before)
        for run in sorted(found.claims)[:-NEWEST]:
            claim = found.claims[run]
            objects = [*found.store.get(run, []), *found.lake.get(run, [])]
            stays = [one for one in objects if one.key not in found.gone | found.gone_in_lake]
            if run not in kept and not stays and claim.modified_ms < before:
                found.gone[claim.key] = claim

    async def _expire_releases(self, found: _Found, kept: set[int], before: int) -> None:
        """Let go which rows were released of runs whose record had expired before this sweep."""
        left = {
            key: one
            for key, one in found.releases.items()
            if one.modified_ms < before and _number(key) not in found.records
        }
        pinned = [one.key for objects in found.store.values() for one in objects]
        for key in [found.records[run].key for run in kept] + pinned if left else []:
            content = await self._store.read(key) or b""
            for name in [one for one in left if one.encode() in content]:
                del left[name]
        found.gone |= left


async def _delete(store: ObjectStore, gone: dict[str, StoredObject]) -> None:
    keys = list(gone)
    for start in range(0, len(keys), BATCH):
        await store.delete(keys[start : start + BATCH])


def _of(objects: list[StoredObject], *zones: str) -> list[StoredObject]:
    """Give the objects of a run that are in some of its zones of the lake."""
    return [one for one in objects if one.key.split("/")[4] in zones]


def _by_run(objects: list[StoredObject]) -> dict[int, list[StoredObject]]:
    found: dict[int, list[StoredObject]] = {}
    for one in objects:
        if match := _RUN.match(one.key):
            found.setdefault(int(match[1]), []).append(one)
    return found


def _by_number(objects: list[StoredObject]) -> dict[int, StoredObject]:
    return {_number(one.key): one for one in objects}


def _number(key: str) -> int:
    match = _NUMBER.match(key.rsplit("/", 1)[-1])
    return int(match[1]) if match else 0
