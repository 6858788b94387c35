"""Rows that records are expanded into: against DuckDB, and every record counted once."""

from collections import Counter
from dataclasses import dataclass

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars._typing import PolarsDataType

import streaming.row_step
from pipelines.stream import Deduplicate, StreamSpec
from pipelines.transform import Step
from streaming.combine import KEY, combine
from streaming.decode import RecordDecoder
from streaming.duplicate import Duplicates
from streaming.ledger import Ledger
from streaming.partial import ROW, RangePartial, aggregate_events
from streaming.plan import StreamPlan, compile_stream
from streaming.window import END_OF_TIME_MS
from tests.unit.streaming.event_log import make_spec
from tests.unit.streaming.record_maker import block_of

FIELDS = {"at": "timestamp_ms", "tags": "list<string>?", "counts": "list<int64?>?", "n": "int64"}
SCHEMA: dict[str, PolarsDataType] = {
    "at": pl.Datetime("ms", "UTC"), "tags": pl.List(pl.String), "counts": pl.List(pl.Int64),
    "n": pl.Int64,
}  # fmt: skip
LONG = "x" * 2_001
"""A key that no table can hold."""
BIG = 2**62
"""A number whose double overflows."""


@dataclass(frozen=True)
class Row:
    """One record: its time, two lists, a number."""

    at: int
    tags: list[str] | None
    counts: list[int | None] | None
    n: int


ROWS = st.builds(
    Row,
    at=st.sampled_from([100, 900, 1_500, 2_500, 9_000]),
    tags=st.none() | st.lists(st.sampled_from(["a", "b", "drop", LONG]), max_size=4),
    counts=st.none() | st.lists(st.sampled_from([None, 1, 2, BIG]), max_size=4),
    n=st.sampled_from([-1, 0, 1, BIG]),
)


def plan_of(*steps: Step, **changes: object) -> StreamPlan:
    spec = make_spec(0, 10).model_copy(
        update={"fields": FIELDS, "transform": list(steps), "group_by": [], **changes}
    )
    return compile_stream(StreamSpec.model_validate(spec.model_dump()))


def frame_of(rows: list[Row]) -> pl.DataFrame:
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA}
    frame = pl.DataFrame(columns, schema={**SCHEMA, "at": pl.Int64})
    offset = pl.int_range(pl.len(), dtype=pl.Int64).alias("_offset")
    return frame.with_columns(pl.col("at").cast(SCHEMA["at"]), offset)


def expanded(plan: StreamPlan, rows: list[Row], *columns: str) -> list[tuple[object, ...]]:
    frame = frame_of(rows).with_row_index("_row")
    return plan.steps.apply(frame).select("_row", *columns).rows()


LISTS = {
    "tag": "unnest(tags)",
    "one": "unnest(counts)",
    "part": "unnest(string_split(case when n <> 0 then cast(n as varchar) || ',x' end, ','))",
}


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROWS, max_size=12))
@pytest.mark.parametrize("columns", [["tag"], ["one"], ["tag", "one"], ["part"], ["one", "part"]])
def test_expansion_gives_the_rows_of_unnest_in_duckdb(columns: list[str], rows: list[Row]) -> None:
    plan = plan_of(
        Step(expand={name: LISTS[name] for name in columns}), aggregate={"c": "count(*)"}
    )
    frame = frame_of(rows).with_row_index("_row")
    found = plan.steps.apply(frame).select("_row", *columns).rows()
    with duckdb.connect() as connection:
        connection.register("given", frame.drop("at").to_arrow())
        selected = ", ".join(f"{LISTS[name]} as {name}" for name in columns)
        # Rows of one record come in the order of its elements.
        query = f"select _row, {selected} from (select * from given order by _row)"
        assert found == connection.execute(query).fetchall()


@dataclass
class Told:
    """What brute force says of a batch: sums per key, the ledger, dead and late records."""

    sums: Counter[str]
    ledger: Ledger
    dead: list[int]
    late: list[int]


