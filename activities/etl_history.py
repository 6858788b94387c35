"""The record of an ETL pipeline's runs: their numbers, and what those that ended left behind."""

import json
from collections.abc import Callable

from activities.etl_io import Release
from batch.chunk import BatchLedger, CursorWindow
from batch.gate_report import Verdict
from batch.quality_trend import HistoryEntry
from common.names import dataset_prefix, etl_prefix
from common.payloads import Model, ObjectStore, Ref
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec

NEWEST = 64
"""Runs that are read back at most, to compare a new one with."""


class RunRecord(Model):
    """How a run ended.

    Attributes:
        state: `published` or `blocked`.
        columns: Columns of the source with their types.
        cursor_end: Up to where the cursor was read.
        spec: The specification as it ran.
        result_hash: Of the specification.
        published: What each target changed: inserted, updated, deleted.
        written: Rows of targets that do not tell inserted from updated ones.
        release_of: The earlier run whose rows this one released; None of ordinary runs.
        release: All rows that it let through, with those that earlier releases had.
        quarantine: Rejected rows, Parquet in the lake.
        report: The gate's report, JSON in the lake.
        page: The report that the pipeline names, HTML in the lake.
        metrics: Values that later runs are compared with.
    """

    pipeline: str
    run: int
    slot: str
    state: str
    started_us: int
    ended_us: int
    columns: dict[str, str]
    window: CursorWindow = CursorWindow()
    interval: DataInterval | None = None
    spec: EtlSpec
    result_hash: str = ""
    source: str = ""
    ledger: BatchLedger = BatchLedger()
    published: dict[str, tuple[int, int, int]] = {}
    written: dict[str, int] = {}
    release_of: int | None = None
    release: Release | None = None
    quarantine: list[Ref] = []
    report: Ref | None = None
    page: Ref | None = None
    score: float = 100.0
    outcome: Verdict = "passed"
    metrics: dict[str, float] = {}


class PipelineHistory:
    """All runs of one pipeline, in the object store."""

    def __init__(self, store: ObjectStore, pipeline: str) -> None:
        self._store = store
        self._pipeline = pipeline
        self._claims = f"{etl_prefix(pipeline)}/claims/"
        self._records = f"{etl_prefix(pipeline)}/records/"

    async def has_begun(self) -> bool:
        """Tell whether there has been any run."""
        return bool(await self._store.keys(self._claims))

    async def claim(self, owner: str, slot: str) -> int:
        """Claim the next number; the same owner gets the same one again."""
        while True:
            if (run := await self.claimed(owner)) is not None:
                return run
            run = await self.next_number()
            content = json.dumps({"owner": owner, "slot": slot}).encode()
            if await self._store.create(f"{self._claims}{run:06d}.json", content):
                return run

    async def next_number(self) -> int:
        """Give the number that the next run gets."""
        keys = await self._store.keys(self._claims)
        return (_number(keys[-1]) if keys else 0) + 1

    async def claimed(self, owner: str) -> int | None:
        """Give the number that an owner claimed; None when it claimed none."""
        for key in reversed((await self._store.keys(self._claims))[-NEWEST:]):
            if json.loads(await self._store.read(key) or b"{}").get("owner") == owner:
                return _number(key)
        return None

    async def before(self, run: int, label: str) -> list[int]:
        """Give older runs under the same label, whether they ended or were terminated."""
        found: list[int] = []
        for key in (await self._store.keys(self._claims))[-NEWEST:]:
            claim = json.loads(await self._store.read(key) or b"{}")
            if _number(key) < run and claim.get("slot") == label:
                found.append(_number(key))
        return found

    async def record(self, record: RunRecord) -> None:
        """Keep how a run ended, and announce the dataset if it was published; twice is once."""
        content = record.model_dump_json(indent=1).encode()
        await self._store.create(f"{self._records}{record.run:06d}.json", content)
        if record.state == "published":
            news = {
                "dataset": self._pipeline,
                "slot": record.slot,
                "run": record.run,
                "targets": sorted(record.published),
                "rows": record.ledger.loaded,
                "published_us": record.ended_us,
            }
            key = f"{dataset_prefix(self._pipeline)}/{record.run:06d}.json"
            await self._store.create(key, json.dumps(news).encode())

    async def find(self, run: int) -> RunRecord | None:
        """Give how a run ended; None when it did not."""
        content = await self._store.read(f"{self._records}{run:06d}.json")
        return None if content is None else RunRecord.model_validate_json(content)

    async def last_published(self) -> RunRecord | None:
        """Give the newest run that published rows of its own window."""
        return await self._last(lambda one: one.release_of is None)

    async def newest_of(self, interval: DataInterval | None) -> RunRecord | None:
        """Give the newest run that published an interval, whether its own rows or released ones."""
        return await self._last(lambda one: one.interval == interval)

    async def let_through(self, interval: DataInterval | None) -> Release | None:
        """Give what was let through of an interval as readers see it now; None when nothing was."""
        last = await self.newest_of(interval)
        return None if last is None else last.release

    async def _last(self, wanted: Callable[[RunRecord], bool]) -> RunRecord | None:
        """Give the newest published run that is wanted, however long ago it was."""
        for key in reversed(await self._store.keys(self._records)):
            record = await self.find(_number(key))
            if record is not None and record.state == "published" and wanted(record):
                return record
        return None

    async def entries(self) -> list[HistoryEntry]:
        """Give what is kept of the quality of past runs, oldest first."""
        return [
            HistoryEntry(
                run_id=f"{one.pipeline}/{one.run}",
                interval=one.slot,
                finished_ms=one.ended_us // 1_000,
                outcome=one.outcome,
                score=one.score,
                rows=one.ledger.loaded,
                quarantined=one.ledger.quarantined,
                metrics=one.metrics,
            )
            for one in reversed(await self.newest())
        ]

    async def newest(self, count: int = NEWEST, state: str | None = None) -> list[RunRecord]:
        """Give the newest runs that ended, the newest first."""
        found: list[RunRecord] = []
        for key in reversed(await self._store.keys(self._records)):
            record = await self.find(_number(key))
            if record is not None and (state is None or record.state == state):
                found.append(record)
            if len(found) == count:
                break
        return found


def _number(key: str) -> int:
    return int(key.rsplit("/", 1)[-1].split(".", 1)[0])
