from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from streaming.combine import KEY, combine, pane_span
from streaming.field_dtype import polars_type
from streaming.group_key import canonical_key
from streaming.partial import FRESH, aggregate_events, merge_partials
from streaming.plan import StreamPlan, compile_stream
from streaming.window import PANE
from tests.unit.streaming.event_log import Event, make_spec, to_frame

TEXTS = st.none() | st.text(alphabet="\\|N a", max_size=5) | st.text(max_size=3)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "string?": TEXTS,
    "int64?": st.none() | st.integers(-3, 30),
    "bool?": st.none() | st.booleans(),
    "decimal(12,2)?": st.none() | st.decimals(-3, 3, places=2),
    "date?": st.none() | st.dates(date(1960, 1, 1), date(2040, 1, 1)),
}


def keys_of(kinds: list[str]) -> tuple[tuple[str, FieldType], ...]:
    return tuple((f"k{n}", parse_field_type(kind)) for n, kind in enumerate(kinds))


def encoded(kinds: list[str], rows: list[tuple[Any, ...]]) -> list[str | None]:
    keys = keys_of(kinds)
    schema = {name: polars_type(kind) for name, kind in keys}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.select(canonical_key(keys).alias("key"))["key"].to_list()


@given(st.data())
def test_distinct_keys_never_have_the_same_text(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3))
    rows = data.draw(st.lists(st.tuples(*(VALUES[kind] for kind in kinds)), min_size=2))
    texts = encoded(kinds, rows)
    assert None not in texts
    for text, row in zip(texts, rows, strict=True):
        for other_text, other in zip(texts, rows, strict=True):
            assert (text == other_text) == (row == other)


def test_null_is_not_the_text_that_stands_for_it() -> None:
    texts = encoded(["string?"], [(None,), (r"\N",), ("",), ("N",), (r"\\N",)])
    assert texts == [r"\N", r"\\N", "", "N", r"\\\\N"]


def test_separator_within_a_part_does_not_move_the_border() -> None:
    texts = encoded(["string?", "string?"], [("a|", "b"), ("a", "|b"), ("a|b", ""), ("a\\", "|b")])
    assert len(set(texts)) == 4


def test_stream_without_keys_has_one_empty_key() -> None:
    frame = pl.DataFrame({"n": [1, 2]})
    assert frame.with_columns(canonical_key(()).alias(KEY))[KEY].to_list() == ["", ""]


def test_time_of_a_key_is_written_in_milliseconds() -> None:
    keys = (("t", FieldType("timestamp_ms")),)
    frame = pl.DataFrame({"t": [-1]}).cast(pl.Datetime("ms", "UTC"))
    assert frame.select(canonical_key(keys).alias(KEY))[KEY].to_list() == ["-1"]


# --- fire and keep -------------------------------------------------------------------------------


def plan_allowing(allowed_ms: int) -> StreamPlan:
    return compile_stream(make_spec(0, 10, allowed_ms=allowed_ms))


def partials(plan: StreamPlan, *times: int, fresh: bool = True) -> pl.DataFrame:
    frame = aggregate_events(plan, to_frame([Event(at, "a", 1, 1) for at in times]), None).frame
    return frame.with_columns(pl.lit(fresh).alias(FRESH))


def test_window_fires_when_the_watermark_reaches_its_end() -> None:
    plan = plan_allowing(0)
    frame = partials(plan, 0, 1_000)
    assert combine(plan, [frame], 999, None).emitted.height == 0
    assert combine(plan, [frame], 1_000, None).emitted.height == 1
    assert combine(plan, [frame], 2_000, None).emitted.height == 2
    assert combine(plan, [frame], None, None).emitted.height == 0


def test_window_that_was_emitted_fires_again_only_with_new_data() -> None:
    plan = plan_allowing(5_000)
    first = combine(plan, [partials(plan, 0, 100)], 1_000, 1_000)
    assert first.emitted["n"].to_list() == [2]
    again = combine(plan, [first.kept], 2_000, 2_000)
    assert again.emitted.is_empty()
    revised = combine(plan, [again.kept, partials(plan, 200)], 2_000, 2_000)
    assert revised.emitted["n"].to_list() == [3]
    assert combine(plan, [revised.kept], 9_999, 9_999).emitted.is_empty()


def test_emitted_pane_is_kept_until_no_event_on_time_can_belong_to_it() -> None:
    plan = plan_allowing(500)
    old = partials(plan, 0, fresh=False)
    assert combine(plan, [old], 9_000, 1_499).kept.height == 1
    assert combine(plan, [old], 9_000, 1_500).kept.height == 0
    assert combine(plan, [old], 9_000, None).kept.height == 1


def test_pane_that_nobody_has_seen_is_kept_however_old() -> None:
    plan = plan_allowing(0)
    kept = combine(plan, [partials(plan, 0)], None, 10**9).kept
    assert kept[PANE].to_list() == [0]


def test_kept_frames_say_where_they_begin_and_end() -> None:
    plan = plan_allowing(0)
    frame = merge_partials(
        plan, [partials(plan, -1, 0, fresh=False), partials(plan, 3_000), partials(plan, 9_000)]
    )
    assert pane_span(frame) == (-1_000, 9_000, 3_000)
    assert pane_span(frame.clear()) == (None, None, None)


def test_merged_partial_is_fresh_if_any_part_of_it_is() -> None:
    plan = plan_allowing(0)
    old, new = partials(plan, 0, fresh=False), partials(plan, 1)
    for frames in ([old, new], [new, old], [old, new, old]):
        assert merge_partials(plan, frames)[FRESH].to_list() == [True]
    assert merge_partials(plan, [old, old])[FRESH].to_list() == [False]


def test_decimal_keys_of_equal_value_have_the_same_text() -> None:
    assert len(set(encoded(["decimal(12,2)?"], [(Decimal("1.50"),), (Decimal("1.5"),)]))) == 1
