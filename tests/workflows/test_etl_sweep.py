"""What a sweep of ETL runs deletes, and what it must leave."""

import asyncio
import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities import etl_sweep
from activities.etl_history import PipelineHistory, RunRecord
from activities.etl_io import PinnedRun, Release
from activities.etl_sweep import EtlSweep, KeptFor, etl_pipelines
from activities.sweep import Swept
from batch.chunk import SourceShape
from batch.schema_change import SchemaDecision
from common.errors import ServiceUnavailableError, SinkRefusedError
from common.names import etl_run_prefix
from connectors.temporal_run import TemporalRuns
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec, Target
from pipelines.etl_source import PostgresSource
from tests.workflows.etl_rig import EtlRig
from tests.workflows.memory import MemoryStore
from tests.workflows.rig import StreamRig

DAY_MS = 86_400_000
NOW_MS = 1_000 * DAY_MS
SPEC = EtlSpec(
    name="p", source=PostgresSource(table="t"), targets=[Target(kind="clickhouse", table="t")]
)
INTERVALS = {
    "": None, "a": DataInterval(start_us=0, end_us=9, label="a"),
    "b": DataInterval(start_us=9, end_us=18, label="b"),
}  # fmt: skip


@dataclass
class Runs:
    """A server as a dictionary: workflow id to the events of its runs."""

    events: dict[str, list[bytes]] = field(default_factory=dict)
    known: bool = True
    pipeline: str = "p"
    failure: Exception | None = None

    async def retention_ms(self) -> int:
        return 7 * DAY_MS

    async def open_runs(self, workflow_id: str) -> set[str]:
        raise NotImplementedError(workflow_id)

    async def knows(self, prefix: str) -> bool:
        assert prefix == f"etl/{self.pipeline}/"
        return self.known

    async def histories(self, workflow_id: str) -> AsyncIterator[bytes]:
        if self.failure:
            raise self.failure
        for one in self.events.get(workflow_id, []):
            yield one


@dataclass(frozen=True)
class Left:
    """A run of which something may be there.

    Attributes:
        age: Days since it began, and ended.
        state: `working` has no record.
        named: Whether a history names who claimed it.
        folder: Whether its folder is there, though it ended.
        releases: Whether it let rows through.
        own: Whether it read its own window.
    """

    label: str
    age: int
    state: str
    named: bool
    folder: bool
    releases: bool
    own: bool

    @property
    def ended(self) -> bool:
        return self.state != "working"


