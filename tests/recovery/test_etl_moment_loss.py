"""All workers killed while a table is read at one moment, staged and published."""

import asyncio

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from common.settings import Settings
from pipelines.etl import Target
from pipelines.etl_source import PostgresSource
from tests.e2e.etl_project import traces
from tests.etl_stack import EtlOnStack, fill_orders, kill_workers, orders_spec
from workflows.etl_input import EtlStatus

ROWS, CHUNK = 60_000, 5_000
TARGETS = [
    Target(kind="postgres", table="etl_moment", mode="merge", key=["order_id"]),
    Target(kind="clickhouse", table="etl_moment", mode="merge", key=["order_id"]),
]
SOURCE = PostgresSource(table="etl_moment_source", consistency="snapshot")
COMPUTE, COMPUTE_TOO, WORKFLOWS = 0, 1, -1
"""Places among the workers, by name."""


def is_planning(status: EtlStatus) -> bool:
    return status.phase == "planning"


def is_staging(status: EtlStatus) -> bool:
    return status.chunks_done >= 2


def is_publishing(status: EtlStatus) -> bool:
    return status.phase == "publishing" or status.state == "published"


@pytest.mark.timeout(240)
async def test_a_moment_is_read_again_and_every_target_has_its_rows_once_when_workers_are_killed(
    stack: Settings,
) -> None:
    expected = await fill_orders(stack, SOURCE.table or "", ROWS)
    spec = orders_spec("etl-moment", SOURCE.table or "", TARGETS, CHUNK)
    run = EtlOnStack(stack, spec.model_copy(update={"source": SOURCE}))

    await run.start()
    for moment, places in (
        (is_planning, (COMPUTE, COMPUTE_TOO)),
        (is_staging, (COMPUTE, WORKFLOWS)),
        (is_publishing, (WORKFLOWS,)),
    ):
        await run.until(moment)
        for place in places:
            kill_workers(stack, lambda pids, place=place: pids[place])  # type: ignore[misc] # bound now
    result = await run.handle.result()

    assert result.state == "published"
    assert (result.ledger.extracted, result.ledger.loaded) == (ROWS, ROWS)
    for target in TARGETS:
        found = (await run.rows(target)).sort("order_id")
        types: dict[str, pl.DataType] = dict(expected.schema)
        assert_frame_equal(found.cast(types), expected)  # type: ignore[arg-type] # names with types
    left = await asyncio.to_thread(traces, stack)
    assert [name for name in left if "sluice_stage" in name] == []
    kept = {name.split("/")[-2] for name in left if "etl-moment/runs/" in name}
    assert kept & {"clean", "run", "extracted", "staged-0", "staged-1"} == set()
    assert not any(name.startswith("objects/etl/etl-moment/runs/") for name in left)
