"""Decoding against a slow reading of the same bytes with the standard library."""
# ruff: noqa: E501 (tables of cases)

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from streaming.decode import Decoded, RecordDecoder
from streaming.record_block import RecordBlock

NOW_MS = 1_760_000_000_000
AHEAD_MS = 3_600_000
MIN_MS, MAX_MS = -2_177_452_800_000, 10_382_255_999_999
FIRST_DAY, LAST_DAY = date(1901, 1, 1), date(2298, 12, 31)
FIELDS = {
    name: parse_field_type(text)
    for name, text in {
        "text": "string?", "when": "timestamp_ms", "small": "int32?", "big": "int64?", "ratio": "float64?",
        "on": "bool?", "price": "decimal(12,2)?", "wide": "decimal(38,10)?", "at": "timestamp?", "day": "date?",
        "id": "uuid?", "any": "json?", "tags": "list<int64?>?", "naïve key": "string?", "must": "int64",
    }.items()
}  # fmt: skip


class Number(str):
    """The text of a JSON number."""

    __slots__ = ()


class Dead(Exception):  # noqa: N818 (a verdict, no error)
    """The record is a dead letter because of this field."""


@dataclass
class Pairs:
    """An object with all its keys, also those that come twice."""

    items: list[tuple[str, Any]]


def _refuse(_text: str) -> None:
    raise ValueError


def _check_tree(tree: object, depth: int) -> None:
    if isinstance(tree, str):
        tree.encode()
    elif isinstance(tree, (list, Pairs)):
        if depth == 128:
            raise ValueError
        for item in tree if isinstance(tree, list) else [x for pair in tree.items for x in pair]:
            _check_tree(item, depth + 1)


def parse(text: str) -> Any:  # noqa: ANN401 (any JSON)
    tree = json.loads(
        text, parse_int=Number, parse_float=Number, parse_constant=_refuse, object_pairs_hook=Pairs
    )
    _check_tree(tree, 0)
    return tree


def _number(value: object) -> str:
    if not isinstance(value, Number):
        raise TypeError
    return str(value)


def _integer(value: object, low: int, high: int) -> int:
    text = _number(value)
    if not re.fullmatch(r"-?[0-9]+", text) or len(text) > 30:
        raise ValueError
    if not low <= int(text) <= high:
        raise ValueError
    return int(text)


def _decimal(value: object, precision: int, scale: int) -> Decimal:
    text = _number(value)
    if len(text.lower().partition("e")[2]) > 15:  # beyond what Decimal holds
        text = text.lower().partition("e")[0]
        if Decimal(text):
            raise ValueError
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    if not any(digits):
        return Decimal(0)
    kept = "".join(map(str, digits)).strip("0")
    exponent += len(digits) - len("".join(map(str, digits)).rstrip("0"))
    if -exponent > scale or len(kept) + exponent + scale > precision:
        raise ValueError
    return Decimal((sign, tuple(map(int, kept)), exponent))


def _float(value: object) -> float:
    number = float(_number(value))
    if math.isinf(number):
        raise ValueError
    return number


def _plain_text(value: object) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise TypeError
    if "\0" in value:
        raise ValueError
    return value


def _storable(tree: object) -> object:
    """Refuse what PostgreSQL's jsonb does not hold."""
    if isinstance(tree, Number):
        power = tree.lower().partition("e")[2]
        if len(tree) > 4_000 or abs(int(power or 0)) > 4_000:
            raise ValueError
    elif isinstance(tree, str):
        _plain_text(tree)
    elif isinstance(tree, Pairs):
        for key, item in tree.items:
            _plain_text(key)
            _storable(item)
    elif isinstance(tree, list):
        for item in tree:
            _storable(item)
    return tree


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _day(value: object) -> int:
    text = _plain_text(value)
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError
    return date.fromisoformat(text).toordinal() - 719_163


def _near_day(value: object) -> int:
    days = _day(value)
    if not FIRST_DAY <= date.fromisoformat(str(value)) <= LAST_DAY:
        raise ValueError
    return days


def _instant(value: object) -> int:
    found = re.fullmatch(
        r"(.{10})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(?:[Zz]|([+-])([0-9]{2})(?::?([0-9]{2}))?)",
        _plain_text(value),
    )
    if not found:
        raise ValueError
    hour, minute, second = int(found[2]), int(found[3]), int(found[4] or 0)
    zone_hour, zone_minute = int(found[7] or 0), int(found[8] or 0)
    if hour > 23 or minute > 59 or second > 59 or zone_hour > 23 or zone_minute > 59:
        raise ValueError
    zone = (zone_hour * 60 + zone_minute) * (-1 if found[6] == "-" else 1)
    minutes = _day(found[1]) * 1440 + hour * 60 + minute - zone
    result = (minutes * 60 + second) * 1000 + int((found[5] or "").ljust(3, "0")[:3])
    if not MIN_MS <= result <= MAX_MS:
        raise ValueError
    return result


def _uuid(value: object) -> str:
    text = _plain_text(value)
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise ValueError
    return text.lower()


def convert(kind: FieldType, value: object) -> object:
    """Convert a parsed value that is not null; raises ValueError or TypeError."""
    if kind.base == "list":
        if not isinstance(value, list) or kind.element is None:
            raise TypeError
        if not kind.element.nullable and None in value:
            raise ValueError
        return [None if item is None else convert(kind.element, item) for item in value]
    if kind.base == "decimal":
        return _decimal(value, kind.precision or 0, kind.scale or 0)
    readers: dict[str, Callable[[Any], object]] = {
        "string": _plain_text,
        "int32": lambda v: _integer(v, -(2**31), 2**31 - 1),
        "int64": lambda v: _integer(v, -(2**63), 2**63 - 1),
        "timestamp_ms": lambda v: _integer(v, MIN_MS, MAX_MS),
        "float64": _float,
        "bool": _boolean,
        "date": _near_day,
        "timestamp": _instant,
        "uuid": _uuid,
        "json": _storable,
    }
    return readers[kind.base](value)


def read_slowly(value: bytes | None) -> dict[str, object]:
    """Read one record; raises Dead with the field, empty if it is no JSON object."""
    try:
        tree = parse((value or b"").decode())
    except (ValueError, RecursionError) as error:
        raise Dead("") from error
    if not isinstance(tree, Pairs):
        raise Dead("")
    found = dict(tree.items)
    row: dict[str, object] = {}
    lists = {}
    for name, kind in FIELDS.items():
        item = found.get(name)
        if item is None and not kind.nullable:
            raise Dead(name)
        if kind.base == "list" and isinstance(item, list):
            lists[name] = item
        row[name] = _converted(name, None if name in lists else item)
    when = row["when"]
    assert isinstance(when, int)
    if when > NOW_MS + AHEAD_MS:
        raise Dead("when")
    return row | {name: _converted(name, item) for name, item in lists.items()}


def _converted(name: str, item: object) -> object:
    try:
        return None if item is None else convert(FIELDS[name], item)
    except (ValueError, TypeError) as error:
        raise Dead(name) from error


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
