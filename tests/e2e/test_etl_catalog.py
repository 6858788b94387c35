"""The catalog's ETL pipelines from the command line, against DuckDB over the same rows."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from common.settings import Settings
from connectors.batch_targets import open_target
from devstack.sample.flights import TABLES, table_csv
from devstack.sample.orders import OrdersShape, orders_batches
from pipelines.load import CATALOG_DIR
from tests.e2e.command import Sluice

BERLIN = ZoneInfo("Europe/Berlin")
ROWS = 20_000
DAYS = [date(2026, 3, day) for day in (28, 29, 30)]
HOURS = {date(2026, 3, 28): 24, date(2026, 3, 29): 23, date(2026, 3, 30): 24}

FACTS = """
SELECT o.* EXCLUDE (ordered_at, updated_at),
    extract(year FROM ordered_at) AS order_year, extract(month FROM ordered_at) AS order_month,
    extract(isodow FROM ordered_at) AS day_of_week,
    CASE WHEN amount >= 500 THEN 'high' WHEN amount >= 100 THEN 'normal' ELSE 'low' END
        AS value_category,
    c.country_name, c.region,
    epoch_us(ordered_at) AS ordered_us, epoch_us(updated_at) AS updated_us
FROM orders AS o JOIN countries AS c USING (country)
WHERE epoch_us(updated_at) >= $start AND epoch_us(updated_at) < $end AND status <> 'test'
    AND amount >= 0 AND customer_id IS NOT NULL AND ordered_at <= updated_at
QUALIFY row_number() OVER (PARTITION BY order_id ORDER BY updated_at DESC) = 1
"""


def _midnight_us(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=BERLIN).timestamp()) * 1_000_000


async def _seen(settings: Settings, kind: str, table: str) -> pl.DataFrame:
    target = open_target(kind, None, settings)
    try:
        return pl.DataFrame(await target.final_rows(table))
    finally:
        await target.close()


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a database that knows the seeder's rows and nothing of the pipeline's work."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = pa.Table.from_batches(list(orders_batches(OrdersShape(ROWS))))
        connection.register("orders", rows)
        countries = CATALOG_DIR / "reference" / "countries.csv"
        connection.execute(f"CREATE TABLE countries AS FROM read_csv('{countries}')")
        yield connection


def _facts(database: duckdb.DuckDBPyConnection, day: date) -> pl.DataFrame:
    """Compute what a day's run has to load."""
    window = {"start": _midnight_us(day), "end": _midnight_us(day + timedelta(days=1))}
    return pl.DataFrame(database.sql(FACTS, params=window).to_arrow_table())


@pytest.fixture(scope="module")
def results(sluice: Sluice) -> dict[date, dict[str, Any]]:
    """Seed, and load each day once."""
    seeded = sluice.json("generate", "orders", "--rows", str(ROWS))
    assert seeded["tables"]["orders"] == ROWS
    return {day: _run(sluice, day) for day in DAYS}


def _run(sluice: Sluice, day: date) -> dict[str, Any]:
    interval = f"{day}/{day + timedelta(days=1)}"
    found: dict[str, Any] = sluice.json(
        "etl", "run", "orders-daily", "--interval", interval, "--wait"
    )
    return found


@pytest.mark.timeout(300)
def test_orders_of_a_day_are_counted_exactly(
    results: dict[date, dict[str, Any]], database: duckdb.DuckDBPyConnection
) -> None:
    for day, result in results.items():
        window = [_midnight_us(day), _midnight_us(day + timedelta(days=1))]
        assert window[1] - window[0] == HOURS[day] * 3_600_000_000
        extracted, tests = database.execute(
            "SELECT count(*), count(*) FILTER (status = 'test') FROM orders "
            "WHERE epoch_us(updated_at) >= ? AND epoch_us(updated_at) < ?",
            window,
        ).fetchall()[0]
        ledger, loaded = result["ledger"], _facts(database, day).height
        assert result["state"] == "published"
        assert ledger["balanced"]
        assert (ledger["extracted"], ledger["filtered"]) == (extracted, tests)
        assert ledger["loaded"] == loaded
        assert ledger["quarantined"] == extracted - tests - loaded
        assert [one["inserted"] for one in result["published"]] == [loaded, loaded]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["clickhouse", "postgres"])