def brute_force(rows: list[Row], watermark_ms: int | None, within_ms: int | None = None) -> Told:
    """Expand, filter and judge record by record, in plain Python."""
    told = Told(Counter(), Ledger(), [], [])
    counted: Counter[str] = Counter()
    passed: list[Row] = []
    for place, row in enumerate(rows):
        if row.n < 0:
            counted["filtered"] += 1
            continue
        kept = [tag for tag in row.tags or [] if tag != "drop"]
        if row.n * 2 >= 2**63:
            told.dead.append(place)
        elif not kept:
            counted["filtered"] += 1
        elif within_ms is not None and is_copy(row, passed, within_ms):
            counted["duplicate"] += 1
        elif watermark_ms is not None and (row.at // 1_000 + 1) * 1_000 <= watermark_ms:
            told.late.append(place)
        elif LONG in kept:
            told.dead.append(place)
        else:
            told.sums.update(dict.fromkeys(kept, 0))
            for tag in kept:
                told.sums[tag] += 1
            counted["aggregated"] += len(kept)
            counted["expanded"] += len(kept) - 1
        if kept and row.n * 2 < 2**63:
            passed.append(row)
    told.ledger = Ledger(**counted, dead_lettered=len(told.dead), late=len(told.late))
    return told


def is_copy(row: Row, passed: list[Row], within_ms: int) -> bool:
    """Tell whether a record repeats one that passed before it."""
    reach_ms = max((one.at for one in passed), default=0) - within_ms
    return any(one.n == row.n and one.at >= reach_ms for one in passed)


STEPS = (
    Step(where="n >= 0"),
    Step(derive={"twice": "n * 2"}),
    Step(expand={"tag": "unnest(tags)"}),
    Step(where="tag <> 'drop' and twice is not null"),
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(ROWS, max_size=12),
    watermark_ms=st.sampled_from([None, 0, 1_000, 2_000]),
    within_ms=st.sampled_from([None, 500, 5_000]),
)
@pytest.mark.parametrize("cut", [1, 3, 1_000_000])
def test_every_record_counts_once_and_the_ledger_balances(
    cut: int, rows: list[Row], watermark_ms: int | None, within_ms: int | None
) -> None:
    options = None if within_ms is None else Deduplicate(by=["n"], within_ms=within_ms)
    plan = plan_of(
        *STEPS, group_by=["tag"], aggregate={"c": "count(*)", "m": "max(twice)"},
        deduplicate=options,
    )  # fmt: skip
    duplicates = None
    if within_ms is not None:
        duplicates = Duplicates(plan.duplicate_keys, within_ms, None, [])
    partial = cut_at(cut, plan, rows, watermark_ms, duplicates)
    wanted = brute_force(rows, watermark_ms, within_ms)
    assert partial.ledger == wanted.ledger
    assert partial.ledger.plus(Ledger(consumed=len(rows))).balanced
    assert sorted(error.row for error in partial.errors) == wanted.dead
    assert sorted(partial.late[ROW].to_list()) == wanted.late
    assert partial.max_event_ms == max((row.at for row in rows), default=None)
    emitted = combine(plan, [partial.frame], END_OF_TIME_MS, None).emitted
    sums: Counter[str] = Counter()
    for key, count in emitted.select(KEY, "c").iter_rows():
        sums[key] += count
    assert sums == wanted.sums


def cut_at(
    elements: int,
    plan: StreamPlan,
    rows: list[Row],
    watermark_ms: int | None,
    duplicates: Duplicates | None = None,
) -> RangePartial:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming.row_step, "CUT_ELEMENTS", elements)
        return aggregate_events(plan, frame_of(rows), watermark_ms, duplicates=duplicates)


def test_an_element_that_fails_makes_one_dead_letter_of_its_record() -> None:
    rows = [Row(0, ["a"], [1, BIG, BIG], 1), Row(0, ["a"], [1, 2, None], 1)]
    plan = plan_of(Step(expand={"one": "unnest(counts)"}), aggregate={"s": "sum(one * 2)"})
    partial = aggregate_events(plan, frame_of(rows), None)
    assert [error.row for error in partial.errors] == [0]
    assert partial.ledger == Ledger(expanded=2, aggregated=3, dead_lettered=1)
    assert combine(plan, [partial.frame], END_OF_TIME_MS, None).emitted["s"].to_list() == [6]


def test_elements_of_one_record_are_first_and_last_in_their_order() -> None:
    rows = [Row(0, [], [3, 1, 2], 1), Row(0, [], [5, 4], 1)]
    plan = plan_of(
        Step(expand={"one": "unnest(counts)"}),
        aggregate={"f": "first(one)", "l": "last(one)"},
    )
    frames = [aggregate_events(plan, frame_of(rows).slice(i, 1), None).frame for i in (1, 0)]
    for given_frames in (frames, frames[::-1]):
        emitted = combine(plan, given_frames, END_OF_TIME_MS, None).emitted
        assert emitted.select("f", "l").rows() == [(3, 4)]


def test_several_expansions_multiply() -> None:
    plan = plan_of(
        Step(expand={"tag": "unnest(tags)"}),
        Step(derive={"letter": "upper(tag)"}),
        Step(expand={"one": "unnest(counts)"}),
        aggregate={"c": "count(*)"},
    )
    rows = [Row(0, ["a", "b"], [1, 2], 1), Row(0, ["c"], [], 1)]
    assert expanded(plan, rows, "letter", "one") == [
        (0, "A", 1), (0, "A", 2), (0, "B", 1), (0, "B", 2),
    ]  # fmt: skip


def test_a_list_that_nothing_reads_any_more_is_not_repeated() -> None:
    plan = plan_of(Step(expand={"tag": "unnest(tags)"}), aggregate={"c": "count(counts)"})
    frame = plan.steps.apply(frame_of([Row(0, ["a", "b"], [1], 1)]).with_row_index("_row"))
    assert "tags" not in frame.columns
    assert frame["counts"].to_list() == [[1], [1]]


def test_lists_of_decoded_records_expand() -> None:
    plan = plan_of(Step(expand={"one": "unnest(counts)"}), aggregate={"s": "sum(one)"})
    assert plan.wanted == {"at", "counts"}
    values = [b'{"at":0,"n":1,"counts":[1,null,3]}', b'{"at":1,"n":1,"counts":[]}']
    block = block_of([(None, value) for value in values])
    decoded = RecordDecoder(plan.fields, set(plan.wanted), "at", 0).decode(block, 10**9)
    assert decoded.dead == []
    partial = aggregate_events(plan, decoded.rows, None)
    assert partial.ledger == Ledger(expanded=2, aggregated=3, filtered=1)
    assert combine(plan, [partial.frame], END_OF_TIME_MS, None).emitted["s"].to_list() == [4]


def test_cuts_are_bounded_by_elements_and_lose_nothing() -> None:
    draw = np.random.default_rng(1)
    rows = [Row(0, ["a"] * int(draw.integers(0, 9)), None, 1) for _ in range(200)]
    plan = plan_of(Step(expand={"tag": "unnest(tags)"}), aggregate={"c": "count(*)"})
    frame = frame_of(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming.row_step, "CUT_ELEMENTS", 20)
        parts = list(plan.steps.cuts(frame))
    assert len(parts) > 10
    assert pl.concat(parts).equals(frame)
    assert max(part["tags"].list.len().sum() + part.height for part in parts) <= 20 + 9
