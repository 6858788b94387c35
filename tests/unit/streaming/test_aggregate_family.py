"""Every aggregate: any cuts, row orders and orders of merging give what plain Python gives."""

import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars._typing import PolarsDataType

from streaming.combine import combine
from streaming.frame import from_bytes, to_bytes
from streaming.partial import aggregate_events, merge_partials
from streaming.plan import StreamPlan, compile_stream
from streaming.window import END_OF_TIME_MS
from tests.unit.streaming.event_log import make_spec

FIELDS = {
    "at": "timestamp_ms", "key": "string?", "n": "int64?", "d": "decimal(12,2)?", "f": "float64?",
    "s": "string?", "b": "bool?", "l": "list<int64>?",
}  # fmt: skip
SCHEMA: dict[str, PolarsDataType] = {
    "at": pl.Int64, "key": pl.String, "n": pl.Int64, "d": pl.Decimal(12, 2), "f": pl.Float64,
    "s": pl.String, "b": pl.Boolean, "l": pl.List(pl.Int64), "_offset": pl.Int64,
}  # fmt: skip
CALLS = {
    "rows_taken": "count(*) filter (where b)",
    "values_taken": "count(n) filter (where b)",
    "ifs": "count_if(n > 1)",
    "ifs_taken": "count_if(n > 1) filter (where b)",
    "sum_taken": "sum(n) filter (where b)",
    "least_taken": "min(s) filter (where b)",
    "kinds_taken": "count(distinct n) filter (where b)",
    "names_taken": "count(distinct s) filter (where b)",
    "every": "bool_and(b)",
    "some": "bool_or(b) filter (where n > 0)",
    "var": "var_samp(n)",
    "var_d": "var_pop(d) filter (where b)",
    "dev_f": "stddev_samp(f)",
    "dev_pop": "stddev_pop(f)",
    "first": "first(s)",
    "last": "last(n) filter (where b)",
    "first_list": "first(l)",
    "arg_first": "arg_min(n, at)",
    "arg_last": "max_by(s, at)",
    "near": "approx_count_distinct(s)",
    "near_f": "approx_count_distinct(f) filter (where b)",
    "near_d": "approx_count_distinct(d)",
    "p50": "approx_quantile(f, 0.5)",
    "p95": "approx_quantile(d, 0.95) filter (where b)",
    "top": "top_k(s, 2)",
    "top_n": "top_k(n, 3) filter (where b)",
}


@dataclass(frozen=True)
class Row:
    """One event; the partition and the offset are those of its place in the log."""

    at: int
    key: str | None
    n: int | None
    d: Decimal | None
    f: float | None
    s: str | None
    b: bool | None
    l: list[int] | None  # noqa: E741 - a list


Placed = tuple[int, int, Row]
ROWS = st.builds(
    Row,
    at=st.integers(-2_000, 2_000) | st.integers(0, 3),
    key=st.sampled_from(["a", None]),
    n=st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3),
    d=st.none() | st.decimals(-99_999, 99_999, places=2),
    f=st.none() | st.floats(-1e150, 1e150) | st.floats(-9, 9, width=16) | st.just(0.0),
    s=st.none() | st.sampled_from(["", "a", "b", "ä" * 40]),
    b=st.none() | st.booleans(),
    l=st.none() | st.lists(st.integers(0, 9), max_size=2),
)
LOGS = st.lists(st.tuples(st.integers(0, 2), ROWS), max_size=40)


def plan_of(calls: dict[str, str], group_by: tuple[str, ...] = ("key",)) -> StreamPlan:
    shape = {"fields": FIELDS, "group_by": list(group_by), "aggregate": calls}
    return compile_stream(make_spec(0, 10).model_copy(update=shape))


def frame_of(rows: list[Placed]) -> pl.DataFrame:
    columns = {f.name: [getattr(row, f.name) for _, _, row in rows] for f in fields(Row)}
    frame = pl.DataFrame({**columns, "_offset": [offset for _, offset, _ in rows]}, schema=SCHEMA)
    return frame.with_columns(pl.col("at").cast(pl.Datetime("ms", "UTC")))


def placed(log: list[tuple[int, Row]]) -> list[Placed]:
    return [(partition, offset, row) for offset, (partition, row) in enumerate(log)]


