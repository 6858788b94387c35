"""The real flights: departure times in UTC, and records that hold every value."""

import json

import polars as pl
import pytest

from devstack.sample.flights import flights_frame, flights_records

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return flights_frame()


def test_frame_has_all_flights_and_columns(frame: pl.DataFrame) -> None:
    assert frame.shape == (336_776, 20)
    assert frame["departed_at"].null_count() == 0
    assert frame["dep_delay"].null_count() == 8_255


def test_scheduled_hours_agree_with_the_data_sets_own_utc_column(frame: pl.DataFrame) -> None:
    hours = frame.select(
        own=pl.col("time_hour").str.to_datetime(time_zone="UTC").dt.timestamp("ms"),
        ours=(pl.col("departed_at") - pl.col("dep_delay").fill_null(0).cast(pl.Int64) * 60_000)
        // HOUR_MS
        * HOUR_MS,
    )
    assert hours.filter(pl.col("own") != pl.col("ours")).is_empty()


def test_disorder_stays_within_what_the_pipeline_declares(frame: pl.DataFrame) -> None:
    behind_ms = (frame["departed_at"].cum_max() - frame["departed_at"]).max()
    assert isinstance(behind_ms, int)
    assert 0 < behind_ms <= 48 * HOUR_MS


def test_records_hold_the_frame_in_order_per_partition(frame: pl.DataFrame) -> None:
    found: dict[int, list[bytes]] = {}
    total = 0
    for blocks in flights_records(3, batch_flights=100_000):
        for block in blocks:
            total += len(block)
            rows = range(0, len(block), 997)
            values = found.setdefault(block.partition, [])
            for row in rows:
                value, key = block.value(row), block.key(row)
                assert value is not None
                assert key is not None
                values.append(value)
                fields = json.loads(value)
                assert fields == frame.row(int(block.offset[row]), named=True)
                assert key == fields["carrier"].encode()
                assert fields["departed_at"] == block.timestamp_ms[row]
    assert total == 336_776
    assert set(found) == {0, 1, 2}
