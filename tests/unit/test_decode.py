"""What decoding promises, by example."""

import ctypes
import mmap
from dataclasses import replace
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from common.errors import PipelineSpecError
from contracts.field_type_parse import parse_field_type
from streaming.decode import DeadRow, RecordDecoder
from streaming.record_block import RecordBlock

NOW_MS = 1_760_000_000_000
SALES = {
    "event_id": "string",
    "timestamp": "timestamp_ms",
    "category": "string",
    "customer_id": "int64",
    "product_id": "int32",
    "amount": "decimal(12,2)",
}
GOOD = (
    b'{"event_id":"6f0d6d0a-long-enough","timestamp":1750000000123,"category":"books",'
    b'"customer_id":12345,"product_id":678,"amount":12.34}'
)


def decoder(
    fields: dict[str, str], event: str | None = None, ahead_ms: int | None = None
) -> RecordDecoder:
    types = {name: parse_field_type(text) for name, text in fields.items()}
    return RecordDecoder(types, set(types), event, ahead_ms)


def block(*values: bytes | None) -> RecordBlock:
    size = np.array([-1 if value is None else len(value) for value in values], dtype=np.int32)
    ends = np.cumsum(np.maximum(size, 0), dtype=np.int64)
    count = len(values)
    return RecordBlock(
        topic="sales",
        partition=0,
        buffer=np.frombuffer(b"".join(value or b"" for value in values), dtype=np.uint8),
        offset=np.arange(count, dtype=np.int64) + 100,
        timestamp_ms=np.arange(count, dtype=np.int64) + 5_000,
        value_start=ends - np.maximum(size, 0),
        value_size=size,
        key_start=np.zeros(count, dtype=np.int64),
        key_size=np.full(count, -1, dtype=np.int32),
    )


def only_death(fields: dict[str, str], value: bytes | None) -> DeadRow:
    decoded = decoder(fields).decode(block(value), NOW_MS)
    assert decoded.rows.is_empty()
    (dead,) = decoded.dead
    return dead


def test_decode_gives_columns_of_engine_types_in_declared_order() -> None:
    rows = decoder(SALES, "timestamp", 0).decode(block(GOOD, GOOD), NOW_MS).rows
    assert rows.schema == {
        "event_id": pl.String(),
        "timestamp": pl.Datetime("ms", "UTC"),
        "category": pl.String(),
        "customer_id": pl.Int64(),
        "product_id": pl.Int32(),
        "amount": pl.Decimal(12, 2),
        "_offset": pl.Int64(),
        "_timestamp_ms": pl.Int64(),
    }
    assert rows["amount"].to_list() == [Decimal("12.34")] * 2
    assert rows["event_id"].to_list() == ["6f0d6d0a-long-enough"] * 2
    assert rows["_offset"].to_list() == [100, 101]
    assert rows["_timestamp_ms"].to_list() == [5_000, 5_001]


def test_decode_gives_the_same_columns_for_a_block_without_records() -> None:
    empty, full = (
        decoder(SALES | {"tags": "list<string>?"}).decode(b, NOW_MS).rows
        for b in (block(), block(GOOD))
    )
    assert empty.schema == full.schema
    assert empty.is_empty()


def test_decode_keeps_order_and_offsets_when_records_are_bad() -> None:
    decoded = decoder(SALES, "timestamp", 0).decode(block(None, GOOD, b"[1,2]", GOOD), NOW_MS)
    assert decoded.rows["_offset"].to_list() == [101, 103]
    assert [(dead.row, dead.offset, dead.error_field) for dead in decoded.dead] == [
        (0, 100, ""),
        (2, 102, ""),
    ]


def test_decode_keeps_texts_alive_when_the_block_is_gone() -> None:
    rows = decoder(SALES).decode(block(*[GOOD] * 1000), NOW_MS).rows
    assert rows["event_id"].unique().to_list() == ["6f0d6d0a-long-enough"]


