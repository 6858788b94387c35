import base64
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.decode import OFFSET, Decoded
from streaming.late_event import late_event_frame
from streaming.late_row import BASE64, COLUMNS, TEXT, late_rows
from streaming.partial import LATE_SCHEMA
from tests.unit.streaming.record_maker import block_of

CONTENT = st.none() | st.binary(max_size=6) | st.text(max_size=4).map(str.encode)
Record = tuple[bytes | None, bytes | None]


def rows_of(records: list[Record], event_ms: list[int], epoch: int = 3) -> pl.DataFrame:
    """Freeze late events as the engine does and turn them into rows."""
    offsets = list(range(7, 7 + len(records)))
    block = block_of(records, offsets, partition=2)
    decoded = Decoded(pl.DataFrame({OFFSET: offsets}, schema={OFFSET: pl.Int64}), [])
    late = pl.DataFrame(
        {
            "row": range(len(records)),
            "event_ms": event_ms,
            "late_by_ms": [at + 1 for at in range(len(records))],
        },
        schema=LATE_SCHEMA,
    )
    return late_rows(late_event_frame(block, decoded, late), "shop", "sales", epoch)


@given(records=st.lists(st.tuples(CONTENT, CONTENT), max_size=8))
def test_key_and_value_can_be_had_back_as_they_came(records: list[Record]) -> None:
    rows = rows_of(records, [0] * len(records))
    for (key, value), row in zip(records, rows.iter_rows(named=True), strict=True):
        for content, shown in ((key, row["key"]), (value, row["value"])):
            if content is None:
                assert shown is None
            elif row["encoding"] == TEXT:
                assert shown.encode() == content
                assert "\0" not in shown
            else:
                assert row["encoding"] == BASE64
                assert base64.b64decode(shown, validate=True) == content


def test_text_stays_text_and_the_rest_is_base64() -> None:
    records: list[Record] = [(b"k", "ä".encode()), (None, None), (b"", b"a\0"), (b"\xff", b"x")]
    rows = rows_of(records, [0] * 4)
    assert rows["encoding"].to_list() == [TEXT, TEXT, BASE64, BASE64]
    assert rows["key"].to_list() == ["k", None, "", "/w=="]
    assert rows["value"].to_list() == ["ä", None, "YQA=", "eA=="]


def test_row_tells_where_the_event_stood_and_is_one_an_epoch() -> None:
    row = rows_of([(b"k", b"v")], [-1]).row(0, named=True)
    assert row.pop("_key") == "3|sales|2|7"
    assert row == {
        "_topic": "sales", "_partition": 2, "_offset": 7,
        "event_time": datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC),
        "late_by_ms": 1, "key": "k", "value": "v", "encoding": "utf-8", "pipeline": "shop",
        "epoch": 3, "_deleted": False,
    }  # fmt: skip
    assert rows_of([(b"k", b"v")], [-1], epoch=4)["_key"][0] != "3|sales|2|7"


@pytest.mark.parametrize(
    ("event_ms", "held"),
    [
        (-2_208_988_800_001, False),
        (-2_208_988_800_000, True),
        (10_413_791_999_999, True),
        (10_413_792_000_000, False),
        (-(2**50), False),
        (2**50, False),
    ],
)
def test_event_time_that_no_table_holds_is_null(event_ms: int, held: bool) -> None:
    rows = rows_of([(None, b"v")], [event_ms])
    assert rows["event_time"].dt.epoch("ms").to_list() == [event_ms if held else None]
    assert [name for name in rows.columns if not name.startswith("_")] == [
        name for name in COLUMNS if not name.startswith("_")
    ]
