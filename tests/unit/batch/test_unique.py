"""Keys that occur more than once: against brute force, however chunks and passes are cut."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from batch.unique import CHUNK, PLACE, UniqueCheck
from contracts.field_type_parse import parse_field_type

KEYS = (("id", parse_field_type("int64?")), ("code", parse_field_type("string?")))
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 2),
        st.none() | st.sampled_from("ab"),
        st.none() | st.integers(0, 2),
    ),
    max_size=25,
)  # fmt: skip


def frame(rows: list[tuple[int | None, str | None, int | None]]) -> pl.DataFrame:
    schema = {"id": pl.Int64, "code": pl.String, "at": pl.Int64}
    plain = pl.DataFrame(rows, schema=schema, orient="row")
    return plain.select((pl.int_range(pl.len(), dtype=pl.Int64) * 2).alias("_row"), pl.all())


@given(st.lists(ROWS, max_size=4), st.integers(1, 5), st.booleans())
def test_repeated_keys_are_those_of_brute_force(
    chunks: list[list[tuple[int | None, str | None, int | None]]],
    passes: int,
    with_cursor: bool,
) -> None:
    check = UniqueCheck(KEYS, "at" if with_cursor else None, passes)
    tables = [check.keys_of(frame(rows), number) for number, rows in enumerate(chunks)]
    got: dict[tuple[int, int], bool] = {}
    for number in range(passes):
        found = check.repeated([table.filter(pl.col("_pass") == number) for table in tables])
        got |= {(c, p): kept for c, p, kept in found.select(CHUNK, PLACE, "kept").iter_rows()}
    groups: dict[object, list[tuple[int, int, int]]] = {}
    for number, rows in enumerate(chunks):
        for place, (one, code, at) in enumerate(rows):
            if one is not None and code is not None:
                newer = -1 if at is None or not with_cursor else at
                groups.setdefault((one, code), []).append((newer, number, place))
    expected = {
        (number, place): (newer, number, place) == max(group)
        for group in groups.values() if len(group) > 1 for newer, number, place in group
    }  # fmt: skip
    assert got == expected


def test_places_go_on_over_the_parts_of_a_chunk() -> None:
    check = UniqueCheck(KEYS)
    rows = frame([(1, "a", None), (2, "a", None)])
    found = check.repeated([check.keys_of(rows, 3), check.keys_of(rows, 3, first_place=2)])
    assert found.select(CHUNK, PLACE, "_row", "key", "kept").rows() == [
        (3, 0, 0, "1, a", False), (3, 1, 2, "2, a", False),
        (3, 2, 0, "1, a", True), (3, 3, 2, "2, a", True),
    ]  # fmt: skip
    assert check.repeated([]).is_empty()