def partials(plan: StreamPlan, log: list[Placed], draw: random.Random) -> list[pl.DataFrame]:
    """Cut each partition anywhere, shuffle the rows of each cut, and the partials."""
    frames = []
    for number in range(3):
        rows = [item for item in log if item[0] == number]
        while rows:
            cut = draw.randint(1, len(rows))
            part, rows = rows[:cut], rows[cut:]
            draw.shuffle(part)
            frame = aggregate_events(plan, frame_of(part), None, number).frame
            frames.append(from_bytes(to_bytes(frame)))
    draw.shuffle(frames)
    return frames


def merged(plan: StreamPlan, frames: list[pl.DataFrame], draw: random.Random) -> pl.DataFrame:
    """Merge any of them with any other until one is left."""
    frames = [*frames, aggregate_events(plan, frame_of([]), None).frame]
    while len(frames) > 1:
        draw.shuffle(frames)
        count = draw.randint(2, len(frames))
        frames = [merge_partials(plan, frames[:count]), *frames[count:]]
    return frames[0]


@settings(max_examples=40, deadline=None)
@given(log=LOGS, draw=st.randoms(use_true_random=False))
def test_every_cut_and_order_gives_the_values_of_plain_python(
    log: list[tuple[int, Row]], draw: random.Random
) -> None:
    plan, rows = plan_of(CALLS), placed(log)
    calls = dict(CALLS)
    total = [row.n for row in (item[2] for item in rows) if row.n is not None and row.b]
    if sum(map(abs, total)) >= 2**63:
        del calls["sum_taken"]
        plan = plan_of(calls)
    emitted = combine(plan, [merged(plan, partials(plan, rows, draw), draw)], END_OF_TIME_MS, None)
    groups: dict[tuple[int, str | None], list[Placed]] = defaultdict(list)
    for item in rows:
        groups[item[2].at // 1_000 * 1_000, item[2].key].append(item)
    found = {
        (int(row["window_start"].timestamp() * 1_000), row["key"]): row
        for row in emitted.emitted.iter_rows(named=True)
    }
    assert found.keys() == groups.keys()
    for name, group in groups.items():
        wanted = expected(group)
        for column in calls:
            assert found[name][column] == wanted[column], (column, group)


@settings(max_examples=20, deadline=None)
@given(log=LOGS, draw=st.randoms(use_true_random=False))
def test_merged_partials_are_the_same_bit_for_bit(
    log: list[tuple[int, Row]], draw: random.Random
) -> None:
    plan, rows = plan_of(CALLS), placed(log)
    once = merged(plan, partials(plan, rows, draw), draw)
    again = merged(plan, partials(plan, rows, draw), draw)
    assert once.schema == again.schema
    assert once.equals(again, null_equal=True)


def expected(group: list[Placed]) -> dict[str, Any]:
    in_time = [row for _, _, row in sorted(group, key=lambda i: (i[2].at, i[0], i[1]))]
    taken = [row for row in in_time if row.b]

    def some(name: str, rows: list[Row]) -> list[Any]:
        return [value for row in rows if (value := getattr(row, name)) is not None]

    flags = [row.b for row in in_time if row.n is not None and row.n > 0 and row.b is not None]
    return {
        "rows_taken": len(taken),
        "values_taken": len(some("n", taken)),
        "ifs": sum(n > 1 for n in some("n", in_time)),
        "ifs_taken": sum(n > 1 for n in some("n", taken)),
        "sum_taken": sum(some("n", taken)) if some("n", taken) else None,
        "least_taken": min(some("s", taken), default=None),
        "kinds_taken": len(set(some("n", taken))),
        "names_taken": len(set(some("s", taken))),
        "every": all(some("b", in_time)) if some("b", in_time) else None,
        "some": any(flags) if flags else None,
        "var": variance(some("n", in_time), 1),
        "var_d": variance(some("d", taken), 0),
        "dev_f": deviation(some("f", in_time), 1),
        "dev_pop": deviation(some("f", in_time), 0),
        "first": in_time[0].s,
        "last": taken[-1].n if taken else None,
        "first_list": in_time[0].l,
        "arg_first": next(iter(some("n", in_time)), None),
        "arg_last": (some("s", in_time) or [None])[-1],
        "near": len(set(some("s", in_time))),
        "near_f": pytest.approx(len(set(some("f", taken))), abs=5),
        "near_d": pytest.approx(len(set(some("d", in_time))), abs=5),
        "p50": quantile(some("f", in_time), Fraction(1, 2)),
        "p95": quantile([float(d) for d in some("d", taken)], Fraction(95, 100)),
        "top": top(some("s", in_time), 2),
        "top_n": top(some("n", taken), 3),
    }


def variance(values: list[Any], less: int) -> float | None:
    """Compute it exactly and round once."""
    if len(values) <= less:
        return None
    exact = [Fraction(value) for value in values]
    mean = sum(exact, Fraction(0)) / len(exact)
    return float(sum((v - mean) ** 2 for v in exact) / (len(exact) - less))


def deviation(values: list[Any], less: int) -> float | None:
    found = variance(values, less)
    return None if found is None else math.sqrt(found)


def quantile(values: list[float], q: Fraction) -> object:
    if not values:
        return None
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    return pytest.approx(exact, rel=0.01, abs=1e-307)


def top(values: list[Any], k: int) -> list[Any]:
    counted = Counter(values)
    return sorted(counted, key=lambda value: (-counted[value], value))[:k]


# --- one aggregate at a time ---------------------------------------------------------------------


def one(call: str, name: str, values: list[Any]) -> Any:  # noqa: ANN401 - of any type
    empty = Row(0, None, None, None, None, None, None, None)
    rows = [Row(**{**vars(empty), name: value}) for value in values]
    plan = plan_of({"x": call}, ())
    items = [(0, offset, row) for offset, row in enumerate(rows)]
    frames = [aggregate_events(plan, frame_of([item]), None).frame for item in items]
    return combine(plan, frames, END_OF_TIME_MS, None).emitted["x"].to_list()[0]


def test_variance_of_floats_does_not_cancel() -> None:
    values = [1e9 + offset for offset in (4.0, 7.0, 13.0, 16.0)]
    assert one("var_samp(f)", "f", values) == 30.0
    assert one("var_samp(f)", "f", [1e16, 1.0, -1e16]) == variance([1e16, 1.0, -1e16], 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_variance_of_what_is_no_number_is_no_number(value: float) -> None:
    assert math.isnan(one("stddev_pop(f)", "f", [1.0, value, None]))


@pytest.mark.parametrize("value", [5e-324, -2.2e-308, 1.7e308, -0.0])
def test_variance_holds_at_the_ends_of_the_floats(value: float) -> None:
    assert one("var_pop(f)", "f", [value, value]) == 0.0
    assert one("var_samp(f)", "f", [value]) is None
    spread = one("stddev_samp(f)", "f", [value, 0.0])
    assert spread == (math.inf if value > 1 else pytest.approx(0.0, abs=1e-150))


@settings(max_examples=60, deadline=None)
@given(value=st.floats(allow_nan=False, allow_subnormal=False))
@example(1.7976931348623157e308)
@example(2.2250738585072014e-308)
def test_quantile_is_within_one_percent_whatever_the_value(value: float) -> None:
    assert one("approx_quantile(f, 1)", "f", [value]) == pytest.approx(value, rel=0.0078)


def test_quantile_sees_nan_as_the_greatest_value() -> None:
    assert math.isnan(one("approx_quantile(f, 1)", "f", [math.nan, 1.0, math.inf]))
    assert one("approx_quantile(f, 0.5)", "f", [-math.nan, 1.0, math.inf]) == math.inf


def test_first_keeps_a_null_and_arg_min_leaves_it_out() -> None:
    assert one("first(n)", "n", [None, 2, 3]) is None
    assert one("arg_min(n, at)", "n", [None, 2, 3]) == 2
    assert one("last(n)", "n", [1, 2, None]) is None
    assert one("arg_max(n, at)", "n", [1, 2, None]) == 2


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("sum(n)", None), ("avg(n)", None), ("count(*)", 0), ("count(n)", 0), ("max(n)", None),
        ("var_pop(n)", None), ("first(n)", None), ("arg_max(n, at)", None), ("top_k(n, 3)", []),
        ("approx_count_distinct(n)", 0), ("approx_quantile(n, 0.5)", None),
        ("count(distinct n)", 0), ("bool_or(n > 1)", None), ("first(l)", None),
    ],
)  # fmt: skip
def test_group_that_the_filter_leaves_empty_has_a_row(call: str, result: object) -> None:
    assert one(f"{call} filter (where n > 5)", "n", [1, 2, None]) == result


