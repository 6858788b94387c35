"""What the engine lets through is taken by every sink: no value stops a stream late."""

import json
import math
import random
from decimal import Decimal

import numpy as np
import polars as pl

from activities.ports import SinkTable
from contracts.field_type_parse import parse_field_type
from streaming.decode import RecordDecoder
from streaming.group_key import MAX_END_MS, MAX_KEY_BYTES, MIN_START_MS
from streaming.record_block import RecordBlock
from tests.conformance.sink_case import (
    MINUTE_MS,
    SinkCase,
    chunk_of,
    row,
    rows_of,
    table_of,
)

_NUMBERS = ["9" * 4_000, "0." + "7" * 3_998, "-9.9e4000", "1E-4000", "9" * 3_995 + "e4000", "-0.0"]
_DEEP = "[" * 125 + "]" * 125
_EXTREMES = {
    "string": ['"' + "é" * 100_000 + '"', '"\\u0001\\uffff\\ud83d\\ude00"', '""'],
    "int32": [str(-(2**31)), str(2**31 - 1)],
    "int64": [str(-(2**63)), str(2**63 - 1)],
    "float64": ["1.7976931348623157e308", "-5e-324", "-0.0"],
    "bool": ["true"],
    "decimal(38,0)": ["9" * 38, "-" + "9" * 38],
    "decimal(38,38)": ["0." + "9" * 38],
    "timestamp_ms": ["-2177452800000", "10382255999999"],
    "timestamp": ['"1901-01-01T00:00Z"', '"2298-12-31T23:59:59.999999999Z"'],
    "date": ['"1901-01-01"', '"2298-12-31"'],
    "uuid": ['"FFFFFFFF-ffff-ffff-ffff-ffffffffffff"'],
    "json": [*_NUMBERS, f'{{"":{{"":[{",".join(_NUMBERS)}]}},"a":1,"a":2}}', _DEEP, '"\\\\u0000"'],
    "list<string?>": ['["", null, "\\\\u0000", "{\\",\\""]'],
    "list<timestamp>": ['["1901-01-01T00:00Z", "2298-12-31T23:59:59.999Z"]'],
    "list<date>": ['["1901-01-01", "2298-12-31"]'],
    "list<float64>": ["[1.7976931348623157e308, -5e-324]"],
    "list<decimal(38,10)>": [f"[{'9' * 28}.{'9' * 10}]"],
    "list<bool>": ["[true]"],
}


def _decoded(row_count: int) -> pl.DataFrame:
    """Decode records that hold every type at its limits."""
    kinds = {f"c{place}": parse_field_type(text) for place, text in enumerate(_EXTREMES)}
    values = [
        "{"
        + ",".join(
            f'"c{place}":{texts[number % len(texts)]}'
            for place, texts in enumerate(_EXTREMES.values())
        )
        + "}"
        for number in range(row_count)
    ]
    size = np.array([len(value.encode()) for value in values], np.int32)
    zeros = np.zeros(row_count, np.int64)
    block = RecordBlock(
        "t", 0, np.frombuffer("".join(values).encode(), np.uint8), np.arange(row_count), zeros,
        np.cumsum(size, dtype=np.int64) - size, size, zeros, np.full(row_count, -1, np.int32),
    )  # fmt: skip
    decoded = RecordDecoder(kinds, set(kinds)).decode(block, 0)
    assert decoded.dead == []
    return decoded.rows.select(*kinds)


def _parsed(texts: list[str]) -> list[object]:
    return [json.loads(text, parse_float=Decimal, parse_int=Decimal) for text in texts]


async def test_every_value_that_decodes_is_taken(case: SinkCase, name: str) -> None:
    kinds = {f"c{place}": parse_field_type(text) for place, text in enumerate(_EXTREMES)}
    table = table_of(name, extra=kinds)
    await case.prepare(table)
    count = max(map(len, _EXTREMES.values()))
    chunk = chunk_of(table, 1)
    system = rows_of(
        SinkTable(table.stream, name, table.columns[:2]),
        chunk,
        [
            {"window_start": place * MINUTE_MS, "window_end": place * MINUTE_MS, "_key": str(place)}
            for place in range(count)
        ],
    )
    rows = _decoded(count)
    for column in rows.columns:
        system = system.append_column(column, rows[column].to_arrow())
    await case.sink.write(table, chunk, system)
    found = (await case.sink.final_rows(name)).to_pylist()
    kept = sorted(found, key=lambda item: item["window_start"])
    for column, kind in kinds.items():
        got, expected = [item[column] for item in kept], rows[column].to_list()
        if kind.base == "json":
            got, expected = _parsed(got), _parsed(expected)
        assert got == expected, str(kind)


async def test_the_longest_key_and_the_outermost_windows_are_taken(
    case: SinkCase, name: str
) -> None:
    """PostgreSQL indexes at most 2,704 bytes, and compresses what is not random."""
    table, letters = table_of(name), random.Random(7)
    await case.prepare(table)
    key = "".join(letters.choice("абвгдежзиклмнопрстуфхцчш") for _ in range(MAX_KEY_BYTES // 2))
    rows = [row(0, key, 1), row(1, "first", 2), row(2, "last", 3)]
    rows[0]["_key"] = key
    rows[1] |= {"window_start": MIN_START_MS, "window_end": MIN_START_MS + MINUTE_MS}
    rows[2] |= {"window_start": MAX_END_MS - MINUTE_MS, "window_end": MAX_END_MS}
    await case.write(table, chunk_of(table, 1), *rows)
    found = {item["category"]: item for item in (await case.sink.final_rows(name)).to_pylist()}
    assert found.keys() == {key, "first", "last"}
    assert found["first"]["window_start"].isoformat() == "1900-01-01T00:00:00+00:00"
    assert found["last"]["window_end"].isoformat() == "2299-12-31T23:59:59.999000+00:00"


async def test_float_aggregates_that_are_no_numbers_are_taken(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    wanted = [math.inf, -math.inf, math.nan]
    rows = [row(place, "a", 1) | {"best": best} for place, best in enumerate(wanted)]
    await case.write(table, chunk_of(table, 1), *rows)
    found = (await case.sink.final_rows(name))["best"].to_pylist()
    assert [str(best) for best in reversed(found)] == ["inf", "-inf", "nan"]
