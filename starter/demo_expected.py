"""What the demo's streams must show, computed from the raw records without the engine.

It takes orjson, plain Python and polars.
"""

from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import orjson
import polars as pl

Values = Iterable[bytes | None]
Row = tuple[Any, ...]

_CENT = Decimal("0.01")
_HOUR_MS = 3_600_000
_MINUTE_MS = 60_000


def valid_sales(values: Values) -> pl.DataFrame:
    """Give the sales among raw records: `at` in ms, category, customer, product, cents."""
    return pl.DataFrame(
        _rows(values, _sale),
        schema={
            "at": pl.Int64, "category": pl.String, "customer": pl.Int64, "product": pl.Int64,
            "cents": pl.Int64,
        },
        orient="row",
    )  # fmt: skip


def expected_sales(values: Values) -> pl.DataFrame:
    """Compute sales, revenue, average and distinct counts per minute and category."""
    groups = (
        valid_sales(values)
        .group_by(_window(_MINUTE_MS), "category")
        .agg(
            pl.len().alias("sales"),
            pl.col("cents").sum(),
            pl.col("customer").n_unique().alias("unique_customers"),
            pl.col("product").n_unique().alias("unique_products"),
        )
    )
    cents, counts = groups["cents"].to_list(), groups["sales"].to_list()
    revenue = [Decimal(total) * _CENT for total in cents]
    average = [
        (total / count).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
        for total, count in zip(revenue, counts, strict=True)
    ]
    return groups.drop("cents").with_columns(
        pl.Series("revenue", revenue, dtype=pl.Decimal(38, 2)),
        pl.Series("average_amount", average, dtype=pl.Decimal(38, 6)),
    )


def expected_flights(values: Values) -> pl.DataFrame:
    """Compute flights, delays and distinct tail numbers per hour, origin and carrier."""
    rows = pl.DataFrame(
        _rows(values, _flight),
        schema={
            "at": pl.Int64, "origin": pl.String, "carrier": pl.String, "delay": pl.Float64,
            "tail": pl.String,
        },
        orient="row",
    )  # fmt: skip
    return rows.group_by(_window(_HOUR_MS), "origin", "carrier").agg(
        pl.len().alias("flights"),
        pl.col("delay").mean().alias("mean_dep_delay"),
        pl.col("delay").max().alias("max_dep_delay"),
        pl.col("tail").drop_nulls().n_unique().alias("tails"),
    )


def _rows(values: Values, read: Callable[[dict[str, Any]], Row | None]) -> list[Row]:
    rows = []
    for value in values:
        try:
            record = orjson.loads(value or b"")
        except orjson.JSONDecodeError:
            continue
        row = read(record) if isinstance(record, dict) else None
        if row is not None:
            rows.append(row)
    return rows


def _sale(record: dict[str, Any]) -> Row | None:
    at, customer, product = (record.get(k) for k in ("timestamp", "customer_id", "product_id"))
    category, amount = record.get("category"), record.get("amount")
    texts = isinstance(record.get("event_id"), str) and isinstance(category, str)
    whole = all(type(number) is int for number in (at, customer, product))
    if not (texts and whole and type(amount) in (int, float)):
        return None
    cents = round(float(amount) * 100)  # type: ignore[arg-type]  # a number, just checked
    return (at, category, customer, product, cents)


def _flight(record: dict[str, Any]) -> Row:
    names = ("departed_at", "origin", "carrier", "dep_delay", "tailnum")
    return tuple(record[name] for name in names)


def _window(size_ms: int) -> pl.Expr:
    start = pl.col("at") // size_ms * size_ms
    return start.cast(pl.Datetime("ms", "UTC")).alias("window_start")