def test_filter_protects_from_what_the_argument_fails_on() -> None:
    big = 2**62
    assert one("sum(n * 4) filter (where n < 10)", "n", [1, big, 2]) == 12
    assert one("count_if(n < 10 and n * 4 > 4)", "n", [1, big, 2]) == 1


def test_row_that_a_filter_fails_on_is_a_dead_letter() -> None:
    plan = plan_of({"x": "count(*) filter (where n * 4 > 5)"}, ())
    empty = Row(0, None, None, None, None, None, None, None)
    rows = [Row(**{**vars(empty), "n": n}) for n in (1, 2**62, 2)]
    found = aggregate_events(plan, frame_of(placed([(0, row) for row in rows])), None)
    assert [error.row for error in found.errors] == [1]
    assert combine(plan, [found.frame], END_OF_TIME_MS, None).emitted["x"].to_list() == [1]


# --- DuckDB --------------------------------------------------------------------------------------


def exact(value: Any) -> Any:  # noqa: ANN401 - of any type
    return value


def near(value: Any) -> Any:  # noqa: ANN401 - of any type
    return value if value is None else pytest.approx(value, rel=1e-9)


ORACLE: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("var_samp(n)", "var_samp(n)", near),
    ("variance(d)", "variance(d)", near),
    ("var_pop(f)", "var_pop(f)", near),
    ("stddev(f)", "stddev(f)", near),
    ("stddev_pop(d) filter (where b)", "stddev_pop(d) filter (where b)", near),
    ("count_if(n > 50)", "count_if(n > 50)", exact),
    ("bool_and(n > 50)", "bool_and(n > 50)", exact),
    ("bool_or(n > 50) filter (where b)", "bool_or(n > 50) filter (where b)", exact),
    ("mean(f)", "avg(f)", near),
    ("sum(d) filter (where b)", "sum(d) filter (where b)", exact),
    ("count(distinct s) filter (where b)", "count(distinct s) filter (where b)", exact),
    ("first(s)", 'first(s order by "at", _offset)', exact),
    ("last(s) filter (where b)", 'last(s order by "at", _offset) filter (where b)', exact),
    ("arg_min(s, at)", "arg_min(s, at_and_offset)", exact),
    ("arg_max(s, at) filter (where b)", "arg_max(s, at_and_offset) filter (where b)", exact),
]


