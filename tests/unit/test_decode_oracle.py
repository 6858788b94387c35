"""Decoding against a slow reading of the same bytes with the standard library."""
# ruff: noqa: E501 (tables of cases)

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.decode import Decoded, RecordDecoder
from streaming.record_block import RecordBlock
from tests.unit.decode_oracle import (
    AHEAD_MS,
    FIELDS,
    FIRST_DAY,
    LAST_DAY,
    NOW_MS,
    Dead,
    parse,
    read_slowly,
)


def block_of(values: list[bytes | None]) -> RecordBlock:
    """Lay values out with rubbish between them."""
    buffer = bytearray()
    start, size = [], []
    for value in values:
        buffer += b'"}'
        start.append(len(buffer))
        size.append(-1 if value is None else len(value))
        buffer += value or b""
    n = len(values)
    return RecordBlock(
        "t", 0, np.frombuffer(bytes(buffer), np.uint8), np.arange(n) * 2 + 7, np.arange(n) + 1000,
        np.array(start, np.int64), np.array(size, np.int32), np.zeros(n, np.int64), np.full(n, -1, np.int32),
    )  # fmt: skip


def comparable(name: str, value: object) -> object:
    if value is not None and FIELDS[name].base == "json":
        return parse(str(value))
    if isinstance(value, float):
        return value.hex()
    return value


def assert_same(values: list[bytes | None], decoded: Decoded) -> None:
    expected_rows, expected_dead = [], []
    for row, value in enumerate(values):
        try:
            good = read_slowly(value)
        except Dead as dead:
            expected_dead.append((row, row * 2 + 7, str(dead)))
        else:
            good = {k: v.hex() if isinstance(v, float) else v for k, v in good.items()}
            expected_rows.append(good | {"_offset": row * 2 + 7, "_timestamp_ms": row + 1000})
    rows = decoded.rows.with_columns(
        pl.col(pl.Datetime("ms", "UTC")).cast(pl.Int64), pl.col(pl.Date).cast(pl.Int32)
    )
    found = [
        {k: v if k.startswith("_") else comparable(k, v) for k, v in row.items()}
        for row in rows.to_dicts()
    ]
    assert [(d.row, d.offset, d.error_field) for d in decoded.dead] == expected_dead
    assert found == expected_rows
    assert all(dead.error for dead in decoded.dead)


DECODER = RecordDecoder(FIELDS, set(FIELDS), "when", AHEAD_MS)
CHECKER = RecordDecoder(FIELDS, {"must"}, "when", AHEAD_MS)

NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65).map(str),
    st.integers(-1000, 1000).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-(10**10), 10**10, places=2).map(str),
    st.sampled_from(["-0", "-0.0", "01", "1.", ".5", "+1", "1e", "NaN", "-Infinity", "0x1", "9" * 300, "1e309", "1e-400", "1e4000", "1E+4001", "-1e-04000", "1e-04001", "0." + "7" * 3998, "7" * 4001]),
)  # fmt: skip
STRINGS = st.one_of(
    st.text().map(json.dumps),
    st.text().map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.text(alphabet='"\\/bfnrtu0dD8cC', max_size=20).map(lambda text: f'"{text}"'),
    st.from_regex(r'"(\\u0000|\\\\|u0000|a){0,5}"', fullmatch=True),
    st.from_regex(r'"(\\u[dD][89a-fA-F][0-9a-f]{2}|\\u[0-9a-f]{4}|a){0,5}"', fullmatch=True),
)
TIMES = st.one_of(
    st.datetimes().map(lambda moment: f'"{moment.isoformat()}Z"'),
    st.from_regex(
        r'"(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9](:[0-6][0-9](\.[0-9]{1,10})?)?(Z|[+-][0-2][0-9]:?([0-5][0-9])?)?)?"',
        fullmatch=True,
    ),
    st.dates().map(lambda day: f'"{day}"'),
    st.sampled_from(
        [
            '"1901-01-01T00:00+00:01"',
            '"1900-12-31T23:59:59.999-00:01"',
            '"2298-12-31T23:59:59.999Z"',
            '"2298-12-31T23:59:59.999-00:01"',
            '"0001-01-01T00:00+00:01"',
            '"2024\\u002d02-29"',
            '"1900-12-31"',
            '"1901-01-01"',
            '"2298-12-31"',
            '"2299-01-01"',
        ]
    ),
)
TOKENS = st.one_of(
    NUMBERS, STRINGS, TIMES, st.uuids().map(lambda u: f'"{u}"'), st.uuids().map(lambda u: f'"{u}"'.upper()),
    st.sampled_from(["true", "false", "null", "tru", "[]", "{}", "nul", "", '"\x01"', "[1,]", '{"a":1,}', "[1 2]", '{"a" 1}']),
    st.recursive(NUMBERS | STRINGS, lambda inner: st.lists(inner, max_size=4).map(lambda xs: f"[{', '.join(xs)}]"), max_leaves=8),
    st.integers(120, 135).map(lambda depth: "[" * depth + "]" * depth),
)  # fmt: skip
SPACE = st.sampled_from(["", "", "", " ", "\n\t", "\r "])
FITTING = {
    "text": STRINGS, "when": st.integers(NOW_MS - 10**12, NOW_MS + 2 * AHEAD_MS).map(str), "small": st.integers(-(2**31), 2**31 - 1).map(str),
    "big": st.integers(-(2**63), 2**63 - 1).map(str), "ratio": NUMBERS, "on": st.sampled_from(["true", "false"]),
    "price": st.decimals(-(10**10) + 1, 10**10 - 1, places=2).map(str), "wide": st.decimals(-(10**28) + 1, 10**28 - 1, places=10).map(lambda d: f"{d:f}"),
    "at": TIMES, "day": st.dates(FIRST_DAY, LAST_DAY).map(lambda day: f'"{day}"'), "id": st.uuids().map(lambda u: f'"{u}"'), "any": TOKENS,
    "tags": st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=5).map(json.dumps), "naïve key": STRINGS, "must": st.integers(0, 9).map(str),
}  # fmt: skip
MUTATIONS = st.lists(
    st.tuples(st.sampled_from("fidt"), st.integers(0, 10_000), st.integers(0, 255)), max_size=3
)


