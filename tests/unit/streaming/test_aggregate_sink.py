"""What aggregates come to has a column type in every sink, and passes its check as it is."""

import polars as pl
import pytest

from activities.ports import FlushChunk
from activities.stream_sink import sink_table
from connectors import clickhouse_table, postgres_table
from connectors.sink_rows import conform
from pipelines.stream import StreamSpec
from streaming.combine import combine
from streaming.partial import aggregate_events
from streaming.plan import compile_stream
from streaming.window import END_OF_TIME_MS
from tests.unit.streaming.event_log import Event, make_spec, to_frame

CALLS = {
    "top_numbers": ("top_k(customer, 2)", "Array(Int64)", "bigint[]"),
    "top_amounts": ("top_k(amount, 2)", "Array(Decimal(12, 2))", "numeric(12,2)[]"),
    "top_texts": ("top_k(category, 2)", "Array(String)", "text[]"),
    "top_times": ("top_k(at, 2)", "Array(DateTime64(3, 'UTC'))", "timestamp(3) with time zone[]"),
    "top_days": ("top_k(cast(at as date), 2)", "Array(Date32)", "date[]"),
    "top_flags": ("top_k(customer > 1, 2)", "Array(Bool)", "boolean[]"),
    "spread": ("stddev_samp(amount)", "Nullable(Float64)", "double precision"),
    "opened_by": ("first(category)", "Nullable(String)", "text"),
    "about": ("approx_count_distinct(category)", "Int64", "bigint"),
    "high": ("approx_quantile(amount, 0.99)", "Nullable(Float64)", "double precision"),
    "every": ("bool_and(customer > 1)", "Nullable(Bool)", "boolean"),
}


def spec_of(call: str) -> StreamSpec:
    return make_spec(0, 10).model_copy(update={"aggregate": {"x": call}})


@pytest.mark.parametrize(("call", "clickhouse", "postgres"), CALLS.values(), ids=list(CALLS))
def test_result_is_stored_as_it_is(call: str, clickhouse: str, postgres: str) -> None:
    spec = spec_of(f"{call} filter (where customer < 100)")
    table = sink_table(spec, spec.sinks[0])
    kind = next(column.type for column in table.columns if column.name == "x")
    assert clickhouse_table.column_type(kind) == clickhouse
    assert postgres_table.column_type(kind) == postgres
    plan = compile_stream(spec)
    events = [Event(0, "a", 5, 1), Event(1, "a", 7, 2), Event(2, None, 9, 200)]
    partial = aggregate_events(plan, to_frame(events), None)
    emitted = combine(plan, [partial.frame], END_OF_TIME_MS, None).emitted
    chunk = FlushChunk(spec.name, 1, 1, 0, 1, "")
    rows = emitted.with_columns(pl.lit(chunk.version, pl.Int64).alias("_version")).to_arrow()
    stored = conform(table, chunk, rows)["x"].to_pylist()
    assert stored == emitted["x"].to_list()
    assert stored[0] in ([], None, 0)