@pytest.mark.parametrize(("ours", "theirs", "same"), ORACLE)
def test_duckdb_gives_the_same(ours: str, theirs: str, same: Callable[[Any], Any]) -> None:
    draw = random.Random(5)
    rows = [
        Row(
            draw.randint(0, 40),
            draw.choice(["a", "b", None]),
            draw.choice([None, draw.randint(0, 100)]),
            draw.choice([None, Decimal(draw.randint(-9_999, 9_999)) / 100]), draw.gauss(10, 3),
            draw.choice([None, "x", "y", "z"]), draw.choice([None, True, False]), None,
        )
        for _ in range(300)
    ]  # fmt: skip
    frame = frame_of(placed([(0, row) for row in rows]))
    plan = plan_of({"x": ours})
    frames = [aggregate_events(plan, frame[i : i + 50], None).frame for i in range(0, 300, 50)]
    emitted = combine(plan, frames, END_OF_TIME_MS, None).emitted
    with duckdb.connect() as connection:
        connection.register(
            "events",
            frame.drop("l").with_columns(
                (pl.col("at").dt.epoch("ms") * 1_000 + pl.col("_offset")).alias("at_and_offset")
            ).to_arrow(),
        )  # fmt: skip
        answer = connection.execute(f"select key, {theirs} from events group by key").fetchall()
    assert dict(emitted.select("key", "x").rows()) == {key: same(x) for key, x in answer}


def test_python_and_the_standard_library_agree_on_the_oracle_of_variance() -> None:
    values = [1.5, 2.25, -7.0]
    assert variance(values, 1) == pytest.approx(statistics.variance(values), rel=1e-12)