@st.composite
def record_values(draw: st.DrawFn) -> bytes | None:
    names = [
        *draw(st.permutations(["when", "must"])),
        *draw(st.lists(st.sampled_from([*FIELDS, "other", ""]), max_size=6)),
    ]
    parts = []
    for name in names:
        strange = name not in FITTING or draw(st.integers(0, 11)) == 0
        token = draw(TOKENS if strange else FITTING[name])
        key = json.dumps(name, ensure_ascii=draw(st.booleans()))
        parts.append(draw(SPACE).join(["", key, ":", token, ""]))
    text = draw(SPACE) + "{" + ",".join(parts) + "}" + draw(SPACE)
    value = bytearray(text.encode(errors="surrogatepass"))
    if draw(st.integers(0, 3)) == 0:
        for kind, place, byte in draw(MUTATIONS):
            at = place % (len(value) + 1)
            if kind == "i":
                value[at:at] = bytes([byte])
            elif kind == "d":
                del value[at : at + 1]
            elif kind == "t":
                del value[at:]
            elif at < len(value):
                value[at] = byte
    return bytes(value)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        record_values()
        | st.sampled_from([None, b"", b" ", b"[1]", b'"x"', b"{}", b"\xef\xbb\xbf{}"]),
        max_size=8,
    )
)
def test_decode_equals_slow_reading(values: list[bytes | None]) -> None:
    assert_same(values, DECODER.decode(block_of(values), NOW_MS))


@settings(max_examples=50, deadline=None)
@given(st.lists(record_values(), max_size=8))
def test_decode_gives_same_verdicts_when_little_is_wanted(values: list[bytes | None]) -> None:
    every, little = (d.decode(block_of(values), NOW_MS) for d in (DECODER, CHECKER))
    assert little.dead == every.dead
    assert little.rows.equals(every.rows.select("must", "_offset", "_timestamp_ms"))


@settings(max_examples=300, deadline=None)
@given(st.lists(NUMBERS, max_size=30))
def test_decode_rounds_floats_as_python_does(texts: list[str]) -> None:
    values: list[bytes | None] = [
        f'{{"when":0,"must":0,"ratio":{text}}}'.encode() for text in texts
    ]
    assert_same(values, DECODER.decode(block_of(values), NOW_MS))


@pytest.mark.parametrize(
    "text",
    [
        "9007199254740993", "9007199254740992.99999999999999999", "2.2250738585072011e-308", "4.9e-324", "2.4703282292062327e-324",
        "2.4703282292062328e-324", "1.7976931348623158e308", "1.7976931348623159e308", "179769313486231580793728971405301" + "0" * 276,
        "0." + "0" * 400 + "1e401", "1" + "0" * 400 + "e-400", "8.5e22", "9.5e-23", "6929495644600919.5", "1e23", "123456789012345678901234567890e-10",
        "9007199254740993." + "0" * 50 + "1", "5e-324", "0e999999999999999999999", "1e-99999999999999999999", "2.2250738585072014e-308",
    ],
)  # fmt: skip
def test_decode_rounds_hard_floats_as_python_does(text: str) -> None:
    values: list[bytes | None] = [
        f'{{"when":0,"must":0,"ratio":{sign}{text}}}'.encode() for sign in ("", "-")
    ]
    assert_same(values, DECODER.decode(block_of(values), NOW_MS))
