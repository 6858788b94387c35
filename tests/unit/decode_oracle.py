"""A slow reading of JSON records with the standard library."""
# ruff: noqa: E501 (tables of cases)

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type

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
