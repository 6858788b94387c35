"""A table of orders into three targets by merge, day by day, against a computation of its own."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from common.settings import Settings
from tests.e2e.command import Sluice
from tests.e2e.etl_project import ask_clickhouse, execute, query, seen, write_etl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ZONE = ZoneInfo("Europe/Berlin")
REGIONS = {"AT": "south", "DE": "north", "CH": "south"}
PIPELINE = """
interval: 1d
timezone: Europe/Berlin
source:
  postgres: {table: merged_orders_source, key: order_id, cursor: changed}
transform:
  - where: status is distinct from 'test'
  - join: {file: regions.csv, on: country, take: [region]}
  - derive:
      year: extract(year from changed)
      big: amount >= 250
  - drop: [status]
gate:
  - {check: not_null, field: order_id}
  - {check: unique, field: order_id}
targets:
  - clickhouse: {table: merged_orders, mode: merge, key: [order_id]}
  - postgres: {table: merged_orders, mode: merge, key: [order_id]}
  - lake: {path: merged/orders, mode: merge, key: [order_id], partition_by: changed}
limits: {chunk_rows: 1500, parallelism: 4}
"""
FILL = """
INSERT INTO merged_orders_source
SELECT n, (array['DE','AT','CH','XX',NULL])[1 + n % 5],
  CASE WHEN n % 10 = 0 THEN 'test' WHEN n % 7 = 0 THEN NULL ELSE 'paid' END,
  (n % 50000) / 100.0, jsonb_build_object('n', n),
  '2026-05-01T00:00+02:00'::timestamptz + n * interval '21.600001 second'
FROM generate_series(0, 11999) n
"""
COLUMNS = ["order_id", "country", "amount", "note", "changed", "region", "year", "big"]
Row = dict[str, Any]
Held = dict[int, tuple[datetime, int, Row]]


def span(day: str) -> tuple[str, datetime, datetime]:
    first = date.fromisoformat(day)
    last = first + timedelta(days=1)
    edges = [datetime(one.year, one.month, one.day, tzinfo=ZONE) for one in (first, last)]
    return f"{first}/{last}", edges[0], edges[1]


def expected_row(row: Row) -> Row:
    changed: datetime = row["changed"]
    amount: Decimal | None = row["amount"]
    return {
        **{name: row[name] for name in ("order_id", "country", "amount", "note", "changed")},
        "region": REGIONS.get(row["country"]),
        "year": changed.year,
        "big": None if amount is None else amount >= 250,
    }


class Model:
    """The targets as merge promises them: by key, the greatest (cursor, run)."""

    def __init__(self, sluice: Sluice) -> None:
        self.sluice = sluice
        self.held: Held = {}

    def run(self, day: str) -> dict[str, Any]:
        text, start, end = span(day)
        source = query(self.sluice.settings, "SELECT * FROM merged_orders_source")
        inside = [row for row in source if start <= row["changed"] < end]  # type: ignore[operator] # an instant
        kept = [expected_row(row) for row in inside if row["status"] != "test"]
        done: dict[str, Any] = self.sluice.json(
            "etl", "run", "merged-orders", "--interval", text, "--wait"
        )
        assert done["state"] == "published"
        ledger = done["ledger"]
        assert (ledger["extracted"], ledger["loaded"]) == (len(inside), len(kept))
        assert ledger["filtered"] == len(inside) - len(kept)
        assert ledger["balanced"]
        for row in kept:
            mine = (row["changed"], done["run"], row)
            before = self.held.get(row["order_id"], mine)
            self.held[row["order_id"]] = max(before, mine, key=lambda one: one[:2])
        return done

    def check(self) -> None:
        rows = sorted((row for _, _, row in self.held.values()), key=lambda row: row["order_id"])
        wanted = pl.DataFrame(
            rows, infer_schema_length=None, schema_overrides={"amount": pl.Decimal(12, 2)}
        ).select(COLUMNS)
        for kind in ("clickhouse", "postgres", "lake"):
            table = "merged/orders" if kind == "lake" else "merged_orders"
            found = seen(self.sluice.settings, kind, table).sort("order_id").select(COLUMNS)
            notes = found["note"].str.replace_all(" ", "")
            expected = wanted.with_columns(pl.col("note").str.replace_all(" ", ""))
            types: Any = dict(expected.schema)
            assert_frame_equal(found.with_columns(notes).cast(types), expected)


def test_days_in_any_order_and_twice_give_the_newest_row_of_each_key(
    sluice: Sluice, stack: Settings
) -> None:
    execute(
        stack,
        "DROP TABLE IF EXISTS merged_orders_source",
        "CREATE TABLE merged_orders_source (order_id bigint PRIMARY KEY, country text, status text,"
        " amount numeric(12,2), note jsonb, changed timestamptz NOT NULL)",
        FILL,
    )
    path = write_etl(sluice, "merged-orders", PIPELINE)
    lines = [f"{country},{region}" for country, region in REGIONS.items()]
    (path.parent / "regions.csv").write_text("\n".join(["country,region", *lines]))
    sluice.ok("pipelines", "validate", "merged-orders")
    model = Model(sluice)

    first = model.run("2026-05-02")
    assert {one["inserted"] for one in first["published"]} == {first["ledger"]["loaded"]}
    model.check()
    again = model.run("2026-05-02")
    changed = {
        one["target"]: (one["inserted"], one["updated"], one["written"])
        for one in again["published"]
    }
    assert changed.pop("lake:merged/orders") == (0, 0, first["ledger"]["loaded"])
    assert set(changed.values()) == {(0, first["ledger"]["loaded"], 0)}
    model.check()

    execute(  # orders of the second day change on the third, on the second, and become tests
        stack,
        "UPDATE merged_orders_source SET amount = amount + 1, changed = changed + interval '1 day' "
        "WHERE order_id % 3 = 0 AND changed >= '2026-05-02T00:00+02:00' "
        "AND changed < '2026-05-03T00:00+02:00'",
        "UPDATE merged_orders_source SET amount = NULL, changed = changed + interval '0.5 second' "
        "WHERE order_id % 11 = 0",
        "UPDATE merged_orders_source SET status = 'test' WHERE order_id % 13 = 0",
    )
    model.run("2026-05-03")
    model.check()
    model.run("2026-05-01")
    model.run("2026-05-02")
    model.check()
    model.run("2026-05-03")
    model.check()
    rows = query(stack, "SELECT count(*) AS rows, sum(amount) AS amount FROM merged_orders")[0]
    ((count, amount),) = ask_clickhouse(
        stack, "SELECT count(), sum(amount) FROM merged_orders_final"
    )
    assert (rows["rows"], rows["amount"]) == (count, amount) == (len(model.held), amount)
    assert sum(path.is_file() for path in (stack.data_dir / "lake/etl").rglob("*/clean/*")) == 0
