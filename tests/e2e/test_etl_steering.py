"""Runs that are paused, resumed and cancelled in the middle from the command line."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from common.settings import Settings
from tests.e2e.command import Sluice
from tests.e2e.etl_project import execute, query, seen, status_when, traces, write_etl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

GATE = 7301
PIPELINE = """
source:
  postgres: {table: steered_source, key: id}
transform:
  - where: amount is not null
targets:
  - clickhouse: {table: steered, mode: merge, key: [id]}
  - postgres: {table: steered, mode: merge, key: [id]}
  - lake: {path: steered/rows, mode: merge, key: [id]}
limits: {chunk_rows: 100, parallelism: 1}
"""
# Rows behind the third chunk are read when nobody holds the gate.
SOURCE = (
    "CREATE TABLE steered_rows (id bigint PRIMARY KEY, amount bigint)",
    "CREATE FUNCTION steered_text(id bigint) RETURNS text STABLE LANGUAGE plpgsql AS $$ BEGIN "
    f"IF id > 300 THEN PERFORM pg_advisory_xact_lock_shared({GATE}); END IF; "
    "RETURN 'row ' || id; END $$",
    "CREATE VIEW steered_source AS SELECT id, amount, steered_text(id) AS note FROM steered_rows",
    "INSERT INTO steered_rows SELECT n, nullif(n % 10, 0) * n FROM generate_series(1, 600) n",
)
TARGETS = [("clickhouse", "steered"), ("postgres", "steered"), ("lake", "steered/rows")]


@contextmanager
def closed_gate(settings: Settings) -> Iterator[Callable[[], None]]:
    """Hold the gate; gives what opens it."""
    dsn = settings.postgres.dsn
    with asyncio.Runner() as runner:
        connect = asyncpg.connect(dsn.get_secret_value() if dsn else "")
        connection: asyncpg.Connection = runner.run(connect)
        runner.run(connection.execute("SELECT pg_advisory_lock($1)", GATE))
        try:
            yield lambda: runner.run(connection.execute("SELECT pg_advisory_unlock_all()"))
        finally:
            runner.run(connection.close())


def require_rows(settings: Settings) -> None:
    wanted = query(settings, "SELECT id, amount FROM steered_rows WHERE amount IS NOT NULL")
    expected = sorted((row["id"], row["amount"], f"row {row['id']}") for row in wanted)
    for kind, table in TARGETS:
        assert sorted(seen(settings, kind, table).select("id", "amount", "note").rows()) == expected


def test_a_run_is_paused_resumed_and_cancelled_in_the_middle(
    sluice: Sluice, stack: Settings
) -> None:
    execute(stack, *SOURCE)
    write_etl(sluice, "steered", PIPELINE)
    with closed_gate(stack) as open_gate:
        assert sluice.json("etl", "run", "steered")["state"] == "running"
        status_when(stack, "steered", lambda status: status.chunks_done == 3)
        sluice.ok("etl", "pause", "steered")
        open_gate()
        status_when(stack, "steered", lambda status: status.rows == 399)  # the fourth was read
    shown = sluice.ok("etl", "status", "steered").splitlines()
    assert shown[0].startswith("steered  run-000001  paused  extract 3/6 chunks  399 rows")
    assert shown[1] == "  reason   paused by request"
    waited = sluice("etl", "status", "steered", "--wait", "--timeout", "2s")
    assert waited.returncode == 6
    assert "paused by request" in waited.stderr
    assert query(stack, "SELECT to_regclass('steered_final') AS found")[0]["found"] is None
    sluice.ok("etl", "resume", "steered")
    done = sluice.json("etl", "status", "steered", "--wait")
    assert (done["state"], done["ledger"]["loaded"]) == ("published", 540)
    require_rows(stack)

    execute(stack, "UPDATE steered_rows SET amount = 1", "DELETE FROM steered_rows WHERE id > 550")
    before = traces(stack)
    with closed_gate(stack):
        sluice.ok("etl", "run", "steered")
        status_when(stack, "steered", lambda status: status.chunks_done == 3)
        told = sluice.refused(2, "etl", "run", "steered")
        assert "got one that goes on; watch it with `sluice etl status steered --wait`" in told
        sluice.ok("etl", "pause", "steered")
        cancelled = sluice.ok("etl", "cancel", "steered", "--wait")
    assert "cancelled, its targets are as they were" in cancelled
    after = traces(stack)
    assert {name: after.get(name) for name in before} == before
    new = {name for name in after if name not in before}
    assert new <= {"objects/etl/steered/claims/000002.json"}
    undone = sluice.json("etl", "status", "steered")
    assert (undone["state"], undone["reason"]) == ("cancelled", "cancelled by request")
    told = sluice.refused(1, "etl", "pause", "steered")
    assert "expected a run to pause, got one that has ended" in told

    said = sluice.json("etl", "run", "steered", "--dry-run")
    assert (said["slot"], said["schema_changes"]) == ("run-000003", [])
    again = json.loads(sluice.ok("etl", "run", "steered", "--wait", "-o", "json"))
    assert (again["run"], again["ledger"]["loaded"]) == (3, 550)
    updated = {one["target"]: (one["inserted"], one["updated"]) for one in again["published"]}
    assert updated["postgres:steered"] == (55, 495)
    ended = status_when(stack, "steered", lambda status: status.state == "published")
    assert (ended.slot, ended.chunk_count) == (said["slot"], len(said["chunks"]))
