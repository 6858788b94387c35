"""Workers that are deployed anew while a flush of several chunks is written: nothing is lost."""

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import ActivityTaskStartedEventAttributes, HistoryEvent

from common.settings import Settings
from devstack.sample.sales import START_MS, SalesShape
from pipelines.stream import StreamSpec, Window
from starter.compare import compare
from starter.demo_expected import valid_sales
from streaming.state import FLUSH_CHUNK_ROWS
from tests.recovery.crash_moment import Manner
from tests.recovery.crash_run import Death, apart, mortal_worker
from tests.stack_rig import StreamOnStack, fill, raw_values, sales_spec, wait_for

pytestmark = pytest.mark.recovery

TOPIC = "sales-deployment"
EVENTS = 125_000
CUSTOMERS = 2_000_000
"""So many that nearly every event is a row of its own."""

DAY_MS = 86_400_000
KINDS = ("clickhouse", "postgres", "kafka")
SECOND_CHUNK = ("before:write:clickhouse", 2)


@pytest.fixture(scope="module")
def expected(stack: Settings) -> pl.DataFrame:
    """Fill the topic once; what any run must show, computed without the engine."""

    async def prepare() -> list[bytes | None]:
        shape = SalesShape(
            EVENTS, seed=9, malformed=0.003, topic=TOPIC, customers=CUSTOMERS,
            start_ms=START_MS + DAY_MS // 2,
        )  # fmt: skip
        await fill(stack, shape)
        return await raw_values(stack, TOPIC)

    sales = valid_sales(asyncio.run(prepare()))
    day = (pl.col("at") // DAY_MS * DAY_MS).cast(pl.Datetime("ms", "UTC"))
    return sales.group_by(day.alias("window_start"), pl.col("customer").alias("customer_id")).agg(
        pl.len().alias("sales"),
        pl.col("product").n_unique().alias("unique_products"),
    )


def daily_spec(settings: Settings, name: str) -> StreamSpec:
    """Count each customer's sales of a day, all of which are one flush."""
    spec = sales_spec(settings, name, TOPIC, 20_000)
    calls = {name: spec.aggregate[name] for name in ("sales", "unique_products")}
    changes: dict[str, object] = {
        "window": Window(kind="tumbling", size_ms=DAY_MS),
        "group_by": ["customer_id"],
        "aggregate": calls,
        "sinks": [sink for sink in spec.sinks if sink.kind in KINDS],
    }
    return spec.model_copy(update=changes)


async def deploy(settings: Settings, stream: StreamOnStack, manner: Manner) -> None:
    """Replace the worker by a new one at the second chunk.

    The new one starts as soon as the old one knows that it has to stop.
    """
    name = f"old-{uuid.uuid4().hex[:8]}"
    ready = settings.data_dir / "run" / f"{name}.ready"
    async with mortal_worker(settings, Death(*SECOND_CHUNK, manner), name=name) as old:
        await there(ready, wanted=True)
        await there(ready, wanted=False)
        async with mortal_worker(settings, Death("never", 0)):
            assert await old.wait() == 0
            await stream.handle.result()


async def there(path: Path, *, wanted: bool) -> None:
    """Wait until a file is there, or is not."""

    async def exists() -> bool:
        return await asyncio.to_thread(path.exists)

    await wait_for(exists, lambda found: found == wanted)


async def events_of(stream: StreamOnStack) -> Sequence[HistoryEvent]:
    """Read the history of the stream."""
    return (await stream.handle.fetch_history()).events


def attempts_of(
    events: Sequence[HistoryEvent],
) -> dict[str, list[ActivityTaskStartedEventAttributes]]:
    """Give the last attempt of every activity by its type; the history keeps no other."""
    names = {
        e.event_id: e.activity_task_scheduled_event_attributes.activity_type.name for e in events
    }
    found: dict[str, list[ActivityTaskStartedEventAttributes]] = {}
    for event in events:
        if event.HasField("activity_task_started_event_attributes"):
            started = event.activity_task_started_event_attributes
            found.setdefault(names[started.scheduled_event_id], []).append(started)
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("manner", "grace_s"), [("told", 60.0), ("told and stuck", 3.0)], ids=["finishes", "hands-back"]
)
async def test_stream_survives_a_deployment_in_the_middle_of_a_flush(
    stack: Settings, expected: pl.DataFrame, manner: Manner, grace_s: float
) -> None:
    there = await apart(stack)
    worker = there.worker.model_copy(update={"graceful_stop_s": grace_s})
    settings = there.model_copy(update={"worker": worker})
    stream = StreamOnStack(settings, daily_spec(settings, f"deployed-{manner.replace(' ', '-')}"))
    await stream.start()
    await deploy(settings, stream, manner)
    result = await stream.handle.result()

    assert result.state == "completed"
    assert result.ledger.balanced
    assert result.ledger.consumed == EVENTS
    assert result.flush_seq == 1
    assert result.flushed_rows == expected.height > 2 * FLUSH_CHUNK_ROWS
    for kind in KINDS:
        found = compare(expected, await stream.view(kind), stream.key)
        assert found.different_rows == 0, (kind, found.examples)

    events = await events_of(stream)
    lost = (
        EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
    )
    assert not [event for event in events if event.event_type in lost]
    attempts = attempts_of(events)
    writes = attempts["sink.write_flush"]
    assert len(writes) == len(KINDS)
    again = [s for started in attempts.values() for s in started if s.attempt > 1]
    if manner == "told":
        assert not again
    else:
        assert any(s.attempt == 2 for s in writes)
        assert all(s.attempt == 2 for s in again)
        reasons = {s.last_failure.application_failure_info.type for s in again}
        assert reasons == {"WorkerShutdown"}
