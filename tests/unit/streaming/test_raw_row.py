"""Rows of a raw stream against plain Python."""

import functools
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streaming.row_step
from pipelines.stream import Deduplicate, StreamSpec
from pipelines.transform import Step
from streaming.duplicate import Duplicates
from streaming.ledger import Ledger
from streaming.plan import compile_stream
from streaming.raw_row import RawRows, raw_columns, raw_rows
from tests.unit.streaming.event_log import Event, make_spec, to_frame

EVENTS = st.lists(
    st.builds(
        Event,
        st.integers(-5_000, 5_000),
        st.sampled_from(["a", "b|", None, "\\N"]),
        st.integers(-(10**6), 10**6),
        st.sampled_from([0, 1, 7, 10**18, 5 * 10**18]),
    ),
    max_size=20,
)


def raw_spec(**changes: object) -> StreamSpec:
    """Give every event with positive amount, with its double customer, which may overflow."""
    update = {
        "window": None, "group_by": [], "aggregate": {}, "where": "amount > 0",
        "derive": {"double": "customer * 2"}, **changes,
    }  # fmt: skip
    return make_spec(0, 100).model_copy(update=update)


@settings(max_examples=100, deadline=None)
@given(events=EVENTS, first=st.integers(0, 2**40))
def test_every_event_that_passes_is_one_row_with_its_position(
    events: list[Event], first: int
) -> None:
    plan = compile_stream(raw_spec())
    [found] = raw_rows(plan, to_frame(events, first), 3)
    expected, dead = [], []
    for place, event in enumerate(events):
        if event.cents <= 0:
            continue
        if event.customer * 2 >= 2**63:
            dead.append(place)
            continue
        offset = first + place
        expected.append(
            (event.event_ms, event.category, Decimal(event.cents) / 100, event.customer,
             event.customer * 2, "events", 3, offset, f"events|3|{offset}", False)
        )  # fmt: skip
    rows = found.frame.with_columns(pl.col("at").dt.epoch("ms"))
    assert rows.rows() == expected
    assert [error.row for error in found.errors] == dead
    filtered = len(events) - len(expected) - len(dead)
    assert found.ledger == Ledger(
        delivered=len(expected), filtered=filtered, dead_lettered=len(dead)
    )
    assert found.max_event_ms == max((e.event_ms for e in events), default=None)


@settings(max_examples=100, deadline=None)
@given(events=EVENTS)
def test_of_events_with_one_identity_the_last_is_the_row_and_all_are_delivered(
    events: list[Event],
) -> None:
    plan = compile_stream(raw_spec(identity=["customer"], derive={}, where=None))
    [found] = raw_rows(plan, to_frame(events), 0)
    last = {event.customer: offset for offset, event in enumerate(events)}
    assert found.frame["_offset"].to_list() == sorted(last.values())
    assert found.frame["_key"].is_unique().all()
    assert found.ledger == Ledger(delivered=len(events))


def test_a_composite_identity_keeps_texts_apart() -> None:
    events = [Event(1, "a|b", 1, 1), Event(1, "a", 1, 1), Event(1, None, 1, 1)]
    spec = raw_spec(identity=["category", "at"], derive={})
    [found] = raw_rows(compile_stream(spec), to_frame(events), 0)
    keys = found.frame["_key"]
    assert keys.to_list() == ["a\\|b|1", "a|1", "\\N|1"]


def test_an_identity_that_no_table_can_index_is_a_dead_letter() -> None:
    events = [Event(1, "x" * 1_999, 1, 1), Event(2, "y" * 2_001, 1, 1)]
    [found] = raw_rows(compile_stream(raw_spec(identity=["category"])), to_frame(events), 0)
    assert [e.category for e in events if e.category in set(found.frame["category"])] == [
        "x" * 1_999
    ]
    assert [(error.row, error.error) for error in found.errors] == [
        (1, "identity `category`: expected at most 2000 bytes, got 2001")
    ]
    assert found.ledger == Ledger(delivered=1, dead_lettered=1)


def test_columns_are_the_fields_what_is_derived_and_the_position() -> None:
    spec = raw_spec(fields={**raw_spec().fields, "at": "timestamp_ms?"})
    columns = {name: str(kind) for name, kind in raw_columns(compile_stream(spec)).items()}
    assert columns == {
        "at": "timestamp_ms", "category": "string?", "amount": "decimal(12,2)",
        "customer": "int64", "double": "int64", "_topic": "string", "_partition": "int32",
        "_offset": "int64",
    }  # fmt: skip


