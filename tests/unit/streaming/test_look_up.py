"""Rows looked up in a reference table: against a left join of DuckDB, and the ledger."""

from dataclasses import replace

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars._typing import PolarsDataType

from common.errors import ContractViolationError
from common.payloads import ref_for
from pipelines.reference_file import ref_of
from pipelines.transform import Enrich, Step
from streaming.ledger import Ledger
from streaming.partial import aggregate_events
from streaming.plan import StreamPlan, compile_stream
from streaming.resource import Resources
from tests.unit.streaming.event_log import make_spec

FIELDS = {"at": "timestamp_ms", "country": "string?", "product": "int64", "tags": "list<string>"}
SCHEMA: dict[str, PolarsDataType] = {
    "country": pl.String,
    "product": pl.Int64,
    "tags": pl.List(pl.String),
}
Row = tuple[str | None, int, list[str]]

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["DE", "US", "FR", "", None]),
        st.integers(1, 3),
        st.lists(st.sampled_from(["DE", "FR", "xx"]), max_size=3),
    ),
    max_size=20,
)
TABLES = st.dictionaries(
    st.tuples(st.sampled_from(["DE", "US", "xx", "'q"]), st.integers(1, 3)),
    st.tuples(st.none() | st.sampled_from(["Europe", "a,b"]), st.integers(0, 9)),
    max_size=8,
)
Table = dict[tuple[str, int], tuple[str | None, int]]


def content_of(table: Table) -> bytes:
    rows = [(*key, *taken) for key, taken in table.items()]
    schema = {"code": pl.String, "id": pl.Int64, "region": pl.String, "rate": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").write_csv().encode()


def enrich_of(content: bytes, *, required: bool = False) -> Enrich:
    return Enrich(
        file="c.csv",
        on={"country": "code", "product": "id"},
        take={"region": "string?", "rate": "decimal(4,1)"},
        required=required,
        content=ref_of("c.csv", content),
    )


def plan_of(content: bytes, *steps: Step) -> StreamPlan:
    spec = make_spec(0, 10).model_copy(
        update={
            "fields": FIELDS, "transform": list(steps), "group_by": [],
            "aggregate": {"n": "count(*)", "r": "sum(rate)"},
        }
    )  # fmt: skip
    plan = compile_stream(spec)
    tables = {one.name: one.read(content) for one in plan.steps.look_ups}
    return replace(plan, steps=plan.steps.bind(Resources(tables=tables)))


def frame_of(rows: list[Row]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    at = pl.lit(0, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")).alias("at")
    return frame.with_columns(at, pl.int_range(pl.len(), dtype=pl.Int64).alias("_offset"))


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, table=TABLES)
def test_a_look_up_gives_the_rows_of_a_left_join_in_duckdb(rows: list[Row], table: Table) -> None:
    content = content_of(table)
    plan = plan_of(content, Step(enrich=enrich_of(content)))
    frame = frame_of(rows).with_row_index("_row")
    found = plan.steps.apply(frame).select("_row", "country", "product", "region", "rate").rows()
    with duckdb.connect() as connection:
        connection.register("given", frame.drop("at").to_arrow())
        connection.execute(
            "create table t(code varchar, id bigint, region varchar, rate decimal(4,1))"
        )
        for (code, number), (region, rate) in table.items():
            connection.execute("insert into t values (?, ?, ?, ?)", [code, number, region, rate])
        wanted = connection.execute(
            "select _row, country, product, region, rate from given "
            "left join t on country = code and product = id order by _row"
        ).fetchall()
    assert found == wanted


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, table=TABLES)
def test_records_without_a_needed_match_are_dead_letters_and_the_ledger_balances(
    rows: list[Row], table: Table
) -> None:
    content = content_of(table)
    on = {"tag": "code", "product": "id"}
    look_up = enrich_of(content, required=True).model_copy(update={"on": on})
    steps = (
        Step(where="product < 3"),
        Step(expand={"tag": "unnest(tags)"}),
        Step(enrich=look_up),
        Step(where="rate > 1"),
    )
    partial = aggregate_events(plan_of(content, *steps), frame_of(rows), None)
    wanted = Ledger()
    dead = []
    for place, (_, product, tags) in enumerate(rows):
        found = [table.get((tag, product)) for tag in tags]
        kept = [one for one in found if one is not None and one[1] > 1]
        if product == 3 or (not kept and None not in found):
            wanted = wanted.plus(Ledger(filtered=1))
        elif None in found:
            dead.append(place)
            wanted = wanted.plus(Ledger(dead_lettered=1))
        else:
            wanted = wanted.plus(Ledger(aggregated=len(kept), expanded=len(kept) - 1))
    assert partial.ledger == wanted
    assert sorted(error.row for error in partial.errors) == dead
    assert partial.ledger.plus(Ledger(consumed=len(rows))).balanced


def test_a_dead_letter_names_the_file_and_what_was_looked_up() -> None:
    content = content_of({("DE", 1): ("Europe", 1)})
    plan = plan_of(content, Step(enrich=enrich_of(content, required=True)))
    partial = aggregate_events(plan, frame_of([("FR", 2, []), ("DE", 1, []), (None, 1, [])]), None)
    assert [(error.row, error.error) for error in partial.errors] == [
        (0, "enrich: expected a row of `c.csv` for country, product, got none for `FR`, `2`"),
        (2, "enrich: expected a row of `c.csv` for country, product, got none for null, `1`"),
    ]


def test_a_table_that_is_not_bound_is_refused() -> None:
    content = content_of({})
    spec = make_spec(0, 10).model_copy(
        update={
            "fields": FIELDS, "transform": [Step(enrich=enrich_of(content))], "group_by": [],
            "aggregate": {"r": "sum(rate)"},
        }
    )  # fmt: skip
    with pytest.raises(ContractViolationError, match="expected to be loaded by now"):
        aggregate_events(compile_stream(spec), frame_of([("DE", 1, [])]), None)


def test_content_is_named_by_its_hash() -> None:
    assert ref_of("c.csv", b"x") == ref_for("references/content", b"x", "csv")
    assert ref_of("c.csv", b"x") != ref_of("c.csv", b"y")