RUN = st.builds(
    Left, st.sampled_from([*INTERVALS]), st.sampled_from([1, 5, 10, 300, 400]),
    st.sampled_from(["published", "published", "blocked", "working"]),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip


class World:
    """A pipeline's objects, made by hand; the older a run, the smaller its number."""

    def __init__(self) -> None:
        self.store, self.lake, self.runs = MemoryStore(), MemoryStore(), Runs()
        self.discarded: set[int] = set()
        self.refusal: Exception | None = None

    async def discard(self, run: PinnedRun) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.discarded.add(run.run)

    def _age(self, days: int) -> None:
        for store in (self.store, self.lake):
            for key in store.objects:
                store.modified_ms.setdefault(key, NOW_MS - days * DAY_MS)

    async def add(self, left: Left) -> int:
        """Make what a run leaves."""
        history = PipelineHistory(self.store, "p")
        count = len(await self.store.keys("etl/p/claims/"))
        owner = f"owner-{count:03d}"
        run = await history.claim(owner, left.label)
        prefix = etl_run_prefix("p", run)
        if left.named:
            events = self.runs.events.setdefault(f"etl/p/{left.label or 'latest'}", [])
            events.append(f"started by {owner} ".encode())
        for zone in ("raw/day/x", "clean/x"):
            await self.lake.create(f"{prefix}/{zone}.parquet", b"rows")
        interval = INTERVALS[left.label]
        if not left.ended or left.folder:
            pinned = PinnedRun(
                spec=SPEC, run=run, owner=owner, slot=left.label, moment_us=0, types={},
                source=SourceShape(columns={}), decision=SchemaDecision(columns={}),
            )  # fmt: skip
            await self.store.create(f"{prefix}/run.json", pinned.model_dump_json().encode())
        if left.ended:
            release = None
            if left.releases:
                let = await self.store.put(f"etl/p/releases/{run:06d}", b"[]", "json")
                release = Release(run=run, contents=let, row_count=1)
            record = RunRecord(
                pipeline="p", run=run, slot=left.label, state=left.state, started_us=0,
                ended_us=0, columns={}, interval=interval, spec=SPEC, release=release,
                release_of=None if left.own else run,
                quarantine=[await self.lake.put(f"{prefix}/quarantine/x", b"bad", "parquet")],
                report=await self.lake.put(f"{prefix}/report/gate", b"{}", "json"),
            )  # fmt: skip
            await history.record(record)
        self._age(left.age)
        return run

    async def sweep(self, *, dry_run: bool = False) -> Swept:
        kept = KeptFor(raw_days=7, record_days=365)
        sweep = EtlSweep(self.store, self.lake, self.runs, self.discard, kept)
        return await sweep.sweep("p", NOW_MS, dry_run=dry_run)

    def objects(self) -> set[str]:
        return {*self.store.objects, *self.lake.objects}

    async def read(self) -> dict[str, object]:
        """Ask everything that later runs and people ask."""
        history = PipelineHistory(self.store, "p")
        last = await history.last_published()
        let = [await history.let_through(one) for one in INTERVALS.values()]
        return {
            "cursor": None if last is None else last.run,
            "compared with": [one.run for one in await history.newest(NEWEST)],
            "let through": [None if r is None else await self.store.get(r.contents) for r in let],
        }


NEWEST = 3


@given(st.lists(RUN, max_size=9))
@settings(deadline=None, max_examples=300)
def test_what_anybody_can_still_ask_for_stays_and_all_else_goes(runs: list[Left]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(etl_sweep, "NEWEST", NEWEST)
        asyncio.run(require_exact(sorted(runs, key=lambda one: -one.age)))


async def require_exact(runs: list[Left]) -> None:
    world = World()
    numbers = {await world.add(left): left for left in runs}
    records = {n: left for n, left in numbers.items() if left.ended}
    before, told = world.objects(), await world.read()

    rehearsed = await world.sweep(dry_run=True)
    assert world.objects() == before
    assert world.discarded == set()
    swept = await world.sweep()
    after = world.objects()
    assert before - after == {one.key for one in swept.objects}
    assert rehearsed.objects == swept.objects
    assert swept.kept == len(after)
    assert await world.read() == told

    dead = {n for n, left in numbers.items() if left.age > 7 and not left.named}
    assert world.discarded == {
        n for n in dead if not numbers[n].ended or numbers[n].folder
    }  # fmt: skip
    newest = sorted(records)[-NEWEST:]
    published = {n: left for n, left in records.items() if left.state == "published"}
    last = {left.label: n for n, left in sorted(published.items())}
    for number, left in numbers.items():
        prefix = etl_run_prefix("p", number)
        mine = {key.removeprefix(prefix) for key in after if key.startswith(prefix)}
        if not left.ended:
            assert len(mine) == (0 if number in dead else 3)
            continue
        needed = (
            number in newest or left.age < 365 or number == told["cursor"] or left.folder
            or (left.releases and number == last.get(left.label))
        )  # fmt: skip
        assert (f"etl/p/records/{number:06d}.json" in after) == needed
        named = {key for key in mine if key.startswith(("/quarantine", "/report"))}
        assert len(named) == (2 if needed else 0)
        assert ("/run.json" in mine) == (left.folder and number not in dead)
        assert ("/raw/day/x.parquet" in mine) == (left.age < 7)
        assert ("/clean/x.parquet" in mine) == (left.age < 7)
    highest = max(numbers, default=0)
    assert await PipelineHistory(copy.deepcopy(world.store), "p").claim("new", "") == highest + 1

    for _ in range(2):  # what hung on a folder, and then on its record
        await world.sweep()
    left_over = world.objects()
    assert (await world.sweep()).objects == []
    assert world.objects() == left_over
    assert await world.read() == told


DEAD = Left("a", 10, "working", named=False, folder=True, releases=False, own=True)


async def test_a_run_whose_staging_cannot_be_removed_stays_and_is_told() -> None:
    world = World()
    await world.add(DEAD)
    world.refusal = SinkRefusedError("target `t`: expected a table, got none")
    swept = await world.sweep()
    assert swept.objects == []
    assert swept.trouble == [
        "p/1: its staging stays: target `t`: expected a table, got none",
    ]  # fmt: skip
    world.refusal = None
    assert len((await world.sweep()).objects) == 3
    assert world.discarded == {1}


async def test_nothing_of_a_run_goes_when_the_server_is_away_or_does_not_know_the_pipeline() -> (
    None
):
    """Who looks in the wrong namespace would see nothing of a run that goes on."""
    world = World()
    await world.add(DEAD)
    before = world.objects()
    world.runs.known = False
    assert (await world.sweep()).objects == []
    world.runs.known = True
    world.runs.failure = ServiceUnavailableError("Temporal", "x", "reset")
    with pytest.raises(ServiceUnavailableError):
        await world.sweep()
    assert (world.objects(), world.discarded) == (before, set())
    assert await etl_pipelines(world.store) == ["p"]


async def test_runs_that_go_on_are_not_touched_and_a_terminated_one_goes_with_its_history(
    clock_rig: StreamRig,
) -> None:
    """Every object is older than any retention; what the server says of runs decides."""
    etl, later_ms = EtlRig(clock_rig.server), 10**14
    runs = TemporalRuns(clock_rig.server.client)

    async def discard(run: PinnedRun) -> None:
        for target in etl.targets.values():
            stale = [key for key in target.staging if key[0].startswith(f"{run.run:06d}-")]
            for key in stale:
                del target.staging[key]

    async def swept(server: TemporalRuns | Runs) -> Swept:
        for store in (etl.store, etl.lake):  # the store says that they are from 1970
            store.modified_ms.clear()
        sweep = EtlSweep(etl.store, etl.lake, server, discard, KeptFor(7, 36_500_000))
        return await sweep.sweep("load", later_ms, dry_run=False)

    async with etl.workers():
        etl.source.gate.clear()
        handle = await etl.start(etl.spec())
        await etl.until(handle, lambda status: status.phase == "extracting")
        await handle.terminate()
        etl.source.gate.set()
        etl.targets["postgres"].gate.clear()
        handle = await etl.start(etl.spec())
        await etl.until(handle, lambda status: len(status.published) == 1)
        assert (await swept(runs)).objects == []
        assert etl.staged == 8
        etl.targets["postgres"].gate.set()
        result = await etl.ended(handle)
        assert (result.state, result.run) == ("published", 2)
        assert {one.key.split("/")[4] for one in (await swept(runs)).objects} == {"raw"}
        etl.source.gate.clear()
        handle = await etl.start(etl.spec())
        await etl.until(handle, lambda status: status.phase == "extracting")
        await handle.terminate()
    assert (await swept(runs)).objects == [], "its history is there, so a reset may go on with it"
    assert {"etl/load/runs/000003/run.json"} <= etl.store.objects.keys()
    expired = Runs({"etl/load/latest": [b"started by another"]}, pipeline="load")
    buried = await swept(expired)
    assert {one.key.split("/")[3] for one in buried.objects} == {"000003"}
    assert (
        await etl.store.keys("etl/load/runs") == await etl.lake.keys("etl/load/runs/000003") == []
    )
