"""Workers that die at exact moments, one after the other: nothing is lost or counted twice."""

import asyncio
import random

import pytest

from common.settings import Settings
from devstack.sample.sales import SalesShape
from pipelines.stream import Window
from starter.compare import compare
from tests.recovery.crash_moment import MOMENTS
from tests.recovery.crash_run import Death, apart, run_through
from tests.recovery.expected_view import AGGREGATES, expected_view
from tests.stack_rig import KINDS, StreamOnStack, fill, raw_values, sales_spec

pytestmark = pytest.mark.recovery

TOPIC = "sales-crash"
EVENTS = 120_000
RANGE = 1_000
HISTORY_EVENTS = 150
"""So few that the state is handed to a new run every few seconds."""

CASES = {
    "whole": (Window(kind="tumbling", size_ms=60_000), 0),
    "sessions": (Window(kind="session", size_ms=900), 0),
    "key-ranges": (Window(kind="tumbling", size_ms=60_000), 16),
}
"""Windows, and the rows above which the state is cut into key ranges."""


@pytest.fixture(scope="module")
def values(stack: Settings) -> list[bytes | None]:
    """Fill the topic once, and read it without the engine."""

    async def prepare() -> list[bytes | None]:
        await fill(stack, SalesShape(EVENTS, seed=12, malformed=0.01, topic=TOPIC))
        return await raw_values(stack, TOPIC)

    return asyncio.run(prepare())


def schedule(part: int) -> list[Death]:
    """Give a third of all moments, mixed, each at an early passage; a stream opens only once."""
    chance = random.Random(part)
    moments = [moment for n, moment in enumerate(MOMENTS) if n % len(CASES) == part]
    chance.shuffle(moments)
    moments.sort(key=lambda moment: "create" not in moment)
    once = ("create", "continue")
    return [
        Death(moment, 1 if any(name in moment for name in once) else chance.randint(1, 3))
        for moment in moments
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES)
async def test_final_views_are_exact_when_workers_die_at_every_moment(
    stack: Settings, values: list[bytes | None], case: str
) -> None:
    window, key_rows = CASES[case]
    settings = await apart(stack)
    spec = sales_spec(settings, f"crash-{case}", TOPIC, RANGE)
    stream = StreamOnStack(
        settings, spec.model_copy(update={"window": window, "aggregate": AGGREGATES})
    )
    await stream.start(history_events=HISTORY_EVENTS)
    deaths = schedule(list(CASES).index(case))
    result, died = await run_through(stream, deaths, key_rows)
    assert died == len(deaths), f"ended before {deaths[died]}"
    assert result.state == "completed"
    assert result.ledger.balanced
    assert result.ledger.consumed == EVENTS
    assert result.ledger.late == 0
    expected = expected_view(values, window)
    assert expected.height > 200
    for kind in KINDS:
        found = compare(expected, await stream.view(kind), stream.key)
        assert found.different_rows == 0, (kind, found.examples)
