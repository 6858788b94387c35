"""Quarantined rows: their content is what was extracted, and is read back exactly."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.quarantine import QUARANTINE, content_of, quarantine_records, released
from common.errors import ContractViolationError
from contracts.field_dtype import polars_type
from contracts.field_type_parse import parse_field_type

TYPES = {
    name: parse_field_type(text)
    for name, text in {
        "id": "int64", "amount": "decimal(38,10)?", "f": "float64?", "text": "string?",
        "ok": "bool?", "day": "date?", "at": "timestamp(6)?", "coarse": "timestamp?",
        "tags": "list<string?>?", "prices": "list<decimal(12,2)?>?",
    }.items()
}  # fmt: skip
SCHEMA = {name: polars_type(kind) for name, kind in TYPES.items()}
ROW = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "amount": st.none() | st.decimals(-(10**18), 10**18, places=10),
        "f": st.none() | st.floats(allow_nan=False),
        "text": st.none() | st.text(),
        "ok": st.none() | st.booleans(),
        "day": st.none() | st.dates(date(1000, 1, 1)),
        "at": st.none() | st.datetimes(datetime(1000, 1, 1)).map(lambda t: t.replace(tzinfo=UTC)),  # noqa: DTZ001 - UTC is added
        "coarse": st.none() | st.just(datetime(2026, 5, 1, 1, 2, 3, 4_000, tzinfo=UTC)),
        "tags": st.none() | st.lists(st.none() | st.text(), max_size=3),
        "prices": st.none() | st.lists(st.none() | st.just(Decimal("1.50")), max_size=2),
    }
)


@given(st.lists(ROW, max_size=5))
def test_released_rows_are_those_that_were_extracted(rows: list[dict[str, object]]) -> None:
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    assert released(content_of(frame, TYPES), TYPES).equals(frame, null_equal=True)


def test_quarantine_says_where_a_row_was_read_and_what_it_was() -> None:
    kinds = {"id": TYPES["id"], "text": TYPES["text"]}
    rows = pl.DataFrame({"_row": [5, 6], "id": [1, 2], "text": ['a"b', None]})
    rejected = pl.DataFrame({"_row": [6], "check": ["step"], "field": ["x"], "reason": ["because"]})
    made = quarantine_records(rows, rejected, kinds, chunk=3)
    assert dict(made.schema) == QUARANTINE
    assert made.drop("content").rows() == [(3, 6, "step", "x", "because")]
    assert json.loads(made["content"][0]) == {"id": "2", "text": None}


def test_content_of_other_types_is_refused() -> None:
    content = pl.Series("content", ['{"id": "x"}'])
    with pytest.raises(ContractViolationError, match="values of type `int64` in column `id`"):
        released(content, {"id": TYPES["id"]})
