"""Services go away: the stream says so, goes on by itself, and its final views are exact."""

import asyncio
import contextlib

import polars as pl
import pytest

from common.errors import ServiceUnavailableError
from common.settings import Settings
from devstack.sample.sales import START_MS, SalesShape
from starter.compare import compare
from starter.demo_expected import expected_sales
from starter.stream_client import NoAnswerError, StreamClient, StreamRun
from streaming.status import StreamStatus
from tests.recovery.outage import away
from tests.stack_rig import KINDS, StreamOnStack, fill, raw_values, sales_spec, wait_for

pytestmark = pytest.mark.recovery

PART = 20_000
PART_MS = PART * 10
RANGE = 2_000


class Flow:
    """An endless stream over a topic that grows in parts, each later than the one before."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings = settings
        self.topic = f"{name}-in"
        self.stream = StreamOnStack(settings, sales_spec(settings, name, self.topic, RANGE))
        self.parts = 0

    async def append(self) -> None:
        """Write the next part."""
        start_ms = START_MS + self.parts * PART_MS
        self.parts += 1
        await fill(
            self.settings,
            SalesShape(PART, seed=self.parts, malformed=0.003, start_ms=start_ms, topic=self.topic),
        )

    async def shown(self) -> StreamStatus:
        """Ask as the command line does."""
        client = await StreamClient.open(self.settings)
        run = await client.find(self.stream.spec.name)
        assert isinstance(run, StreamRun)
        return await client.status(run)

    async def patiently_shown(self) -> StreamStatus | None:
        """Ask as the command line does; None while nobody answers."""
        with contextlib.suppress(NoAnswerError):
            return await self.shown()
        return None

    async def until(self, reason: str) -> StreamStatus:
        """Wait until the status gives a reason with these words."""
        return await wait_for(self.shown, lambda status: reason in status.reason)

    async def caught_up(self) -> StreamStatus:
        """Wait until all that was written is merged and flushed."""
        total = self.parts * PART
        return await self.stream.until(
            lambda s: s.ledger.consumed == total and s.pending_flushes == 0 and not s.reason
        )

    async def check(self) -> None:
        """End the stream, then let a bounded run close its windows: all is exact in every sink."""
        await self.stream.handle.signal("drain")
        assert (await self.stream.handle.result()).state == "drained"
        await self.stream.start()
        result = await self.stream.handle.result()
        assert result.state == "completed"
        assert result.ledger.balanced
        assert result.ledger.consumed == self.parts * PART
        assert result.ledger.late == 0
        expected = expected_sales(await raw_values(self.settings, self.topic))
        await self.compare(expected)

    async def compare(self, expected: pl.DataFrame) -> None:
        """Compare what a reader of each sink sees."""
        for kind in KINDS:
            found = compare(expected, await self.stream.view(kind), self.stream.key)
            assert found.different_rows == 0, (kind, found.examples)


@pytest.mark.timeout(180)
async def test_stream_outlasts_each_service_and_says_which_one_is_away(stack: Settings) -> None:
    flow = Flow(stack, "outage")
    await flow.append()
    await flow.stream.start(until_latest=False)
    await flow.caught_up()
    for service, name in [
        ("clickhouse", "ClickHouse"),
        ("timescaledb", "TimescaleDB"),
        ("postgres", "PostgreSQL"),
    ]:
        async with away(stack, service):
            await flow.append()
            status = await flow.until(name)
            assert status.state == "running"
        status = await flow.caught_up()
    writing = asyncio.ensure_future(flow.append())
    before = (await flow.stream.status()).ledger.consumed
    await flow.stream.until(lambda s: s.ledger.consumed > before)
    await writing
    async with away(stack, "kafka"):
        status = await flow.until("Kafka")
        assert status.state == "running"
    await flow.caught_up()
    async with away(stack, "temporal"):
        with pytest.raises(ServiceUnavailableError, match="Temporal"):
            await flow.shown()
        await flow.append()
    await flow.caught_up()
    await flow.check()


@pytest.mark.timeout(120)
async def test_stream_that_starts_while_a_service_is_away_says_so_and_goes_on(
    stack: Settings,
) -> None:
    flow = Flow(stack, "outage-start")
    await flow.append()
    async with away(stack, "kafka"):
        await flow.stream.start()
        assert (await flow.until("Kafka")).state == "starting"
    assert (await flow.stream.handle.result()).state == "completed"
    await flow.append()
    async with away(stack, "clickhouse"):
        await flow.stream.start(until_latest=False)
        assert (await flow.until("ClickHouse")).state == "starting"
    await flow.caught_up()
    await flow.check()
