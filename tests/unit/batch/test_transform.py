"""Steps of batches: no row raises, none is lost, and groups are those of DuckDB."""

import itertools
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.exceptions import PolarsError

from batch import batch_step
from batch.transform import Cleaned, CompiledBatch, compile_batch
from common.errors import ContractViolationError, PipelineSpecError
from contracts.field_dtype import polars_type
from contracts.field_type_parse import parse_field_type
from pipelines.etl_build import build_etl_step
from pipelines.expression import parse_scalar
from pipelines.transform import Enrich
from streaming.expression import to_polars
from streaming.resource import Resources

TYPES = {
    name: parse_field_type(text)
    for name, text in {
        "id": "int64", "n": "int32?", "big": "int64?", "amount": "decimal(38,4)?",
        "part": "decimal(12,2)?", "f": "float64?", "text": "string?", "tags": "list<string>?",
        "at": "timestamp(6)?",
    }.items()
}  # fmt: skip
SCHEMA = {name: polars_type(kind) for name, kind in TYPES.items()}
HUGE = Decimal("9" * 34)

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 5),
            "n": st.none() | st.sampled_from([0, 1, -7, 2**31 - 1, -(2**31)]),
            "big": st.none() | st.sampled_from([0, 3, 2**63 - 1, -(2**63)]),
            "amount": st.none() | st.sampled_from([Decimal("1.5"), -HUGE, HUGE, Decimal(0)]),
            "part": st.none() | st.decimals(-(10**4), 10**4, places=2),
            "f": st.none() | st.sampled_from([0.5, 1e300, float("inf"), -2.25]),
            "text": st.none() | st.sampled_from(["1", "x", "", "-2", "1.50"]),
            "tags": st.none() | st.lists(st.sampled_from(["a", "b"]), max_size=3),
            "at": st.none() | st.integers(-3_000, 3_000),
        }
    ),
    max_size=12,
)
RAISING = [
    "n + 1", "n * n", "-n", "abs(big)", "big * 2", "amount * amount", "amount + amount",
    "amount - part * 100", "cast(f as int)", "cast(f as decimal(10,2))", "cast(amount as int)",
    "cast(part as decimal(4,1))", "case when n > 0 then n + 1 else n end",
    "n < 0 or n + 1 > 5", "n > 100 and n + 1 > 5", "coalesce(part, amount * amount)",
    "round(amount, 1)", "case when n > 0 then 2147483647 + 1 end",
    "case when f < 100 then cast(f as int) * n end",
]  # fmt: skip


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    plain = pl.DataFrame(rows, schema={**SCHEMA, "at": pl.Int64}, orient="row")
    return plain.with_columns(pl.col("at").cast(SCHEMA["at"]))


def batch(*steps: dict[str, Any]) -> CompiledBatch:
    return compile_batch(TYPES, [build_etl_step(step) for step in steps])


def check_balance(cleaned: Cleaned) -> None:
    assert cleaned.rows_in + cleaned.expanded == (
        cleaned.rows.height + cleaned.filtered + cleaned.rejected.height
    )
    assert cleaned.rejected["_row"].is_unique().all()
    assert not set(cleaned.rejected["_row"]) & set(cleaned.rows["_row"])


@settings(max_examples=40)
@given(ROWS, st.sampled_from(RAISING))
def test_rows_that_an_expression_fails_on_are_those_that_fail_alone(
    rows: list[dict[str, Any]], text: str
) -> None:
    cleaned = batch({"derive": {"x": text}}).apply(frame(rows), first_row=7)
    value = to_polars(parse_scalar(text, TYPES))
    good, bad = {}, set()
    for place, row in enumerate(rows, start=7):
        try:
            good[place] = frame([row]).with_columns(value.alias("x"))["x"][0]
        except PolarsError:
            bad.add(place)
    assert dict(cleaned.rows.select("_row", "x").iter_rows()) == good
    assert set(cleaned.rejected["_row"]) == bad
    assert set(cleaned.rejected["field"]) <= {"x"}
    assert set(cleaned.rejected["check"]) <= {"step"}
    check_balance(cleaned)


def test_failing_rows_are_found_without_trying_them_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_step, "find_failures", lambda _attempt, rows, _: _none_left(rows))
    rows = pl.DataFrame({"n": list(range(2**31 - 5_000, 2**31))}, schema={"n": pl.Int32})
    compiled = compile_batch(
        {"n": parse_field_type("int32")}, [build_etl_step({"derive": {"x": "n + 2500"}})]
    )
    cleaned = compiled.apply(rows)
    assert cleaned.rejected.height == 2_500
    assert cleaned.rejected.row(0) == (
        2_500, "step", "x", "`n + 2500`: expected `int32`, got `2147483648`",
    )  # fmt: skip