@pytest.mark.parametrize(
    ("text", "value", "error"),
    [
        ("int64", b'{"x":"1"}', '`x` must be an integer of 64 bits, .* got "1"'),
        ("int64", b'{"x":1.0}', "without point or exponent, got 1.0"),
        ("int64", b'{"x":true}', "got true"),
        ("int32", b'{"x":2147483648}', "got 2147483648, which is out of range"),
        ("float64", b'{"x":-1e999}', "got -1e999, which is out of range"),
        ("decimal(4,2)", b'{"x":1.005}', r"decimal\(4,2\), got 1.005, .* too many decimal places"),
        ("decimal(4,2)", b'{"x":100}', "got 100, which has too many digits"),
        ("timestamp", b'{"x":"2026-05-01T00:00"}', "which has no time zone"),
        ("date", b'{"x":"2026-02-29"}', 'YYYY-MM-DD in .*, got "2026-02-29"$'),
        ("date", b'{"x":"1900-12-31"}', "in the years 1901 to 2298, .*which is out of range"),
        ("timestamp", b'{"x":"2299-01-01T00:00Z"}', "years 1901 to 2298, .*which is out of range"),
        ("timestamp_ms", b'{"x":10382256000000}', "years 1901 to 2298, .*which is out of range"),
        ("timestamp_ms", b'{"x":-2177452800001}', "out of range"),
        (
            "string",
            b'{"x":"a\\u0000b"}',
            r"not hold U\+0000, PostgreSQL cannot .*a.u0000b",
        ),
        ("json", b'{"x":{"a":["\\\\\\u0000"]}}', r"`x` must not hold U\+0000"),
        ("json", b'{"x":{"\\u0000":1}}', r"`x` must not hold U\+0000"),
        ("json", b'{"x":[1e4001]}', "a number of too many digits"),
        ("list<string>", b'{"x":["a","\\u0000"]}', r"`x\[1\]` must not hold U\+0000"),
        ("list<int32>", b'{"x":[1,[2]]}', r"`x\[1\]` must be an integer .* got \[2\]"),
        ("string", b'{"x":null}', "`x` is null: expected text"),
        ("string", b'{"y":1}', "`x` is missing: expected text"),
    ],
)
def test_dead_letter_names_the_field_and_the_reason(text: str, value: bytes, error: str) -> None:
    dead = only_death({"x": text}, value)
    assert dead.error_field == "x"
    assert pl.Series([dead.error]).str.contains(error).all(), dead.error


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, "no value"),
        (b"", "empty"),
        (b" ", "empty"),
        (b'"x"', 'expected a JSON object, got "x"'),
        (b'{"x":NaN}', "at byte 5: expected a value, got NaN}"),
        (b'{"x":1,}', "expected a key"),
        (b'{"x":1}\n{"x":1}', "at byte 8: expected nothing after the object"),
        (b'{"x":01}', "malformed number"),
        (b'{"y":"a\nb"}', "control character"),
        (b'{"y":"\\x"}', "unknown escape"),
        (b'{"y":"\\ud800"}', "surrogate"),
        (b'{"y":"\xc3("}', "not UTF-8"),
        (b'{"y":' + b"[" * 128, "nested deeper than 128"),
    ],
)
def test_dead_letter_says_why_a_value_is_no_object(value: bytes | None, error: str) -> None:
    dead = only_death({"x": "int64?"}, value)
    assert error in dead.error
    assert dead.error_field == ""


def test_decode_takes_the_last_of_a_repeated_key() -> None:
    decoded = decoder({"x": "float64"}).decode(
        block(b'{"x":"bad","x":9007199254740993.00000000001,"x":1}', b'{"x":1,"x":"bad"}'), NOW_MS
    )
    assert decoded.rows["x"].to_list() == [1.0]
    assert [dead.row for dead in decoded.dead] == [1]


def test_decode_measures_the_future_from_now_or_from_the_brokers_time() -> None:
    reader = decoder({"t": "timestamp_ms"}, "t", 1_000)
    values = block(b'{"t":2000}', b'{"t":2001}')
    (dead,) = reader.decode(values, 1_000).dead
    assert dead.row == 1
    assert dead.error.startswith("`t` lies 1.001 s in the future: at most 1.000 s")
    assert not reader.decode(replace(values, log_append_time=True), 0).dead


