"""Columns of every type that is copied in binary, and what PostgreSQL's driver says of them."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
from hypothesis import strategies as st

from connectors.postgres_type import type_named


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    near = st.sampled_from([0, 1, -1, 9_999, 10_000, -10_000, 10**precision - 1, 2**63, -(2**64)])
    whole = st.integers(-limit, limit) | near.filter(lambda value: abs(value) <= limit)
    return whole.map(lambda value: Decimal((value < 0, _digits(value), -scale)))


def _digits(value: int) -> tuple[int, ...]:
    return tuple(int(digit) for digit in str(abs(value)))


TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@dataclass(frozen=True)
class CopyColumn:
    """A type, values for it, and how the driver's value is compared with them."""

    kind: str
    values: st.SearchStrategy[Any]
    seen: Callable[[Any], Any] = lambda value: value


COLUMNS = [
    CopyColumn("boolean", st.booleans()),
    CopyColumn("smallint", st.integers(-(2**15), 2**15 - 1)),
    CopyColumn("integer", st.integers(-(2**31), 2**31 - 1)),
    CopyColumn("bigint", st.integers(-(2**63), 2**63 - 1)),
    CopyColumn("real", st.floats(width=32)),
    CopyColumn("double precision", st.floats()),
    CopyColumn("text", TEXTS),
    CopyColumn("character varying(60)", TEXTS),
    CopyColumn("bytea", st.binary(max_size=40)),
    CopyColumn("json", _JSON.map(json.dumps), json.loads),
    CopyColumn("jsonb", _JSON.map(json.dumps), json.loads),
    CopyColumn("uuid", st.uuids().map(str), lambda value: UUID(str(value))),
    CopyColumn("date", st.dates()),
    CopyColumn("timestamp without time zone", st.datetimes()),
    CopyColumn("timestamp with time zone", st.datetimes(timezones=st.just(UTC))),
    CopyColumn("numeric(12,2)", _decimals(12, 2)),
    CopyColumn("numeric(38,0)", _decimals(38, 0)),
    CopyColumn("numeric(38,38)", _decimals(38, 38)),
    CopyColumn("numeric(37,5)", _decimals(37, 5)),
    CopyColumn("numeric(19,7)", _decimals(19, 7)),
    CopyColumn("numeric", _decimals(38, 18)),
]


def rows_of(column: CopyColumn) -> st.SearchStrategy[Any]:
    """Values, nulls, and lists of both."""
    return st.none() | column.values


def table_of(columns: dict[str, list[Any]], kinds: list[str]) -> pa.Table:
    """Build the table in the types in which it is read."""
    return pa.table(
        {
            name: pa.array(values, type_named(kind).arrow)
            for (name, values), kind in zip(columns.items(), kinds, strict=True)
        }
    )


def plain(value: object) -> object:
    """Make NaN equal to itself and -0.0 differ from 0.0."""
    if isinstance(value, float):
        return ("float", str(value) if math.isnan(value) else value.hex())
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value
