"""The gate from the command line: blocked to the byte, set aside, released, reported."""

import json
import os
import time
from typing import Any

import pytest

from common.settings import Settings
from tests.e2e.command import Sluice
from tests.e2e.etl_project import execute, seen, traces, write_etl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

PIPELINE = """
interval: 1d
source:
  postgres: {table: gated_source, cursor: changed}
transform:
  - where: note is distinct from 'skip'
gate:
  - {check: range, field: amount, min: 0, max: 1000, severity: quarantine}
  - {check: not_null, field: customer, severity: quarantine}
  - {check: volume, min: 1, max: 900}
targets:
  - clickhouse: {table: gated, mode: merge, key: [id]}
  - postgres: {table: gated, mode: merge, key: [id]}
  - lake: {path: gated/merged, mode: merge, key: [id]}
  - lake: {path: gated/replaced, mode: replace}
limits: {chunk_rows: 150, parallelism: 4}
"""
TARGETS = [
    ("clickhouse", "gated"), ("postgres", "gated"),
    ("lake", "gated/merged"), ("lake", "gated/replaced"),
]  # fmt: skip
DAY = "2026-05-01/2026-05-02"
NEGATIVE, NAMELESS, SKIPPED = range(1, 21), range(21, 26), range(26, 66)
GOOD = range(66, 801)
FILL = """
INSERT INTO gated_source
SELECT n, CASE WHEN n NOT BETWEEN 21 AND 25 THEN 'c' || n END,
  CASE WHEN n <= 20 THEN -n ELSE n END / 1.0, CASE WHEN n BETWEEN 26 AND 65 THEN 'skip' END,
  '2026-05-01T00:00Z'::timestamptz + n * interval '1 minute'
FROM generate_series({first}, {last}) n
"""


def outcome(sluice: Sluice, code: int, *arguments: str) -> dict[str, Any]:
    done = sluice(*arguments, "--wait", "-o", "json")
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ledger(found: dict[str, Any]) -> tuple[int, int, int, int]:
    counts = found["ledger"]
    assert counts["balanced"]
    assert counts["extracted"] == counts["loaded"] + counts["filtered"] + counts["quarantined"]
    return counts["extracted"], counts["loaded"], counts["filtered"], counts["quarantined"]


def require_targets(settings: Settings, wanted: list[int]) -> None:
    for kind, table in TARGETS:
        rows = seen(settings, kind, table).sort("id")
        assert rows["id"].to_list() == wanted, (kind, table)
        amounts = [-n if n in NEGATIVE else n for n in wanted]
        assert [float(amount) for amount in rows["amount"]] == amounts


def test_a_batch_is_blocked_to_the_byte_and_rejected_rows_are_released_into_every_target(
    sluice: Sluice, stack: Settings
) -> None:
    execute(
        stack,
        "CREATE TABLE gated_source (id bigint PRIMARY KEY, customer text, amount numeric(12,2), "
        "note text, changed timestamptz NOT NULL)",
        FILL.format(first=1, last=800),
    )
    write_etl(sluice, "gated", PIPELINE)
    run = ("etl", "run", "gated", "--interval", DAY)

    loaded = outcome(sluice, 0, *run)
    assert ledger(loaded) == (800, len(GOOD), len(SKIPPED), 25)
    require_targets(stack, list(GOOD))
    report = sluice.json("quality", "report", "gated/1")
    checks = {one["name"]: (one["outcome"], one["severity"]) for one in report["checks"]}
    assert checks["range(amount)"] == ("failed", "quarantine")
    assert checks["volume"] == ("passed", "block")
    (listed,) = sluice.json("quarantine", "list", "gated")
    assert (listed["run"], listed["quarantined"]) == ("gated/1", 25)
    shown = sluice.json("quarantine", "show", "gated/1", "--limit", "0")
    assert sorted(int(one["content"]["id"]) for one in shown) == [*NEGATIVE, *NAMELESS]
    assert {one["check"] for one in shown} == {"range(amount)", "not_null(customer)"}

    require_blocked(sluice, stack, run)
    require_released(sluice, stack)
    require_swept(sluice, stack, run)


