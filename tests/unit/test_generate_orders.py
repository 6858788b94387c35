"""The orders generator: same seed, same rows; dirty rows as many as were promised."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UsageError
from devstack.sample.orders import (
    UNKNOWN_COUNTRY,
    Fault,
    OrdersShape,
    customers_table,
    fault_counts,
    orders_batches,
    products_table,
)

BERLIN = "Europe/Berlin"


def rows_of(shape: OrdersShape, batch_rows: int = 250_000) -> pl.DataFrame:
    """Give all orders."""
    batches = list(orders_batches(shape, batch_rows))
    return pl.DataFrame(pa.Table.from_batches(batches)) if batches else pl.DataFrame()


def seen_faults(orders: pl.DataFrame) -> dict[Fault, int]:
    """Count what is wrong with orders by looking at nothing but their values."""
    repeated = pl.col("order_id").is_duplicated() & ~pl.col("order_id").is_last_distinct()
    conditions = {
        Fault.TEST: pl.col("status") == "test",
        Fault.NEGATIVE_AMOUNT: pl.col("amount") < 0,
        Fault.NO_CUSTOMER: pl.col("customer_id").is_null(),
        Fault.UNKNOWN_COUNTRY: pl.col("country") == UNKNOWN_COUNTRY,
        Fault.IN_THE_FUTURE: pl.col("ordered_at") > pl.col("updated_at"),
        Fault.REPEATED: repeated,
    }
    return {fault: orders.filter(wrong).height for fault, wrong in conditions.items()}


@given(
    rows=st.integers(1, 4_000),
    seed=st.integers(0, (1 << 63) - 1),
    batch_rows=st.integers(1, 4_000),
)
@settings(max_examples=25)
def test_rows_do_not_depend_on_the_batch_size(rows: int, seed: int, batch_rows: int) -> None:
    shape = OrdersShape(rows, seed)
    whole = rows_of(shape, rows)
    assert rows_of(shape, max(batch_rows, rows // 50 + 1)).equals(whole)
    assert whole["id"].to_list() == list(range(1, rows + 1))


@given(rows=st.integers(1, 6_000), seed=st.integers(0, (1 << 63) - 1))
@settings(max_examples=25)
def test_faults_are_as_many_as_promised(rows: int, seed: int) -> None:
    assert seen_faults(rows_of(OrdersShape(rows, seed))) == fault_counts(rows)


def test_an_order_has_one_fault_at_most() -> None:
    orders = rows_of(OrdersShape(20_000))
    clean = orders.filter(
        pl.col("status") != "test",
        pl.col("amount") > 0,
        pl.col("customer_id").is_not_null(),
        pl.col("country") != UNKNOWN_COUNTRY,
        pl.col("ordered_at") <= pl.col("updated_at"),
        pl.col("id") == pl.col("order_id"),
    )
    assert clean.height == 20_000 - 20 * 28


def test_seed_changes_the_rows_and_nothing_else_does() -> None:
    first, again, other = (rows_of(OrdersShape(5_000, seed)) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first["amount"].equals(other["amount"])
    assert first["amount"].sum() == Decimal("1892445.95")  # the same on every machine


def test_changes_fill_whole_days_of_berlin_and_the_short_day_has_fewer() -> None:
    orders = rows_of(OrdersShape(167_000, days=7, first_day=date(2026, 3, 25)))
    local = pl.col("updated_at").dt.convert_time_zone(BERLIN).dt.date().alias("day")
    days = orders.group_by(local).len().sort("day")
    assert days["day"].to_list() == [date(2026, 3, day) for day in range(25, 32)]
    assert days["len"].to_list() == [24_000] * 4 + [23_000] + [24_000] * 2
    assert orders["updated_at"].is_sorted()
    assert orders["updated_at"].n_unique() == orders.height
    first = orders["updated_at"][0]
    assert datetime(2026, 3, 24, 23, tzinfo=UTC) <= first < datetime(2026, 3, 25, tzinfo=UTC)


def test_orders_name_customers_and_products_that_are_there() -> None:
    shape = OrdersShape(20_000, customers=300, products=500)
    orders = rows_of(shape)
    customers, products = pl.DataFrame(customers_table(shape)), pl.DataFrame(products_table(shape))
    assert customers.height == 300
    assert products.height == 500
    bought = orders.drop_nulls("customer_id").filter(pl.col("country") != UNKNOWN_COUNTRY)
    found = bought.join(customers, on=["customer_id", "country"]).join(
        products, left_on=["product_id", "product"], right_on=["product_id", "name"]
    )
    assert found.height == bought.height
    priced = found.filter(pl.col("amount").abs() != pl.col("price") * pl.col("quantity"))
    assert priced.is_empty()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rows": -1}, "orders `rows`: expected from 0"),
        ({"days": 0}, "orders `days`: expected from 1"),
        ({"first_day": date(1900, 1, 1)}, "orders `start`: expected from 1970"),
    ],
)
def test_what_makes_no_orders_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        OrdersShape(**{"rows": 10, **change})
