"""Workers killed while a table is loaded: every target has every row once."""

import asyncio
import random

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from common.settings import Settings
from pipelines.etl import EtlStep, Target
from tests.etl_stack import EtlOnStack, fill_orders, kill_workers, orders_spec

ROWS = 60_000
CHUNK = 3_000
KILLS = 4
TARGETS = [
    Target(kind="clickhouse", table="etl_recovery", mode="merge", key=["order_id"]),
    Target(kind="lake", table="etl/recovery", mode="replace"),
]


@pytest.mark.timeout(300)
async def test_every_target_has_every_row_once_when_workers_are_killed(stack: Settings) -> None:
    source = await fill_orders(stack, "etl_recovery_source", ROWS)
    expected = source.filter(pl.col("status").is_null() | (pl.col("status") != "test"))
    chance = random.Random(7)
    spec = orders_spec("etl-recovery", "etl_recovery_source", TARGETS, CHUNK)
    steps = [EtlStep(where="status is distinct from 'test'")]
    run = EtlOnStack(stack, spec.model_copy(update={"transform": steps}))

    await run.start()
    ended = asyncio.ensure_future(run.handle.result())
    kills = 0
    for further in (1, 5, 10, 16):
        at_chunk = run.until(lambda status, done=further: status.chunks_done >= done)  # type: ignore[misc] # bound now
        await asyncio.wait([asyncio.ensure_future(at_chunk), ended], return_when="FIRST_COMPLETED")
        if ended.done():
            break
        kill_workers(stack, chance.choice)
        kills += 1
    result = await ended

    assert kills == KILLS
    assert result.state == "published"
    assert result.ledger.model_dump() == {
        "extracted": ROWS, "expanded": 0, "loaded": expected.height,
        "filtered": ROWS - expected.height, "quarantined": 0, "grouped": 0,
    }  # fmt: skip
    again = [attempt - 1 for attempt in await run.attempts("etl.extract_chunk")]
    assert sum(again) * CHUNK <= kills * spec.limits.parallelism * CHUNK
    for target in TARGETS:
        found = (await run.rows(target)).sort("order_id")
        assert_frame_equal(found.cast(dict(expected.schema)), expected)  # type: ignore[arg-type] # names with types