def require_swept(sluice: Sluice, settings: Settings, run: tuple[str, ...]) -> None:
    """Raw rows of a run that ended long ago go; what people and later runs ask for stays."""
    long_ago = time.time() - 8 * 86_400
    for record in (settings.data_dir / "objects/etl/gated/records").iterdir():
        os.utime(record, (long_ago, long_ago))
    raw = raw_traces(settings)
    (swept,) = sluice.json("sweep", "gated")
    assert swept["kind"] == "etl"
    assert sorted(f"lake/{key}" for key in swept["keys"]) == sorted(raw) != []
    assert raw_traces(settings) == []
    assert len(sluice.json("quarantine", "show", "gated", "--limit", "0")) == 4
    forgotten = outcome(sluice, 0, *run, "--forget-releases")
    assert ledger(forgotten) == (800, len(GOOD), len(SKIPPED), 25)


def raw_traces(settings: Settings) -> list[str]:
    return [
        name
        for name in traces(settings)
        if name.startswith("lake/etl/gated/runs/") and "/raw/" in name
    ]


def require_blocked(sluice: Sluice, settings: Settings, run: tuple[str, ...]) -> None:
    """With 200 rows more there are more than the gate allows; nothing changes but its evidence."""
    execute(settings, FILL.format(first=801, last=1000))
    before = traces(settings)
    blocked = outcome(sluice, 3, *run)
    assert (blocked["state"], blocked["published"]) == ("blocked", [])
    assert ledger(blocked) == (1000, len(GOOD) + 200, len(SKIPPED), 25)
    after = traces(settings)
    execute(settings, "DELETE FROM gated_source WHERE id > 800")
    assert {name: after.get(name) for name in before} == before
    new = [name for name in after if name not in before]
    places = {name.rsplit("/", 1)[0] for name in new}
    assert places <= {
        "objects/etl/gated/claims", "objects/etl/gated/records",
        "lake/etl/gated/runs/000002/quarantine", "lake/etl/gated/runs/000002/report",
    }, places  # fmt: skip

    told = sluice(*run, "--wait")
    assert told.returncode == 0  # the rows are gone again
    trend = sluice.json("quality", "trend", "gated")
    assert [one["outcome"] for one in trend] == ["warned", "blocked", "warned"]
    assert sluice.json("quality", "report", "gated/2")["outcome"] == "blocked"


def require_released(sluice: Sluice, settings: Settings) -> None:
    """First the negative amounts, then one row without a name; what was let through stays."""
    first = outcome(sluice, 0, "quarantine", "release", "gated/1", "--check", "range(amount)")
    assert ledger(first) == (800, len(GOOD) + 20, len(SKIPPED), 5)
    require_targets(settings, [*NEGATIVE, *GOOD])
    left = sluice.json("quarantine", "show", "gated", "--limit", "0")
    assert sorted(int(one["content"]["id"]) for one in left) == [*NAMELESS]
    place = f"{left[0]['chunk']}:{left[0]['row']}"
    second = outcome(sluice, 0, "quarantine", "release", "gated", "--row", place)
    assert ledger(second) == (800, len(GOOD) + 21, len(SKIPPED), 4)
    named = int(left[0]["content"]["id"])
    require_targets(settings, [*NEGATIVE, named, *GOOD])
    newest = sluice.json("quarantine", "list", "gated")[0]
    assert (newest["quarantined"], newest["release_of"]) == (4, 4)
    told = sluice.refused(2, "quarantine", "release", "gated", "--check", "nothing")
    assert "expected rows that can be released, got none" in told
    # To cancel a run that had ended was said to be requested.
    told = sluice.refused(1, "etl", "cancel", "gated", "--interval", DAY)
    assert "expected a run to cancel, got one that has ended" in told
