"""What a stream of sales must show, computed by DuckDB over the raw records."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import duckdb
import polars as pl

from pipelines.stream import Window
from starter.demo_expected import valid_sales

AGGREGATES = {
    "sales": "count(*)",
    "revenue": "sum(amount)",
    "least": "min(amount)",
    "most": "max(amount)",
    "unique_customers": "count(distinct customer_id)",
    "unique_products": "count(distinct product_id)",
}

MONEY = {
    "revenue": pl.Decimal(38, 2), "least": pl.Decimal(12, 2), "most": pl.Decimal(12, 2),
}  # fmt: skip

_PLACED = {
    "tumbling": """
        select *, begin_ms + $size as end_ms from (
            select *, floor_to(ms, $slide, $shift) as begin_ms from sales)""",
    "sliding": """
        select *, begin_ms + $size as end_ms from (
            select *, unnest(generate_series(floor_to(ms, $slide, $shift),
                floor_to(ms - $size, $slide, $shift) + $slide, -$slide)) as begin_ms from sales)""",
    "session": """
        select *, min(ms) over one as begin_ms, max(ms) over one + $size as end_ms from (
            select *, sum(opens) over (partition by category order by ms, opens desc
                rows unbounded preceding) as number
            from (select *, coalesce(ms - lag(ms) over (partition by category order by ms) > $size,
                true)::int as opens from sales))
        window one as (partition by category, number)""",
    "day": "select * from sales join days using (day)",
}


def expected_view(values: Iterable[bytes | None], window: Window) -> pl.DataFrame:
    """Compute the rows of every window: bounds, category, `AGGREGATES`.

    Args:
        values: Raw records.
        window: Tumbling, sliding, session, or days of a time zone.
    """
    sales = valid_sales(values)
    kind = "day" if window.timezone else window.kind
    days = pl.DataFrame({"day": []})
    if window.timezone:
        sales, days = _in_days(sales, window.timezone)
    with duckdb.connect() as database:
        database.register("sales", sales.rename({"at": "ms"}))
        database.register("days", days)
        database.execute(
            "create macro floor_to(ms, step, shift) as "
            "cast(floor((ms - shift) / step) as bigint) * step + shift"
        )
        numbers = {
            "size": window.size_ms,
            "slide": window.slide_ms or window.size_ms,
            "shift": window.offset_ms,
        }
        placed = _PLACED[kind]
        used = {name: number for name, number in numbers.items() if f"${name}" in placed}
        table = database.sql(
            f"""select make_timestamptz(begin_ms * 1000) as window_start,
                make_timestamptz(end_ms * 1000) as window_end, category,
                count(*) as sales, sum(cents)::bigint as revenue,
                min(cents) as least, max(cents) as most,
                count(distinct customer) as unique_customers,
                count(distinct product) as unique_products
            from ({placed}) group by all""",
            params=used,
        ).to_arrow_table()
    found = pl.DataFrame(table)
    units = [pl.Series(n, [Decimal(c) / 100 for c in found[n]]) for n in MONEY]
    instant = pl.Datetime("ms", "UTC")
    return found.with_columns(
        pl.col("window_start", "window_end").cast(instant), *(s.cast(MONEY[s.name]) for s in units)
    )


def _in_days(sales: pl.DataFrame, zone: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give each sale its local day, and each day its bounds."""
    there = ZoneInfo(zone)
    local = [datetime.fromtimestamp(at / 1000, UTC).astimezone(there).date() for at in sales["at"]]
    known = sorted(set(local))

    def midnight_ms(day: date, after: int) -> int:
        start = datetime.combine(day + timedelta(days=after), time(), tzinfo=there)
        return int(start.timestamp() * 1000)

    bounds = pl.DataFrame(
        {
            "day": known,
            "begin_ms": [midnight_ms(day, 0) for day in known],
            "end_ms": [midnight_ms(day, 1) for day in known],
        }
    )
    return sales.with_columns(pl.Series("day", local)), bounds