def _none_left(rows: pl.DataFrame) -> None:
    assert rows.is_empty()


STEPS: list[dict[str, Any]] = [
    {"where": "n + 1 > 0"},
    {"derive": {"m": "n * 2", "next": "m + 1"}},
    {"expand": {"tag": "unnest(tags)"}},
    {"where": "tag <> 'b'"},
    {"cast": {"text": "int32"}},
    {"cast": {"big": "int32?", "part": "decimal(5,1)?"}},
    {"rename": {"id": "key", "n": "id"}},
    {"drop": ["f"]},
    {"select": ["key", "m", "tag", "id", "text"]},
]


@settings(max_examples=40)
@given(ROWS, st.integers(0, len(STEPS)), st.integers(0, 10))
def test_every_record_is_left_filtered_or_rejected_however_it_is_cut(
    rows: list[dict[str, Any]], count: int, cut: int
) -> None:
    compiled = batch(*STEPS[:count])
    whole = compiled.apply(frame(rows))
    check_balance(whole)
    assert whole.rows.columns == ["_row", *compiled.types]
    assert [whole.rows.schema[name] for name in compiled.types] == [
        polars_type(kind) for kind in compiled.types.values()
    ]
    parts = [compiled.apply(frame(rows[:cut])), compiled.apply(frame(rows[cut:]), len(rows[:cut]))]
    for part in parts:
        check_balance(part)
    assert pl.concat([part.rows for part in parts]).equals(whole.rows)
    assert pl.concat([part.rejected for part in parts]).equals(whole.rejected)


def test_cast_tells_every_column_that_does_not_fit() -> None:
    row = {"id": 1, "text": "x", "big": 2**40}
    cleaned = batch({"cast": {"text": "int64?", "big": "int32?", "n": "int32"}}).apply(frame([row]))
    assert cleaned.rejected.rows() == [
        (
            0, "cast", "text",
            "`text`: expected `int64?`, got `x`; `big`: expected `int32?`, got `1099511627776`; "
            "`n`: expected `int32`, got null",
        )
    ]  # fmt: skip


def test_record_of_which_one_row_fails_is_set_aside_whole() -> None:
    rows = [{"id": 1, "tags": ["1", "x"]}, {"id": 2, "tags": ["2", "3"]}]
    cleaned = batch({"expand": {"tag": "unnest(tags)"}}, {"cast": {"tag": "int32"}}).apply(
        frame(rows)
    )
    assert cleaned.rows.select("id", "tag").rows() == [(2, 2), (2, 3)]
    assert cleaned.rejected.rows() == [(0, "cast", "tag", "`tag`: expected `int32`, got `x`")]
    assert (cleaned.rows_in, cleaned.expanded, cleaned.filtered) == (2, 1, 0)


def test_join_rejects_rows_without_a_match_where_there_must_be_one() -> None:
    enrich = Enrich(file="n.csv", on={"text": "code"}, take={"name": "string"}, required=True)
    compiled = compile_batch(TYPES, [build_etl_step({"join": enrich})])
    (look_up,) = compiled.look_ups
    table = look_up.read(b"code,name\nx,Ex\n")
    bound = compiled.bind(Resources(tables={look_up.name: table}))
    cleaned = bound.apply(frame([{"id": 1, "text": "x"}, {"id": 2, "text": "y"}, {"id": 3}]))
    assert cleaned.rows.select("id", "name").rows() == [(1, "Ex")]
    assert [row[:3] for row in cleaned.rejected.rows()] == [
        (1, "step", "text"),
        (2, "step", "text"),
    ]
    assert str(compiled.types["name"]) == "string"
    check_balance(cleaned)


def test_microseconds_are_compared_with_milliseconds_in_the_finer_unit() -> None:
    """polars compares in the coarser unit: 1.5 ms would have been equal to 1 ms."""
    rows = frame([{"id": micro, "at": micro} for micro in (999, 1_000, 1_001, 1_500)])
    texts = {
        "at = timestamptz '1970-01-01T00:00:00.001Z'": [1_000],
        "at > '1970-01-01T00:00:00.001Z'": [1_001, 1_500],
        "at >= '1970-01-01T00:00:00.001001Z'": [1_001, 1_500],
        "at in (timestamptz '1970-01-01T00:00:00.0015Z')": [1_500],
        "at > date_trunc('second', at) and at < cast(cast(at as date) as timestamptz)": [],
    }
    for text, expected in texts.items():
        assert batch({"where": text}).apply(rows).rows["id"].to_list() == expected, text