def expanding(*steps: Step, **changes: object) -> StreamSpec:
    """Split the category at commas into words."""
    words = Step(expand={"word": "unnest(string_split(category, ','))"})
    spec = raw_spec(where=None, derive={}, transform=[words, *steps], **changes)
    return StreamSpec.model_validate(spec.model_dump())


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(
        st.none()
        | st.lists(st.sampled_from(["a", "drop", "9", "x" * 2_001]), min_size=1, max_size=5)
    ),
    by_word=st.booleans(),
    first=st.integers(0, 4),
    cut=st.sampled_from([1, 2, 10**6]),
)
def test_every_element_is_a_row_with_its_place_and_the_ledger_balances(
    texts: list[list[str] | None],
    by_word: bool,
    first: int,
    cut: int,
) -> None:
    identity = {"identity": ["customer", "word"]} if by_word else {}
    spec = expanding(Step(where="word <> 'drop'"), **identity)
    events = [
        Event(at, None if words is None else ",".join(words), 1, at)
        for at, words in enumerate(texts)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming.row_step, "CUT_ELEMENTS", cut)
        parts = list(raw_rows(compile_stream(spec), to_frame(events), 2, rows_from=first))
    expected: list[tuple[object, ...]] = []
    below = filtered = dead = 0
    for offset, words in enumerate(texts):
        left = [(place, word) for place, word in enumerate(words or []) if word != "drop"]
        filtered += not left
        if offset < first:
            below += len(left)
        elif by_word and any(len(word) > 2_000 for _, word in left):
            dead += 1
        else:
            expected += [(offset, place, word) for place, word in left]
    ledger = sum_of(parts)
    delivered = len(expected)
    assert (ledger.delivered, ledger.filtered, ledger.below_floor, ledger.dead_lettered) == (
        delivered, filtered, below, dead,
    )  # fmt: skip
    assert ledger.plus(Ledger(consumed=len(events))).balanced
    rows = [
        row for part in parts for row in part.frame.select("_offset", "_element", "word").rows()
    ]
    if by_word:
        last = {(offset, word): (offset, place, word) for offset, place, word in expected}
        expected = sorted(last.values(), key=lambda row: (row[0], row[1]))
    assert rows == expected
    keys = [key for part in parts for key in part.frame["_key"]]
    assert len(set(keys)) == len(keys)
    if not by_word:
        assert keys == [f"events|2|{offset}|{place}" for offset, place, _ in expected]


def sum_of(parts: list[RawRows]) -> Ledger:
    return functools.reduce(Ledger.plus, (part.ledger for part in parts), Ledger())


def test_of_several_expansions_rows_are_numbered_after_the_last() -> None:
    signs = "unnest(string_split(case when word <> '' then '+,-' end, ','))"
    spec = expanding(Step(expand={"sign": signs}))
    events = [Event(1, "a,b", 1, 1), Event(2, "c", 1, 1)]
    [found] = raw_rows(compile_stream(spec), to_frame(events), 0)
    assert found.frame.select("_offset", "_element", "word", "sign").rows() == [
        (0, 0, "a", "+"), (0, 1, "a", "-"), (0, 2, "b", "+"), (0, 3, "b", "-"),
        (1, 0, "c", "+"), (1, 1, "c", "-"),
    ]  # fmt: skip
    assert found.ledger == Ledger(expanded=4, delivered=6)


def test_all_rows_of_a_record_that_came_before_are_dropped() -> None:
    options = Deduplicate(by=["customer"], within_ms=100)
    plan = compile_stream(expanding(deduplicate=options))
    texts = ["a,a", "b", "a,a", "c,d", "b", "e,f"]
    events = [
        Event(at, text, 1, who)
        for at, (text, who) in enumerate(zip(texts, [1, 2, 1, 3, 2, 4], strict=True))
    ]
    duplicates = Duplicates(plan.duplicate_keys, 100, None, [])
    [found] = raw_rows(plan, to_frame(events), 0, duplicates, rows_from=1)
    assert found.frame.select("_offset", "_element").rows() == [
        (1, 0), (3, 0), (3, 1), (5, 0), (5, 1),
    ]  # fmt: skip
    assert found.ledger == Ledger(expanded=3, delivered=5, duplicate=2, below_floor=2)
