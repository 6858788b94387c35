"""Reports: exact numbers, whatever the parts and their order; pages that stand by themselves."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.report import MEASURE, ReportBuilder, ReportResult
from batch.report_html import ReportSubject, report_page
from common.errors import PipelineSpecError
from contracts.field_type_parse import parse_field_type
from pipelines.report import Chart, Ranking, ReportSpec

COLUMNS = {
    "product": "string?",
    "customer_id": "int64",
    "amount": "decimal(12,2)?",
    "sold_at": "timestamp(6)",
}
TYPES = {name: parse_field_type(kind) for name, kind in COLUMNS.items()}
SPEC = ReportSpec(
    name="sales",
    title="Sales & <more>",
    derive={"hour": "date_trunc('hour', sold_at)"},
    totals={"orders": "count(*)", "revenue": "sum(amount)", "mean": "avg(amount)"},
    charts=[
        Chart(title="By hour", over="hour", measure="sum(amount)"),
        Chart(title="By product", over="product", measure="sum(amount)"),
    ],
    rankings=[
        Ranking(
            title="Top",
            group_by=["product"],
            measures={"revenue": "sum(amount)", "orders": "count(*)"},
            limit=3,
        )
    ],
)
SUBJECT = ReportSubject("orders-daily", "2026-03-29", 7, "Europe/Berlin", 1_774_900_000_000_000)
SCHEMA = pl.Schema(
    {
        "product": pl.String(),
        "customer_id": pl.Int64(),
        "amount": pl.Decimal(12, 2),
        "sold_at": pl.Datetime("us", "UTC"),
    }
)
_MOMENTS = st.datetimes(datetime(2026, 3, 28, 22), datetime(2026, 3, 29, 23)).map(  # noqa: DTZ001 (made aware below)
    lambda value: value.replace(tzinfo=UTC)
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["Lamp", "<b>Mug</b>", "Tent", "Vase", None]),
        st.integers(1, 5),
        st.none() | st.decimals(-999, 9999, places=2),
        _MOMENTS,
    ),
    max_size=40,
)


def frame(rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def built(rows: pl.DataFrame, part_rows: int) -> ReportResult:
    builder = ReportBuilder.of(SPEC, TYPES)
    for part in reversed(list(rows.iter_slices(part_rows)) if rows.height else []):
        builder.add(part)
    return builder.finish()


@given(rows=ROWS, part_rows=st.integers(1, 40))
def test_numbers_are_those_of_a_database(rows: list[tuple[object, ...]], part_rows: int) -> None:
    sales = frame(rows)
    result = built(sales, part_rows)
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.register("sales", sales.to_arrow())
        totals = database.sql("SELECT count(*), sum(amount) FROM sales").fetchall()[0]
        hours = database.sql(
            "SELECT epoch_us(date_trunc('hour', sold_at)) AS h, sum(amount) FROM sales "
            "GROUP BY h ORDER BY h"
        ).fetchall()
        best = database.sql(
            "SELECT product, sum(amount) AS s, count(*) FROM sales GROUP BY product "
            "ORDER BY s DESC NULLS LAST, product NULLS LAST LIMIT 3"
        ).fetchall()
    assert result.row_count == len(rows)
    assert result.totals.row(0)[:2] == totals
    assert result.charts[0].with_columns(pl.col("hour").dt.epoch("us")).rows() == hours
    assert result.rankings[0].rows() == best


def test_a_row_that_cannot_be_computed_is_left_out_and_counted() -> None:
    spec = SPEC.model_copy(update={"derive": {"hour": "customer_id * 9223372036854775807"}})
    builder = ReportBuilder.of(spec, TYPES)
    at = datetime(2026, 3, 29, tzinfo=UTC)
    builder.add(frame([("a", 1, Decimal("2.00"), at), ("b", 2, Decimal("3.00"), at)]))
    result = builder.finish()
    assert (result.row_count, result.failed_rows) == (1, 1)
    assert result.totals["revenue"].to_list() == [Decimal("2.00")]
    assert "1 rows, 1 left out" in report_page(spec, result, SUBJECT)


def test_an_expression_that_does_not_fit_names_the_report() -> None:
    spec = SPEC.model_copy(update={"totals": {"revenue": "sum(amout)"}})
    with pytest.raises(PipelineSpecError, match=r"report `sales`: .*amout"):
        ReportBuilder.of(spec, TYPES)


class _Elements(HTMLParser):
    """Collects elements; every one that is opened must be closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@given(rows=ROWS)
def test_a_page_stands_by_itself_and_every_value_is_escaped(rows: list[tuple[object, ...]]) -> None:
    result = built(frame(rows), 40)
    page = report_page(SPEC, result, SUBJECT)
    assert page == report_page(SPEC, result, SUBJECT)
    elements = _Elements()
    elements.feed(page)
    assert elements.open == []
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "link", "img", "iframe", "b", "more"}
    assert not re.search(r"https?://|url\(|@import|src=|href=", page)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in (
        elements.found
    )
    assert "prefers-color-scheme:dark" in page
    bars = [attributes for tag, attributes in elements.found if tag == "rect"]
    assert len(bars) == sum(chart.height for chart in result.charts)
    for bar in bars:
        names = ("y", "height") if "y" in bar else ("x", "width")
        low, high = (float(bar[name] or "") for name in names)
        assert 0 <= low <= low + high <= 100.01
    # Labels stood at even distances, whatever the bars below them.
    shares = [re.match(r"flex:(\d+) ", found.get("style") or "") for _, found in elements.found]
    assert sum(int(one[1]) for one in shares if one) == result.charts[0].height
    assert page.count('<td class="drawn">') == result.charts[1].height


def test_hours_stand_on_the_wall_of_the_pipeline_and_sums_are_exact() -> None:
    rows = [
        ("Lamp", 1, Decimal("1234.50"), datetime(2026, 3, 29, 0, 30, tzinfo=UTC)),
        ("Lamp", 1, Decimal("0.01"), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    ]
    result = built(frame(rows), 1)
    page = report_page(SPEC, result, SUBJECT)
    assert re.findall(r"<span style=.flex:1 1 0.>(.*?)</span>", page) == [
        "01:00", "03:00",  # 02:00 is not on that wall
    ]  # fmt: skip
    assert "<title>2026-03-29 01:00: 1,234.50</title>" in page
    assert "<dd>1,234.51</dd>" in page
    assert result.charts[0][MEASURE].sum() == Decimal("1234.51")
