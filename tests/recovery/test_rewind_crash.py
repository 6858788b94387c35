"""A worker dies while the epoch of a rewind is claimed: it is claimed once, and nothing is lost."""

import asyncio

import pytest

from common.settings import Settings
from devstack.sample.sales import START_MS, SalesShape
from starter.compare import compare
from starter.demo_expected import expected_sales
from streaming.status import RewindTo, Rewound
from tests.recovery.crash_run import Death, apart, mortal_worker
from tests.stack_rig import KINDS, StreamOnStack, fill, raw_values, sales_spec

pytestmark = pytest.mark.recovery

EVENTS = 8_000
CLAIM = 2
"""The object that the claim creates; the first one is the epoch of the fresh start."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("moment", ["before:create", "after:create"])
async def test_a_rewind_goes_on_when_the_worker_dies_while_its_epoch_is_claimed(
    stack: Settings, moment: str
) -> None:
    name = f"claim-{moment.split(':', maxsplit=1)[0]}"
    await fill(stack, SalesShape(EVENTS, seed=21, rate=10.0, topic=f"sales-{name}"))
    settings = await apart(stack)
    stream = StreamOnStack(settings, sales_spec(settings, name, f"sales-{name}", 500))
    await stream.start(until_latest=False)
    async with mortal_worker(settings, Death(moment, CLAIM)) as worker:
        await stream.until(lambda s: s.ledger.consumed == EVENTS and s.pending_flushes == 0)
        to = RewindTo(time_ms=START_MS + 5 * 60_000)
        asked = asyncio.ensure_future(
            stream.handle.execute_update("rewind", to, result_type=Rewound)
        )
        await worker.wait()
        assert not asked.done()
    async with mortal_worker(settings, Death("never", 0)):
        rewound = await asked
        assert (rewound.epoch, rewound.floor_ms) == (2, to.time_ms)
        left = EVENTS - sum(rewound.offsets.values())
        assert 0 < left < EVENTS
        await stream.until(lambda s: s.epoch == 2 and s.ledger.consumed == left)
        await stream.handle.signal("drain")
        assert (await stream.handle.result()).epoch == 2
        await stream.start()
        result = await stream.handle.result()
    assert (result.state, result.epoch, result.ledger.late) == ("completed", 2, 0)
    assert result.ledger.balanced
    expected = expected_sales(await raw_values(stack, f"sales-{name}"))
    for kind in KINDS:
        found = compare(expected, await stream.view(kind), stream.key)
        assert found.different_rows == 0, (kind, found.examples)