AGGREGATE = {
    "aggregate": {
        "group_by": ["id", "text"],
        "columns": {
            "rows": "count(*)", "total": "sum(part)", "mean": "avg(part)", "least": "min(at)",
            "kinds": "count(distinct n)", "high": "max(big) filter (where n > 0)",
            "spread": "stddev_samp(part)",
        },
    }
}  # fmt: skip


@settings(max_examples=40)
@given(ROWS, st.lists(st.integers(0, 30), max_size=4))
def test_groups_of_all_chunks_are_those_of_duckdb(
    rows: list[dict[str, Any]], cuts: list[int]
) -> None:
    compiled = batch(AGGREGATE)
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    chunks = [rows[a:b] for a, b in itertools.pairwise(bounds)]
    partials = [compiled.group([compiled.apply(frame(chunk)).rows]) for chunk in chunks]
    got = compiled.combine(reversed(partials))
    table = frame(rows).select("id", "text", "part", "at", "n", "big")  # noqa: F841 - DuckDB reads it
    query = """select id, text, count(*), sum(part), sum(part)::double / count(part),
        epoch_us(min("at")), count(distinct n), max(big) filter (where n > 0), stddev_samp(part)
        from "table" group by id, text order by id, text nulls first"""
    expected = duckdb.execute(query).fetchall()
    assert got.rows.height == got.rows_in == len(expected)
    for mine, theirs in zip(got.rows.drop("_row").iter_rows(), expected, strict=True):
        assert mine[:4] == theirs[:4]
        assert mine[4] is theirs[4] or float(mine[4]) == pytest.approx(theirs[4], abs=1e-5)
        assert mine[5] is theirs[5] or round(mine[5].timestamp() * 1_000_000) == theirs[5]
        assert mine[6:8] == theirs[6:8]
        assert mine[8] is theirs[8] or mine[8] == pytest.approx(theirs[8])


def test_aggregate_of_no_rows_is_one_row_without_keys_and_none_with_them() -> None:
    columns = {"rows": "count(*)", "total": "sum(part)", "top": "top_k(text, 2)"}
    single = batch({"aggregate": {"columns": columns}})
    empty = single.group([single.apply(frame([])).rows])
    assert single.combine([empty, empty]).rows.rows() == [(0, 0, None, [])]
    assert single.combine([]).rows.rows() == [(0, 0, None, [])]
    keyed = batch({"aggregate": {"group_by": ["id"], "columns": columns}})
    assert keyed.combine([]).rows.is_empty()


def test_rows_that_cannot_be_aggregated_are_rejected_and_sums_that_do_not_fit_as_well() -> None:
    compiled = batch(
        {"aggregate": {"group_by": ["id"], "columns": {"total": "sum(big)", "next": "sum(n + 1)"}}},
        {"derive": {"double": "total * 2"}},
    )
    most = 2**63 - 1
    rows = [
        {"id": 1, "big": most, "n": 1}, {"id": 1, "big": most, "n": 1}, {"id": 2, "big": 5, "n": 1},
        {"id": 2, "big": 5, "n": 2**31 - 1}, {"id": 3, "big": most, "n": 2},
    ]  # fmt: skip
    cleaned = compiled.apply(frame(rows))
    assert cleaned.rejected.select("_row", "check").rows() == [(3, "step")]
    check_balance(cleaned)
    groups = compiled.combine([compiled.group([cleaned.rows])])
    assert groups.rows.drop("_row").rows() == [(2, 5, 2, 10)]
    assert groups.rejected.select("check", "field").rows() == [
        ("step", "total"),
        ("step", "double"),
    ]
    assert (groups.rows_in, groups.filtered, groups.expanded) == (3, 0, 0)


def test_rows_of_other_types_than_compiled_for_are_refused() -> None:
    with pytest.raises(ContractViolationError, match=r"column `n`: expected one of type `int32"):
        batch().apply(frame([]).with_columns(pl.col("n").cast(pl.Int64)))
    with pytest.raises(ContractViolationError, match=r"column `n`.*got none"):
        batch().apply(frame([]).drop("n"))


def test_constant_that_overflows_is_refused_before_any_row() -> None:
    with pytest.raises(PipelineSpecError, match=r"transform: expected .*2147483648"):
        batch({"derive": {"x": "2147483647 + 1"}})


def test_column_of_the_name_that_tells_records_apart_is_refused() -> None:
    with pytest.raises(PipelineSpecError, match="expected columns of other names than `_row`"):
        compile_batch({"_row": TYPES["id"]}, [])
    with pytest.raises(PipelineSpecError, match="expected columns of other names than `_row`"):
        batch({"rename": {"id": "_row"}})


def test_second_aggregate_is_refused() -> None:
    again = {"aggregate": {"columns": {"sum": "sum(rows)"}}}
    with pytest.raises(PipelineSpecError, match="expected one `aggregate`"):
        batch(AGGREGATE, again)
