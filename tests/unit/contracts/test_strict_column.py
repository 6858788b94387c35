import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.field_type_parse import parse_field_type
from contracts.strict_column import has_zone, strict_column

NUMBER = st.from_regex(r"\A[+-]?[0-9]{0,20}(\.[0-9]{0,12})?([eE][+-]?[0-9]{1,2})?\Z")
PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def exact_decimal(text: str, precision: int, scale: int) -> Decimal | None:
    """Give the value if a decimal of that type is exactly it."""
    if not PLAIN.fullmatch(text):
        return None
    with localcontext(prec=200):
        value = Decimal(text)
        units = value.scaleb(scale)
        whole = units == units.to_integral_value() and abs(units) < 10**precision
    return value if whole else None


@given(st.lists(NUMBER, max_size=20), st.integers(1, 38), st.data())
def test_decimals_are_exact_or_null(texts: list[str], precision: int, data: st.DataObject) -> None:
    scale = data.draw(st.integers(0, precision))
    kind = parse_field_type(f"decimal({precision},{scale})")
    found = strict_column(pl.Series("v", texts, pl.String), kind)
    assert found.to_list() == [exact_decimal(text, precision, scale) for text in texts]


@given(st.lists(NUMBER | st.floats(allow_nan=False, allow_infinity=False).map(repr), max_size=20))
def test_floats_are_rounded_as_python_does(texts: list[str]) -> None:
    wanted = [float(text) if PLAIN.fullmatch(text) else None for text in texts]
    found = strict_column(pl.Series("v", texts, pl.String), parse_field_type("float64"))
    assert found.to_list() == [
        None if value in (math.inf, -math.inf) else value for value in wanted
    ]


@given(st.lists(NUMBER | st.text("0123456789+- \t", max_size=21), max_size=20))
def test_whole_numbers_are_digits_within_their_bounds(texts: list[str]) -> None:
    for name, bits in (("int32", 31), ("int64", 63)):
        wanted = [
            int(text)
            if re.fullmatch(r"[ \t]*[+-]?[0-9]+[ \t]*", text) and -(2**bits) <= int(text) < 2**bits
            else None
            for text in texts
        ]
        kind = parse_field_type(name)
        assert strict_column(pl.Series("v", texts, pl.String), kind).to_list() == wanted


@given(
    st.datetimes(datetime(1902, 1, 1), datetime(2297, 1, 1)),  # noqa: DTZ001 (hypothesis takes times on the wall)
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.sampled_from(["T", " ", "t"]),
    st.sampled_from(["", ":"]),
)
def test_instants_are_what_python_reads(
    moment: datetime, minutes: int, between: str, colon: str
) -> None:
    ahead = "+" if minutes >= 0 else "-"
    offset = f"{ahead}{abs(minutes) // 60:02d}{colon}{abs(minutes) % 60:02d}"
    text = moment.isoformat(timespec="microseconds").replace("T", between) + offset
    wanted = (moment - timedelta(minutes=minutes)).replace(tzinfo=UTC)
    column = pl.Series("v", [text])
    assert strict_column(column, parse_field_type("timestamp(6)"))[0] == wanted
    milliseconds = wanted.replace(microsecond=wanted.microsecond // 1000 * 1000)
    assert strict_column(column, parse_field_type("timestamp"))[0] == milliseconds
    assert has_zone(text)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001 (hypothesis takes times on the wall)
def test_a_time_on_the_wall_is_an_instant_if_the_clock_shows_it_once(moment: datetime) -> None:
    zone = ZoneInfo("Europe/Berlin")
    one, other = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    kind = parse_field_type("timestamp(6)")
    text = pl.Series("v", [moment.isoformat(timespec="microseconds")])
    values = pl.Series("v", [moment], pl.Datetime("us"))
    for column in (text, values):
        assert strict_column(column, kind, zone.key)[0] == (one if one == other else None)
        assert strict_column(column, kind)[0] is None
    assert not has_zone(text[0])


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "wanted"),
    [
        ([1, 2**40], pl.Int64, "int32", [1, None]),
        ([1.0, 1.5], pl.Float64, "int64", [1, None]),
        ([1, 10], pl.Int64, "decimal(3,2)", [Decimal(1), None]),
        (["1.50", "1.55"], pl.Decimal(5, 2), "decimal(5,1)", [Decimal("1.5"), None]),
        ([1.0, float("nan")], pl.Float64, "int32", [1, None]),
        ([5], pl.Int64, "timestamp_ms", [datetime(1970, 1, 1, 0, 0, 0, 5000, tzinfo=UTC)]),
        ([5], pl.Int64, "timestamp", [None]),
        ([5], pl.Int64, "uuid", [None]),
    ],
)  # fmt: skip
def test_values_of_another_type_are_taken_if_nothing_is_lost(
    values: list[object], dtype: pl.DataType, kind: str, wanted: list[object]
) -> None:
    column = pl.Series("v", values, strict=False).cast(dtype)
    found = strict_column(column, parse_field_type(kind))
    assert found.to_list() == wanted