def test_decode_needs_an_event_time_even_where_null_is_allowed() -> None:
    decoded = decoder({"t": "timestamp_ms?"}, "t").decode(block(b'{"t":null}', b"{}"), NOW_MS)
    assert [dead.error_field for dead in decoded.dead] == ["t", "t"]


def test_decode_keeps_json_as_it_came_and_lowers_uuids() -> None:
    value = b'{"j": {"a": [1, 2.50]} ,"u":"AAAAAAAA-bbbb-4ccc-8ddd-0123456789AB"}'
    rows = decoder({"j": "json", "u": "uuid"}).decode(block(value), NOW_MS).rows
    assert rows["j"].to_list() == ['{"a": [1, 2.50]}']
    assert rows["u"].to_list() == ["aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"]


def test_decode_tells_u0000_from_an_escaped_backslash_before_letters() -> None:
    value = b'{"s":"\\\\u0000","j":["\\\\u0000",1e4000],"\\u0000":"\\u0000"}'
    rows = decoder({"s": "string", "j": "json"}).decode(block(value), NOW_MS).rows
    assert rows.select("s", "j").rows() == [("\\u0000", '["\\\\u0000",1e4000]')]


def test_decode_reads_nested_lists() -> None:
    rows = decoder({"x": "list<list<decimal(4,1)?>>?"}).decode(
        block(b'{"x":[[1.5,null],[]]}', b"{}", b'{"x":[]}'), NOW_MS
    )
    assert rows.rows["x"].to_list() == [[[Decimal("1.5"), None], []], None, []]


def test_decode_follows_keys_that_change_their_order() -> None:
    values = [
        b'{"a":1,"other":[],"b":2}',
        b'{"b":4,"a":3}',
        b'{"\\u0061":5,"b":6}',
        b'{"ab":0,"a":7,"b":8}',
    ]
    rows = decoder({"a": "int64", "b": "int64"}).decode(block(*values * 2), NOW_MS).rows
    assert rows.select("a", "b").rows() == [(1, 2), (3, 4), (5, 6), (7, 8)] * 2


def test_decode_refuses_a_block_whose_values_leave_its_buffer() -> None:
    good = block(GOOD)
    for wrong in ({"value_start": good.value_start - 1}, {"value_size": good.value_size + 1}):
        with pytest.raises(ValueError, match="expected values within a buffer"):
            decoder(SALES).decode(replace(good, **wrong), NOW_MS)


def test_decoder_refuses_names_that_mean_nothing() -> None:
    types = {"x": parse_field_type("int64")}
    with pytest.raises(PipelineSpecError, match="field `y`"):
        RecordDecoder(types, {"y"})
    with pytest.raises(PipelineSpecError, match="timestamp_ms or timestamp, got int64"):
        RecordDecoder(types, {"x"}, "x")
    with pytest.raises(PipelineSpecError, match="reserved"):
        RecordDecoder({"_offset": types["x"]}, set())


@pytest.mark.parametrize("high", [True, False])
def test_decode_reads_no_byte_outside_the_buffer(*, high: bool) -> None:
    """A protected page on either side: a load outside the values ends the process."""
    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 3 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None)
    for guard in (address, address + 2 * page):
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    memory = np.frombuffer(area, dtype=np.uint8)[page : 2 * page]
    reader = decoder(SALES | {"j": "json?", "l": "list<string>?"})
    value = GOOD[:-1] + b',"j":{"a":[1,"\\u00e9\xc3\xa9"]},"l":["x","0123456789abc"]}'
    for size in range(1, len(value) + 1):
        for text in (value[:size], value[-size:]):
            part = memory[page - size :] if high else memory[:size]
            part[:] = np.frombuffer(text, dtype=np.uint8)
            decoded = reader.decode(replace(block(text), buffer=part), NOW_MS)
            assert len(decoded.rows) == (size == len(value))
    for guard in (address, address + 2 * page):
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 3) == 0
