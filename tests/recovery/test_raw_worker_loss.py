"""Workers killed while a raw stream runs: every view is the topic's records, row for row."""

import asyncio
import json
import os
import random
import signal
from decimal import Decimal

import polars as pl
import pytest
from polars._typing import PolarsDataType

from common.settings import Settings
from connectors.kafka import KafkaLog
from connectors.kafka_consumer import consume
from devstack import stack as devstack
from devstack.sample.sales import SalesShape
from pipelines.stream import POSITION, Late
from starter.compare import compare
from tests.stack_rig import KINDS, StreamOnStack, fill, sales_spec, wait_for

TOPIC = "sales-raw-recovery"
EVENTS = 60_000
RANGE = 2_000
POSITIONS: list[tuple[str, PolarsDataType]] = list(
    zip(POSITION, (pl.String(), pl.Int32(), pl.Int64()), strict=True)
)
FIELDS: dict[str, PolarsDataType] = {
    "event_id": pl.String, "timestamp": pl.Int64, "category": pl.String, "customer_id": pl.Int64,
    "product_id": pl.Int64, "amount": pl.Decimal(12, 2),
}  # fmt: skip


async def records_of(settings: Settings) -> pl.DataFrame:
    """Read the sound records of the topic with the ordinary consumer and Python's own JSON."""
    log = KafkaLog(settings.kafka)
    ends = (await log.describe(TOPIC)).end
    await log.close()
    rows = []
    async for part in consume(settings.kafka, TOPIC, ends):
        for record in part:
            try:
                sale = json.loads(record.value or b"", parse_float=Decimal)
            except ValueError:
                continue
            if not isinstance(sale, dict) or any(sale.get(name) is None for name in FIELDS):
                continue
            if isinstance(sale["amount"], (int, Decimal)) and isinstance(sale["category"], str):
                values = (sale[name] for name in FIELDS)
                rows.append((*values, TOPIC, record.partition, record.offset))
    frame = pl.DataFrame(rows, schema=[*FIELDS.items(), *POSITIONS], orient="row")
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))


@pytest.mark.timeout(300)
async def test_final_views_of_a_raw_stream_are_the_records_when_workers_are_killed(
    stack: Settings,
) -> None:
    await fill(stack, SalesShape(EVENTS, seed=5, malformed=0.003, topic=TOPIC))
    expected = await records_of(stack)
    chance = random.Random(4)
    spec = sales_spec(stack, "raw-recovery", TOPIC, RANGE)
    changes: dict[str, object] = {"window": None, "group_by": [], "aggregate": {}, "late": Late()}
    stream = StreamOnStack(stack, spec.model_copy(update=changes))
    await stream.start()
    ended = asyncio.ensure_future(stream.handle.result())
    for _ in range(4):
        further = await stream.history_length() + chance.randint(20, 90)
        progressed = wait_for(stream.history_length, further.__le__)
        await asyncio.wait(
            [asyncio.ensure_future(progressed), ended], return_when="FIRST_COMPLETED"
        )
        if ended.done():
            break
        found = devstack.services(stack)
        workers = [s.pid for name, s in sorted(found.items()) if name.startswith("worker")]
        os.kill(chance.choice([pid for pid in workers if pid]), signal.SIGKILL)
    result = await ended
    assert result.ledger.balanced
    assert result.ledger.consumed == EVENTS
    assert result.ledger.delivered == result.flushed_rows == expected.height
    assert (result.ledger.late, result.ledger.aggregated) == (0, 0)
    for kind in KINDS:
        view = await stream.view(kind)
        assert set(view.columns) == set(expected.columns)
        differences = compare(expected, view, stream.key)
        assert differences.different_rows == 0, (kind, differences.examples)
        assert differences.found_rows == expected.height
