"""Groups that no table can hold, and the text that stands for a group."""

from datetime import UTC, datetime

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.field_type_parse import parse_field_type
from pipelines.stream import EventTime, SinkSpec, StreamSpec, Window
from streaming.group_key import MAX_KEY_BYTES, canonical_key, may_be_long
from streaming.ledger import Ledger
from streaming.partial import RangePartial, aggregate_events
from streaming.plan import compile_stream

DAY_MS = 86_400_000
KEYS = (("a", parse_field_type("string?")), ("b", parse_field_type("decimal(38,10)?")))


def aggregate(events: list[tuple[int, str | None]], size_ms: int = 60_000) -> RangePartial:
    spec = StreamSpec(
        name="limits",
        topic="events",
        fields={"at": "timestamp_ms", "name": "string?"},
        event_time=EventTime(field="at", out_of_orderness_ms=0, idle_timeout_ms=10_000),
        derive={"twice": "name || name"},
        group_by=["name", "twice"],
        window=Window(kind="tumbling", size_ms=size_ms),
        aggregate={"n": "count(*)"},
        sinks=[SinkSpec(kind="postgres", table="t")],
    )
    rows = pl.DataFrame(
        {"at": [at for at, _ in events], "name": [name for _, name in events]},
        schema={"at": pl.Int64, "name": pl.String},
    ).with_columns(pl.col("at").cast(pl.Datetime("ms", "UTC")))
    return aggregate_events(compile_stream(spec), rows, None)


def test_an_event_whose_key_no_table_can_index_is_a_dead_letter() -> None:
    fits, long = "é" * 333, "|" * 500
    partial = aggregate([(0, fits), (1, long), (2, None), (3, long), (4, fits)])
    assert [error.row for error in partial.errors] == [1, 3]
    assert partial.errors[0].error == (
        "group key `name`, `twice`: expected at most 2000 bytes, got 3001"
    )
    assert partial.ledger == Ledger(aggregated=3, dead_lettered=2)
    assert partial.frame.select("name", "a0").rows() == [(None, 1), (fits, 2)]
    assert partial.max_event_ms == 4


def test_an_event_whose_window_no_table_can_hold_is_a_dead_letter() -> None:
    moments = [datetime(1901, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)]
    events: list[tuple[int, str | None]] = [
        (int(moment.timestamp() * 1000), "a") for moment in moments
    ]
    assert aggregate(events, 300 * DAY_MS).errors == []
    (error,) = aggregate(events, 30_000 * DAY_MS).errors
    assert error.row == 0
    assert error.error.startswith("window: expected to lie within the years 1900 to 2299")


KEY_TEXTS = st.text(max_size=12) | st.integers(900, 1_100).map(lambda n: "|" * n) | st.none()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(KEY_TEXTS, st.none() | st.decimals(-(10**27), 10**27, places=10)), min_size=1
    )
)
@example([("|" * 994, None), ("|" * 994 + "x", None)])
def test_a_key_that_is_too_long_is_never_taken_for_a_short_one(
    rows: list[tuple[str | None, object]],
) -> None:
    schema = {"a": pl.String(), "b": pl.Decimal(38, 10)}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        canonical_key(KEYS).alias("key"), may_be_long(KEYS).alias("suspect")
    )
    for key, suspect in frame.select("key", "suspect").iter_rows():
        assert suspect or len(key.encode()) <= MAX_KEY_BYTES
    assert frame.select("a", "b").n_unique() == frame["key"].n_unique()
