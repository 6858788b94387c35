"""The record of runs, over a store in memory."""

from activities.etl_history import NEWEST, PipelineHistory, RunRecord
from activities.etl_io import Release
from common.payloads import ref_for
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec, Target
from pipelines.etl_source import PostgresSource
from tests.workflows.memory import MemoryStore

SPEC = EtlSpec(
    name="load", source=PostgresSource(table="t"), targets=[Target(kind="clickhouse", table="t")]
)


def day(number: int) -> DataInterval:
    return DataInterval(start_us=number, end_us=number + 1, label=f"day-{number}")


def record(run: int, interval: DataInterval, release: Release | None = None) -> RunRecord:
    return RunRecord(
        pipeline="load", run=run, slot=interval.label, interval=interval,
        state="published", started_us=0, ended_us=run,
        columns={}, spec=SPEC, release=release, release_of=release.run if release else None,
    )  # fmt: skip


async def test_where_a_pipeline_stands_is_known_however_many_runs_came_after() -> None:
    # Beyond so many releases the cursor was forgotten, and everything was read again.
    history = PipelineHistory(MemoryStore(), "load")
    release = Release(run=1, contents=ref_for("let", b"[]"), row_count=1)
    await history.record(record(1, day(1)))
    await history.record(record(2, day(2), release))
    for run in range(3, NEWEST + 10):
        await history.record(record(run, day(run), release))

    last = await history.last_published()

    assert last is not None
    assert last.run == 1
    assert await history.let_through(day(2)) == release
    assert await history.let_through(day(1)) is None
