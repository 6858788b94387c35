"""A stream with a database, a topic and a lake as its sinks, each at its own pace."""

import pytest

from common.settings import Settings
from devstack.sample.sales import SalesShape
from pipelines.stream import SinkSpec
from starter.compare import compare
from starter.demo_expected import expected_sales
from tests.stack_rig import StreamOnStack, fill, raw_values, sales_spec

pytestmark = pytest.mark.integration

TOPIC = "sales-sinks"
KINDS = ("clickhouse", "kafka", "lake")


@pytest.mark.timeout(180)
async def test_final_views_of_all_kinds_are_what_the_raw_records_come_to(stack: Settings) -> None:
    await fill(stack, SalesShape(60_000, seed=5, malformed=0.003, topic=TOPIC))
    expected = expected_sales(await raw_values(stack, TOPIC))
    sinks = [SinkSpec.model_validate({"kind": kind, "table": "sinks_1m"}) for kind in KINDS]
    spec = sales_spec(stack, "sinks", TOPIC, 4_000).model_copy(update={"sinks": sinks})
    stream = StreamOnStack(stack, spec)
    for fresh in (False, True):
        await stream.start(fresh=fresh)
        result = await stream.handle.result()
        assert (result.state, result.ledger.balanced) == ("completed", True)
        for kind in KINDS:
            found = compare(expected, await stream.view(kind), stream.key)
            assert found.different_rows == 0, (kind, found.examples)
            assert found.found_rows == expected.height > 0
