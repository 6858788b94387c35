import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.duration import (
    MAX_DURATION_MS,
    format_duration,
    format_size,
    format_time,
    parse_duration,
    parse_size,
    parse_time,
)
from common.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value_ms"),
    [
        ("250ms", 250),
        ("2s", 2_000),
        ("1m", 60_000),
        ("1h", 3_600_000),
        ("7d", 604_800_000),
        ("0s", 0),
        ("60s", 60_000),
    ],
)
def test_duration_is_read_in_each_unit(text: str, value_ms: int) -> None:
    assert parse_duration(text) == value_ms


@pytest.mark.parametrize(
    "text", ["", "1", "1 m", "m", "-1s", "1.5h", "2x", "1w", "no", "1m30s", "٣s"]
)
def test_duration_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a duration such as 250ms"):
        parse_duration(text)


def test_duration_beyond_the_engine_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a duration below"):
        parse_duration(f"{MAX_DURATION_MS + 1}ms")


@given(st.integers(0, MAX_DURATION_MS))
def test_duration_survives_writing_and_reading(value_ms: int) -> None:
    assert parse_duration(format_duration(value_ms)) == value_ms


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [(0, "0s"), (120_000, "2m"), (90_000, "90s"), (1, "1ms"), (86_400_000, "1d")],
)
def test_duration_is_written_in_its_largest_unit(value_ms: int, text: str) -> None:
    assert format_duration(value_ms) == text


@given(st.integers(0, 1 << 50))
def test_size_survives_writing_and_reading(value_bytes: int) -> None:
    assert parse_size(format_size(value_bytes)) == value_bytes


@pytest.mark.parametrize(("text", "size"), [("64KB", 65_536), ("1MB", 1_048_576), ("7B", 7)])
def test_size_counts_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1970-01-01T00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-05-01 00:00:00.25Z", 1_777_593_600_250),
    ],
)
def test_time_is_read_with_its_zone(text: str, time_ms: int) -> None:
    assert parse_time(text) == time_ms


@pytest.mark.parametrize("text", ["2026-05-01", "2026-05-01T00:00", "2026-13-01T00:00Z", "now", ""])
def test_time_without_zone_or_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a time with its zone"):
        parse_time(text)


@given(st.integers(-60_000_000_000_000, 200_000_000_000_000))
def test_time_survives_writing_and_reading(time_ms: int) -> None:
    assert parse_time(format_time(time_ms)) == time_ms
