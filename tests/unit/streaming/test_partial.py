"""Partials of any split of the events come to what plain Python computes over all of them."""

import functools
import itertools
from collections import defaultdict
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars._typing import PolarsDataType

from common.errors import ContractViolationError
from pipelines.stream import StreamSpec
from streaming.combine import KEY, WINDOW_START, combine
from streaming.ledger import Ledger
from streaming.partial import FRESH, aggregate_events, merge_partials
from streaming.plan import StreamPlan, compile_stream
from streaming.window import END_OF_TIME_MS, PANE
from tests.unit.streaming.event_log import Event, make_spec, to_frame

INT64_MAX = 2**63 - 1
FIELDS = {
    "at": "timestamp_ms", "key": "string?", "amount": "decimal(12,2)?", "whole": "int64?",
    "real": "float64?", "flag": "bool?",
}  # fmt: skip
SCHEMA: dict[str, PolarsDataType] = {
    "at": pl.Int64, "key": pl.String, "amount": pl.Decimal(12, 2), "whole": pl.Int64,
    "real": pl.Float64, "flag": pl.Boolean,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One event with nullable fields."""

    at: int
    key: str | None
    amount: Decimal | None
    whole: int | None
    real: float | None
    flag: bool | None


def plan_of(**changes: object) -> StreamPlan:
    aggregates = {
        "n": "count(*)",
        "amounts": "count(amount)",
        "total": "sum(amount)",
        "mean": "avg(amount)",
        "low": "min(amount)",
        "high": "max(amount)",
        "wholes": "sum(whole)",
        "whole_mean": "avg(whole)",
        "real_total": "sum(real)",
        "kinds": "count(distinct whole)",
        "flags": "count(distinct flag)",
    }
    shape = {"fields": FIELDS, "group_by": ["key"], "aggregate": aggregates, **changes}
    return compile_stream(make_spec(0, 10).model_copy(update=shape))


def frame_of(rows: list[Row]) -> pl.DataFrame:
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA}
    frame = pl.DataFrame(columns, schema=SCHEMA)
    return frame.with_columns(pl.col("at").cast(pl.Datetime("ms", "UTC")))


def brute_force(rows: list[Row]) -> dict[tuple[int, str | None], dict[str, object]]:
    groups: dict[tuple[int, str | None], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.at // 1_000 * 1_000, row.key].append(row)
    return {name: expected(group) for name, group in groups.items()}


def expected(group: list[Row]) -> dict[str, object]:
    amounts = [row.amount for row in group if row.amount is not None]
    wholes = [row.whole for row in group if row.whole is not None]
    total = sum(amounts, Decimal(0)) if amounts else None
    mean = None
    if total is not None:
        mean = (total / len(amounts)).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
    return {
        "n": len(group),
        "amounts": len(amounts),
        "total": total,
        "mean": mean,
        "low": min(amounts, default=None),
        "high": max(amounts, default=None),
        "wholes": sum(wholes) if wholes else None,
        "whole_mean": pytest.approx(sum(wholes) / len(wholes), rel=1e-12) if wholes else None,
        "real_total": near([row.real for row in group if row.real is not None]),
        "kinds": len(set(wholes)),
        "flags": len({row.flag for row in group if row.flag is not None}),
    }


def near(values: list[float]) -> object:
    return pytest.approx(sum(values), rel=1e-12, abs=1e-6) if values else None


ROWS = st.builds(
    Row,
    at=st.integers(-3_000, 3_000),
    key=st.sampled_from(["a", "b", None]),
    amount=st.none() | st.decimals(-99_999, 99_999, places=2),
    whole=st.none() | st.integers(-(2**40), 2**40) | st.integers(0, 3),
    real=st.none() | st.floats(-1e6, 1e6),
    flag=st.none() | st.booleans(),
)


@given(rows=st.lists(ROWS, max_size=40), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_any_split_of_the_events_gives_the_rows_of_brute_force(
    rows: list[Row], cuts: list[int]
) -> None:
    plan = plan_of()
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [rows[a:b] for a, b in itertools.pairwise(bounds)]
    frames = [aggregate_events(plan, frame_of(part), None).frame for part in parts]
    half = merge_partials(plan, frames[: len(frames) // 2 + 1])
    emitted = combine(plan, [half, *frames[len(frames) // 2 + 1 :]], END_OF_TIME_MS, None).emitted
    found = {
        (int(row[WINDOW_START].timestamp() * 1000), row["key"]): row
        for row in emitted.iter_rows(named=True)
    }
    wanted = brute_force(rows)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert {column: found[name][column] for column in values} == values


# --- one aggregate at a time ---------------------------------------------------------------------


def emitted_value(call: str, rows: list[Row]) -> object:
    plan = plan_of(aggregate={"x": call}, group_by=[])
    frames = [aggregate_events(plan, frame_of([row]), None).frame for row in rows]
    return combine(plan, frames, END_OF_TIME_MS, None).emitted["x"].item()


def amounts(*texts: str | None) -> list[Row]:
    return [Row(0, None, None if t is None else Decimal(t), None, None, None) for t in texts]


def wholes(*values: int | None) -> list[Row]:
    return [Row(0, None, None, value, None, None) for value in values]


@pytest.mark.parametrize(
    "texts",
    [
        ("0.01", "0.01", "0.00"),
        ("0.01", *["0.00"] * 7),
        ("-0.01", *["0.00"] * 7),
        ("0.03", *["0.00"] * 31),
        ("0.01", *["0.00"] * 31),
        ("-0.01", *["0.00"] * 31),
        ("0.01", "0.02", None),
    ],
)
def test_mean_of_decimals_rounds_half_to_even(texts: tuple[str | None, ...]) -> None:
    values = [Decimal(text) for text in texts if text is not None]
    mean = sum(values, Decimal(0)) / len(values)
    assert emitted_value("avg(amount)", amounts(*texts)) == mean.quantize(
        Decimal("0.000001"), ROUND_HALF_EVEN
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_integer_sum_beyond_64_bits_breaks_the_contract(sign: int) -> None:
    with pytest.raises(
        ContractViolationError, match=r"`x` = `sum\(whole\)`: expected a 64-bit sum"
    ):
        emitted_value("sum(whole)", wholes(sign * INT64_MAX, sign * INT64_MAX))


def test_integer_sum_may_leave_64_bits_on_its_way() -> None:
    rows = wholes(INT64_MAX, INT64_MAX, -INT64_MAX, None)
    assert emitted_value("sum(whole)", rows) == INT64_MAX


def test_integer_sum_may_be_the_least_of_64_bits() -> None:
    assert emitted_value("sum(whole)", wholes(-INT64_MAX, -1)) == -(2**63)


def test_count_distinct_ignores_nulls() -> None:
    assert emitted_value("count(distinct whole)", wholes(1, None, 1, 2, None)) == 2
    assert emitted_value("count(distinct whole)", wholes(None, None)) == 0


def test_nulls_only_give_null_but_for_counts() -> None:
    assert emitted_value("sum(amount)", amounts(None)) is None
    assert emitted_value("avg(amount)", amounts(None, None)) is None
    assert emitted_value("min(amount)", amounts(None)) is None
    assert emitted_value("count(amount)", amounts(None)) == 0
    assert emitted_value("count(*)", amounts(None, None)) == 2


# --- lateness, filters, failures -----------------------------------------------------------------


def events(*times: int) -> pl.DataFrame:
    return to_frame([Event(at, "a", 100, at) for at in times])


def spec_allowing(allowed_ms: int) -> StreamSpec:
    return make_spec(0, 10, allowed_ms=allowed_ms)


@pytest.mark.parametrize(("watermark_ms", "late"), [(999, 0), (1_000, 1), (1_999, 1), (2_000, 3)])
def test_event_is_late_once_the_watermark_reached_the_end_of_its_window(
    watermark_ms: int, late: int
) -> None:
    found = aggregate_events(
        compile_stream(spec_allowing(0)), events(0, 1_000, 1_999), watermark_ms
    )
    assert found.ledger == Ledger(aggregated=3 - late, late=late)


@pytest.mark.parametrize(("watermark_ms", "late"), [(1_499, 0), (1_500, 1)])
def test_allowed_lateness_keeps_a_window_open_so_much_longer(watermark_ms: int, late: int) -> None:
    found = aggregate_events(compile_stream(spec_allowing(500)), events(0, 999), watermark_ms)
    assert found.ledger.late == 2 * late


def test_lateness_before_1970_follows_the_same_rule() -> None:
    plan = compile_stream(spec_allowing(0))
    assert aggregate_events(plan, events(-1), -1).ledger.late == 0
    assert aggregate_events(plan, events(-1), 0).ledger.late == 1


def test_maximum_event_time_counts_late_and_filtered_events() -> None:
    spec = spec_allowing(0).model_copy(update={"where": "customer < 5_000"})
    spec = spec.model_copy(update={"where": "customer < 5000"})
    found = aggregate_events(compile_stream(spec), events(0, 9_000), 4_000)
    assert found.max_event_ms == 9_000
    assert found.ledger == Ledger(filtered=1, late=1)
    assert aggregate_events(compile_stream(spec), events(), None).max_event_ms is None


def test_new_partials_are_fresh_and_sorted() -> None:
    frame = aggregate_events(compile_stream(spec_allowing(0)), events(5_000, -1, 0), None).frame
    assert frame[FRESH].to_list() == [True] * 3
    assert frame[PANE].to_list() == [-1_000, 0, 5_000]


def test_row_that_an_expression_fails_on_is_a_dead_letter_and_the_rest_is_aggregated() -> None:
    update = {"derive": {"double": "whole * 2"}, "aggregate": {"n": "count(*)", "s": "sum(double)"}}
    plan = plan_of(**update, group_by=[])
    rows = wholes(1, INT64_MAX, 3, None, -INT64_MAX, 5)
    found = aggregate_events(plan, frame_of(rows), None)
    assert [error.row for error in found.errors] == [1, 4]
    assert all(error.error for error in found.errors)
    assert found.ledger == Ledger(aggregated=4, dead_lettered=2)
    emitted = combine(plan, [found.frame], END_OF_TIME_MS, None).emitted
    assert emitted.select("n", "s").row(0) == (4, 18)


def test_row_that_an_argument_of_an_aggregate_fails_on_is_a_dead_letter() -> None:
    plan = plan_of(aggregate={"s": "sum(whole * 2)"}, group_by=[])
    found = aggregate_events(plan, frame_of(wholes(INT64_MAX, 4)), None)
    assert [error.row for error in found.errors] == [0]
    assert combine(plan, [found.frame], END_OF_TIME_MS, None).emitted["s"].to_list() == [8]


def test_row_that_the_condition_fails_on_is_a_dead_letter_and_not_filtered() -> None:
    plan = plan_of(where="whole * 2 > 5", aggregate={"n": "count(*)"}, group_by=[])
    found = aggregate_events(plan, frame_of(wholes(INT64_MAX, 4, 1)), None)
    assert found.ledger == Ledger(aggregated=1, filtered=1, dead_lettered=1)


def test_row_that_the_condition_drops_is_never_computed() -> None:
    update = {"where": "whole < 10", "derive": {"double": "whole * 2"}}
    plan = plan_of(**update, aggregate={"n": "sum(double)"}, group_by=[])
    found = aggregate_events(plan, frame_of(wholes(INT64_MAX, 4)), None)
    assert found.errors == []
    assert found.ledger == Ledger(aggregated=1, filtered=1)


@given(st.lists(st.sampled_from([1, INT64_MAX]), max_size=30))
def test_all_rows_that_fail_are_found_wherever_they_stand(values: list[int]) -> None:
    plan = plan_of(derive={"d": "whole * 2"}, aggregate={"s": "sum(d)"}, group_by=[])
    found = aggregate_events(plan, frame_of(wholes(*values)), None)
    assert [error.row for error in found.errors] == [
        row for row, value in enumerate(values) if value == INT64_MAX
    ]
    assert found.ledger.aggregated + found.ledger.dead_lettered == len(values)


@pytest.mark.parametrize(
    ("shape", "late_and_failing"),
    [
        ({"derive": {"d": "whole * 2"}, "aggregate": {"s": "sum(d)"}}, Ledger(dead_lettered=1)),
        ({"aggregate": {"s": "sum(whole * 2)"}}, Ledger(late=1)),
    ],
)
@given(
    rows=st.lists(
        st.builds(
            Row, at=st.sampled_from([0, 9_000]), key=st.sampled_from(["a", "x" * 3_000]),
            amount=st.none(), whole=st.sampled_from([1, INT64_MAX]),
            real=st.sampled_from([1.0, -1.0]), flag=st.none(),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_event_with_several_failures_counts_once_and_alike_whoever_stands_beside_it(
    shape: dict[str, object], late_and_failing: Ledger, rows: list[Row]
) -> None:
    plan = plan_of(where="real > 0", **shape)
    found = aggregate_events(plan, frame_of(rows), 5_000)
    alone = [aggregate_events(plan, frame_of([row]), 5_000) for row in rows]
    assert found.ledger == functools.reduce(Ledger.plus, [one.ledger for one in alone], Ledger())
    late = [number for number, one in enumerate(alone) if one.ledger.late]
    assert found.late["row"].to_list() == late
    assert sorted(error.row for error in found.errors) == [
        number for number, one in enumerate(alone) if one.ledger.dead_lettered
    ]
    both = [Row(0, "a", None, INT64_MAX, 1.0, None)]
    assert aggregate_events(plan, frame_of(both), 5_000).ledger == late_and_failing


def test_emitted_keys_are_never_null() -> None:
    plan = plan_of()
    frame = aggregate_events(plan, frame_of([Row(0, None, None, None, None, None)]), None).frame
    assert combine(plan, [frame], END_OF_TIME_MS, None).emitted[KEY].to_list() == [r"\N"]
