"""Workers killed with SIGKILL while a stream runs: the views are those of an undisturbed run."""

import asyncio
import os
import random
import signal

import polars as pl
import pytest

from common.settings import Settings
from connectors.kafka import KafkaLog
from connectors.kafka_consumer import consume
from devstack import stack as devstack
from devstack.sample.sales import SalesShape
from starter.compare import compare
from starter.demo_expected import expected_sales
from tests.stack_rig import KINDS, StreamOnStack, fill, raw_values, sales_spec, wait_for

TOPIC = "sales-recovery"
EVENTS = 300_000
RANGE = 4_000


@pytest.fixture(scope="module")
def expected(stack: Settings) -> pl.DataFrame:
    """Fill the topic once; what any run must show, computed without the engine."""

    async def prepare() -> list[bytes | None]:
        await fill(stack, SalesShape(EVENTS, seed=11, malformed=0.003, topic=TOPIC))
        return await raw_values(stack, TOPIC)

    return expected_sales(asyncio.run(prepare()))


def kill_a_worker(settings: Settings, chance: random.Random) -> None:
    """Send SIGKILL to one of this stack's worker processes that run now."""
    found = devstack.services(settings)
    pids = [s.pid for name, s in sorted(found.items()) if name.startswith("worker") and s.pid]
    if pids:
        os.kill(chance.choice(pids), signal.SIGKILL)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_final_views_are_those_of_an_undisturbed_run_when_workers_are_killed(
    stack: Settings, expected: pl.DataFrame, seed: int
) -> None:
    chance = random.Random(seed)
    stream = StreamOnStack(stack, sales_spec(stack, f"recovery-{seed}", TOPIC, RANGE))
    await stream.start()
    ended = asyncio.ensure_future(stream.handle.result())
    for _ in range(4):
        length = await stream.history_length()
        further = length + chance.randint(5, 60)
        progressed = wait_for(stream.history_length, further.__le__)
        await asyncio.wait(
            [asyncio.ensure_future(progressed), ended], return_when="FIRST_COMPLETED"
        )
        if ended.done():
            break
        kill_a_worker(stack, chance)
    result = await ended
    assert result.state == "completed"
    assert result.ledger.balanced
    assert result.ledger.consumed == EVENTS
    assert result.ledger.late == 0
    for kind in KINDS:
        found = compare(expected, await stream.view(kind), stream.key)
        assert found.different_rows == 0, (kind, found.examples)
    dead = await dead_letter_offsets(stack, stream.spec.name)
    assert len(dead) == len(set(dead)) == result.ledger.dead_lettered


async def dead_letter_offsets(settings: Settings, pipeline: str) -> list[tuple[bytes, bytes]]:
    """Read the positions in the dead letters that one stream wrote."""
    topic = f"{TOPIC}.dlq"
    log = KafkaLog(settings.kafka)
    ends = (await log.describe(topic)).end
    await log.close()
    found = []
    async for records in consume(settings.kafka, topic, ends):
        headers = [dict(record.headers) for record in records]
        found += [
            (h["partition"], h["offset"]) for h in headers if h["pipeline"].decode() == pipeline
        ]
    return found
