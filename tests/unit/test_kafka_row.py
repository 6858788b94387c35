import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.ports import SinkColumn, SinkTable
from common.errors import ContractViolationError
from connectors.final_view import final_view, row_schema
from connectors.kafka_row import decode_row, encode_rows
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type

_TIMES = st.integers(-2_208_988_800_000, 10_413_791_999_999).map(
    lambda ms: dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=ms)
)
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string?": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "bool?": st.none() | st.booleans(),
    "decimal(38,10)": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(f"{n}E-10")),
    "decimal(5,0)?": st.none() | st.integers(-99_999, 99_999).map(Decimal),
    "timestamp": _TIMES,
    "date?": st.none() | st.dates(dt.date(1900, 1, 1), dt.date(2299, 12, 31)),
    "json": _DOCUMENTS.map(json.dumps) | st.just(' {"a" : 1.10, "a": [ 1E400 ]}\n'),
    "list<decimal(9,2)>": st.lists(st.integers(-99, 99).map(lambda n: Decimal(n).scaleb(-2))),
    "list<string?>": st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]))),
}
_NAMES = [*(f"c{place}" for place in range(len(_VALUES) - 1)), 'odd "name" é']
_COLUMNS = (
    SinkColumn("window_start", FieldType("timestamp")),
    *(SinkColumn(name, parse_field_type(kind)) for name, kind in zip(_NAMES, _VALUES, strict=True)),
)
_TABLE = SinkTable("s", "t", _COLUMNS)
_ROW = st.fixed_dictionaries(
    {"window_start": _TIMES}
    | dict(zip(_NAMES, _VALUES.values(), strict=True))
    | {"_key": st.text(st.characters(exclude_categories=["Cs"])), "_deleted": st.booleans()}
)


def _laid(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{"_version": 1} | row for row in rows], row_schema(_COLUMNS))


@given(_ROW)
def test_row_comes_back_from_its_record_exactly(row: dict[str, Any]) -> None:
    [(key, value)] = encode_rows(_TABLE, _laid(row))
    found = decode_row(_COLUMNS, key, value)
    assert (value is None) == row["_deleted"]
    expected = {name: content for name, content in row.items() if not row["_deleted"]}
    expected |= {name: row[name] for name in ("window_start", "_key", "_deleted")}
    document = next(name for name, kind in zip(_NAMES, _VALUES, strict=True) if kind == "json")
    if document in expected:
        expected[document] = expected[document].strip()
    assert {name: found[name] for name in expected} == expected
    for text in (key, value or b"{}"):
        assert isinstance(json.loads(text), dict)


def test_record_is_what_the_documentation_says() -> None:
    columns = (
        SinkColumn("window_start", FieldType("timestamp")),
        SinkColumn("category", FieldType("string", nullable=True)),
        SinkColumn("revenue", FieldType("decimal", 12, 2)),
        SinkColumn("weight", FieldType("float64")),
    )
    row = {
        "window_start": dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC),
        "category": None,
        "revenue": Decimal("1234567890.10"),
        "weight": math.inf,
        "_key": "n",
        "_version": 1,
        "_deleted": False,
    }
    table = pa.Table.from_pylist([row], row_schema(columns))
    assert encode_rows(SinkTable("s", "t", columns), table) == [
        (
            b'{"window_start":"2026-01-02T03:04:00.000Z","_key":"n"}',
            b'{"window_start":"2026-01-02T03:04:00.000Z","category":null,'
            b'"revenue":1234567890.10,"weight":"Infinity"}',
        )
    ]


@pytest.mark.parametrize("text", ["", "{", "1 2", '{"a":1},"b":2', "nul"])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    columns = (_COLUMNS[0], SinkColumn("document", FieldType("json")))
    row = {"window_start": 0, "document": text, "_key": "", "_version": 1, "_deleted": False}
    with pytest.raises(ContractViolationError, match="column `document`: expected values of"):
        encode_rows(SinkTable("s", "t", columns), pa.Table.from_pylist([row], row_schema(columns)))


_VERSIONS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.integers(1, 9), st.booleans()),
    max_size=30,
    unique_by=lambda row: row[:3],
)


@given(_VERSIONS, st.integers(0, 9) | st.none())
def test_final_view_is_that_of_a_dictionary(
    versions: list[tuple[int, str, int, bool]], limit: int | None
) -> None:
    columns = (_COLUMNS[0], SinkColumn("n", FieldType("int64")))
    rows = [
        {"window_start": start, "n": version, "_key": key, "_version": version, "_deleted": gone}
        for start, key, version, gone in versions
    ]
    repeated = rows + rows[::2]
    found = final_view(
        pa.Table.from_pylist(repeated, row_schema(columns)), ("window_start",), limit
    )
    last: dict[tuple[int, str], tuple[int, bool]] = {}
    for start, key, version, gone in versions:
        last[start, key] = max(last.get((start, key), (0, False)), (version, gone))
    kept = [(start, key, n) for (start, key), (n, gone) in last.items() if not gone]
    expected = [(start, n) for start, key, n in sorted(kept, key=lambda r: (-r[0], r[2], r[1]))]
    starts = found["window_start"].cast(pa.int64()).to_pylist()
    assert list(zip(starts, found["n"].to_pylist(), strict=True)) == expected[:limit]
