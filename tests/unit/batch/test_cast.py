"""Casts of columns against plain Python: exact, or null."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation, localcontext

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch.cast import as_text, cast_column
from common.errors import PipelineSpecError
from contracts.field_dtype import polars_type
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.etl_cast import check_cast

TEXT = parse_field_type("string?")
WIDE = Context(prec=100)
DECIMALS = st.sampled_from(["decimal(1,0)", "decimal(4,2)", "decimal(12,2)", "decimal(38,0)",
                            "decimal(38,10)", "decimal(38,38)"])  # fmt: skip
NUMBERS = st.from_regex(r"\A[+-]?[0-9]{0,40}(\.[0-9]{0,40})?\Z") | st.sampled_from(
    ["", "-", ".", "+.", "1.", " 1", "1e3", "1_000", "NaN", "9" * 38, "0." + "9" * 38, "\u0661"]
)


def cast(values: list[object], source: str, target: str) -> list[object]:
    kinds = parse_field_type(source), parse_field_type(target)
    column = pl.Series("x", values, dtype=polars_type(kinds[0]))
    result = cast_column(column, *kinds)
    assert result.dtype == polars_type(kinds[1])
    assert result.name == "x"
    return result.to_list()


def fits(value: Decimal, kind: FieldType) -> bool:
    with localcontext(WIDE):
        units = value.scaleb(kind.scale or 0)
        return units == units.to_integral_value() and abs(units) < 10 ** (kind.precision or 0)


@given(st.lists(NUMBERS, min_size=1), DECIMALS)
@example(["1.500", "1.505", "000000000000000000000000000000000000000000000001.1"], "decimal(4,2)")
def test_text_becomes_a_decimal_that_is_equal_or_nothing(texts: list[str], target: str) -> None:
    kind = parse_field_type(target)

    def expected(text: str) -> Decimal | None:
        if not text.isascii() or not set(text) <= set("0123456789+-."):
            return None
        try:
            value = Decimal(text)
        except InvalidOperation:
            return None
        return value if fits(value, kind) else None

    assert cast(list(texts), "string?", target) == [expected(text) for text in texts]


@given(st.lists(NUMBERS, min_size=1), st.sampled_from(["int32", "int64"]))
def test_text_becomes_a_whole_number_or_nothing(texts: list[str], target: str) -> None:
    limit = 2 ** (31 if target == "int32" else 63)

    def expected(text: str) -> int | None:
        digits = text.removeprefix("+").removeprefix("-") if text[:2] != "+-" else ""
        if not digits.isascii() or not digits.isdigit() or not -limit <= int(text) < limit:
            return None
        return int(text)

    assert cast(list(texts), "string?", target) == [expected(text) for text in texts]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), DECIMALS)
def test_whole_number_becomes_a_decimal_a_float_or_a_smaller_one_exactly(
    values: list[int], target: str
) -> None:
    kind = parse_field_type(target)
    assert cast(list(values), "int64", target) == [
        Decimal(value) if fits(Decimal(value), kind) else None for value in values
    ]
    assert cast(list(values), "int64", "float64") == [
        float(value) if int(float(value)) == value else None for value in values
    ]
    assert cast(list(values), "int64", "int32") == [
        value if -(2**31) <= value < 2**31 else None for value in values
    ]


@given(st.lists(st.decimals(-(10**8), 10**8, places=4), min_size=1), DECIMALS)
def test_decimal_becomes_another_one_or_a_whole_number_exactly(
    values: list[Decimal], target: str
) -> None:
    kind = parse_field_type(target)
    assert cast(list(values), "decimal(14,4)", target) == [
        value if fits(value, kind) else None for value in values
    ]
    assert cast(list(values), "decimal(14,4)", "int32") == [
        int(value) if value == int(value) else None for value in values
    ]


@example(values=[1e10, -1e10, 9_999_999_999.999, 9_999_999_999.5])
@given(st.lists(st.floats() | st.sampled_from([0.1, 12.34, 1.005]), min_size=1))
def test_float_becomes_a_decimal_that_reads_back_the_same_or_nothing(values: list[float]) -> None:
    for value, got in zip(values, cast(list(values), "float64", "decimal(12,2)"), strict=True):
        assert got is None or float(got) == value  # type: ignore[arg-type] # a decimal
        if abs(value) < 10**9 and round(value, 2) == value:
            assert got == Decimal(f"{value:.2f}")


@given(
    st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2299, 1, 1)), min_size=1),  # noqa: DTZ001 - UTC is added
    st.sampled_from([0, 60, -330, 840]),
    st.sampled_from(["T", " "]),
)
def test_text_with_zone_becomes_an_instant_to_the_microsecond(
    moments: list[datetime], minutes: int, between: str
) -> None:
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    texts = [f"{moment:%Y-%m-%d}{between}{moment:%H:%M:%S.%f}{zone}" for moment in moments]
    instants = [one.replace(tzinfo=UTC) - timedelta(minutes=minutes) for one in moments]
    assert cast(list(texts), "string", "timestamp(6)") == instants
    assert cast(list(texts), "string", "timestamp") == [
        one if one.microsecond % 1_000 == 0 else None for one in instants
    ]


@pytest.mark.parametrize(
    ("text", "target", "value"),
    [
        ("2026-05-01T12:00Z", "timestamp", datetime(2026, 5, 1, 12, tzinfo=UTC)),
        ("2026-05-01 12:00:00+02", "timestamp", datetime(2026, 5, 1, 10, tzinfo=UTC)),
        ("2026-05-01T12:00:00", "timestamp", None),
        ("2026-05-01T12:00:00.1234567Z", "timestamp(6)", None),
        ("2026-05-01T12:00:60Z", "timestamp", None),
        ("2026-02-30", "date", None),
        ("2026-5-1", "date", None),
        ("TRUE", "bool", True),
        ("1", "bool", None),
        ("1e999", "float64", None),
        ("inf", "float64", None),
        ('{"a": 1}', "json", '{"a": 1}'),
        ("{a}", "json", None),
        ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("a0eebc999c0b4ef8bb6d6bb9bd380a11", "uuid", None),
    ],
)
def test_text_is_read_strictly(text: str, target: str, value: object) -> None:
    assert cast([text, None], "string?", target) == [value, None]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int64", [1, -(2**63)]),
        ("decimal(12,2)", [Decimal("-0.05"), Decimal("12.50")]),
        ("float64", [0.1, 1e300, -5e-324]),
        ("bool", [True, False]),
        ("timestamp", [datetime(2026, 5, 1, 1, 2, 3, 4_000, tzinfo=UTC)]),
        ("timestamp(6)", [datetime(1969, 5, 1, 1, 2, 3, 4, tzinfo=UTC)]),
        ("uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
        ("json", ['{"a":1}']),
    ],
)
def test_value_written_as_text_is_read_back_as_it_was(kind: str, values: list[object]) -> None:
    column = pl.Series("x", [*values, None], dtype=polars_type(parse_field_type(kind)))
    texts = as_text(column, parse_field_type(kind))
    assert cast_column(texts, TEXT, parse_field_type(kind)).to_list() == [*values, None]


def test_list_is_written_as_json_of_texts() -> None:
    column = pl.Series("x", [[Decimal("1.50"), None], None], dtype=pl.List(pl.Decimal(12, 2)))
    texts = as_text(column, parse_field_type("list<decimal(12,2)?>?"))
    assert json.loads(texts[0]) == ["1.50", None]
    assert texts[1] is None


def test_cast_that_would_lose_something_is_refused() -> None:
    with pytest.raises(PipelineSpecError, match=r"cast of `timestamp` .*derive it"):
        check_cast(parse_field_type("timestamp"), parse_field_type("date"))
    with pytest.raises(PipelineSpecError, match="list<int64> with or without"):
        check_cast(parse_field_type("list<int64>"), parse_field_type("string"))