async def test_facts_are_those_of_another_database(
    stack: Settings,
    results: dict[date, dict[str, Any]],
    database: duckdb.DuckDBPyConnection,
    kind: str,
) -> None:
    expected = pl.concat([_facts(database, day) for day in results])
    expected = expected.unique("order_id", keep="last", maintain_order=True).sort("order_id")
    found = (await _seen(stack, kind, "orders_fact")).with_columns(
        pl.col("ordered_at").dt.epoch("us").alias("ordered_us"),
        pl.col("updated_at").dt.epoch("us").alias("updated_us"),
    )
    found = found.select(expected.columns).sort("order_id")
    assert found.cast(expected.schema).equals(expected)


@pytest.mark.timeout(300)
async def test_a_day_that_runs_again_changes_nothing(
    stack: Settings, sluice: Sluice, results: dict[date, dict[str, Any]]
) -> None:
    before = {kind: await _seen(stack, kind, "orders_fact") for kind in ("clickhouse", "postgres")}
    again = _run(sluice, DAYS[1])
    assert again["ledger"] == results[DAYS[1]]["ledger"]
    for kind, rows in before.items():
        assert (await _seen(stack, kind, "orders_fact")).equals(rows), kind


@pytest.mark.timeout(300)
def test_the_report_of_the_short_day_has_its_hours_and_its_revenue(
    results: dict[date, dict[str, Any]], database: duckdb.DuckDBPyConnection
) -> None:
    day = DAYS[1]
    path = Path(results[day]["report"])
    assert path.name == f"{day}.html"
    page = path.read_text(encoding="utf-8")
    sold = _facts(database, day).filter(~pl.col("status").is_in(["cancelled", "returned"]))
    assert f"<dt>revenue</dt><dd>{sold['amount'].sum():,}</dd>" in page
    assert 'aria-label="Revenue by hour, 23 bars' in page
    best = sold.group_by("product").agg(pl.col("amount").sum()).sort(
        ["amount", "product"], descending=[True, False]
    ).row(0)  # fmt: skip
    assert f'<td>{best[0]}</td><td class="number">{best[1]:,}</td>' in page


@pytest.fixture(scope="module")
def flights(sluice: Sluice) -> dict[str, dict[str, Any]]:
    """Write the files, load each into PostgreSQL, then all of them joined into ClickHouse."""
    sluice.ok("generate", "flights-files")
    names = [*(f"flights-load-{table}" for table in TABLES), "flights-load"]
    return {name: sluice.json("etl", "run", name, "--wait") for name in names}


def _file(table: str) -> pl.DataFrame:
    return pl.read_csv(table_csv(table), null_values=["NA", ""], infer_schema_length=None)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("table", TABLES)
async def test_a_file_of_flights_is_in_postgres_as_it_is(
    stack: Settings, flights: dict[str, dict[str, Any]], table: str
) -> None:
    result, expected = flights[f"flights-load-{table}"], _file(table)
    assert result["ledger"]["loaded"] == result["ledger"]["extracted"] == expected.height
    found = await _seen(stack, "postgres", f"nyc_{table}")
    if "time_hour" in expected.columns:
        found = found.with_columns(pl.col("time_hour").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    found = found.select(expected.columns).cast(expected.schema)
    order = expected.columns
    assert found.sort(order).equals(expected.sort(order))


@pytest.mark.timeout(300)
async def test_joined_flights_are_those_of_polars(
    stack: Settings, flights: dict[str, dict[str, Any]]
) -> None:
    assert flights["flights-load"]["ledger"]["loaded"] == 336_776
    planes = _file("planes").select("tailnum", "manufacturer", "seats")
    weather = _file("weather").select("origin", "time_hour", "temp", "visib")
    airports = _file("airports").select(pl.col("faa").alias("dest"), pl.col("name").alias("to"))
    joined = (
        _file("flights")
        .join(_file("airlines").rename({"name": "airline"}), on="carrier")
        .join(airports, on="dest", how="left")
        .join(planes, on="tailnum", how="left")
        .join(weather, on=["origin", "time_hour"], how="left")
        .with_columns((pl.col("arr_delay") > 15).alias("delayed"))
    )
    found = (await _seen(stack, "clickhouse", "flights_joined")).rename({"dest_name": "to"})
    measures = [
        pl.len().cast(pl.Int64).alias("flights"),
        pl.col("arr_delay", "distance", "seats").cast(pl.Int64).sum(),
        pl.col("delayed").cast(pl.Int64).sum(),
        pl.col("temp", "visib").count().cast(pl.Int64).name.suffix("_count"),
        pl.col("temp").max(),
    ]
    keys = ["airline", "manufacturer", "to"]
    expected = joined.group_by(keys).agg(measures).sort(keys)
    assert found.group_by(keys).agg(measures).sort(keys).equals(expected)
    assert expected["flights"].sum() == 336_776
