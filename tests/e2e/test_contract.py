"""A stream under a data contract: what breaks it is a dead letter, and nothing else is."""

import asyncio

import pytest

from common.settings import Settings
from contracts.load import CATALOG_DIR
from starter.demo_expected import valid_sales
from tests.e2e.command import Sluice
from tests.stack_rig import raw_values

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

EVENTS, TOPIC, NAME = 20_000, "contract-sales", "contract-stream"
LEAST_CENTS = 2_000


@pytest.fixture(scope="module")
def ledger(sluice: Sluice) -> dict[str, int]:
    arguments = ["--events", str(EVENTS), "--seed", "7", "--malformed", "0.01", "--topic", TOPIC]
    sluice.json("generate", "sales", *arguments)
    folder = sluice.settings.project_dir / "contracts"
    folder.mkdir(exist_ok=True)
    shipped = (CATALOG_DIR / "sales.yaml").read_text(encoding="utf-8")
    strict = shipped.replace("{minimum: 0}", "{minimum: 20}")
    assert strict != shipped
    (folder / "strict-sales.yaml").write_text(strict, encoding="utf-8")
    path = sluice.write_stream(NAME, TOPIC)
    head, _, rest = path.read_text().partition("  fields:\n")
    path.write_text(f"{head}  contract: strict-sales\n{rest[rest.index('event_time:') :]}")
    assert sluice.ok("contract", "validate", "strict-sales") == "1 contract ok\n"
    done = sluice.json("stream", "start", NAME, "--until", "latest", "--wait")
    counts: dict[str, int] = done["ledger"]
    return counts


def test_rows_hold_the_records_that_keep_the_contract(
    sluice: Sluice, stack: Settings, ledger: dict[str, int]
) -> None:
    sales = valid_sales(asyncio.run(raw_values(stack, TOPIC)))
    kept = sales.filter(sales["cents"] >= LEAST_CENTS)
    assert 0 < kept.height < sales.height
    assert ledger["balanced"]
    assert (ledger["consumed"], ledger["aggregated"]) == (EVENTS, kept.height)
    assert ledger["dead_lettered"] == EVENTS - kept.height
    for sink in ("clickhouse", "postgres"):
        rows = sluice.json("stream", "results", NAME, "--sink", sink, "--limit", "0")
        assert sum(row["sales"] for row in rows) == kept.height


@pytest.mark.usefixtures("ledger")
def test_dead_letters_are_the_records_that_break_it(stack: Settings) -> None:
    values = asyncio.run(raw_values(stack, TOPIC))
    letters = asyncio.run(raw_values(stack, f"{TOPIC}.dlq"))
    sales = valid_sales(values)
    broken = valid_sales(letters)

    assert len(letters) == len(values) - sales.filter(sales["cents"] >= LEAST_CENTS).height
    assert broken["cents"].sort().equals(sales.filter(sales["cents"] < LEAST_CENTS)["cents"].sort())
