"""Types of the Open Data Contract Standard as field types: the physical type goes first.

`physicalType` may be one of Sluice's own field types, or a type of a database or format that is in
the table here. Only where it is neither, or missing, `logicalType` with its `format` decides.
"""

import re
from dataclasses import replace
from typing import Any

from common.errors import UsageError
from contracts.field_type import FieldType
from contracts.field_type_parse import MICROSECONDS, TYPE_WORDS, parse_field_type

Values = dict[str, Any]

_WORDS = {
    "string": "string text varchar char character nvarchar nchar bpchar varchar2 nvarchar2 clob "
    "citext fixedstring longtext mediumtext tinytext utf8",
    "int32": "int32 int16 smallint tinyint mediumint int2 int4 serial smallserial uint8 uint16 "
    "short byteint",
    "int64": "int64 int integer bigint int8 long bigserial serial8 uint32",
    "float64": "float64 float32 float double real float4 float8",
    "bool": "bool boolean",
    "timestamp": "timestamp timestamptz datetime datetime2 datetime64 datetimeoffset "
    "timestamp_ltz timestamp_ntz timestamp_tz",
    "timestamp_ms": "timestamp_ms",
    "date": "date date32",
    "uuid": "uuid uniqueidentifier",
    "json": "json jsonb variant struct record object map hstore",
    "decimal(20,0)": "uint64 ubigint",
}
_PLAIN = {word: kind for kind, words in _WORDS.items() for word in words.split()}
_PHRASES = {
    "character varying": "varchar",
    "double precision": "double",
    "timestamp with time zone": "timestamp",
    "timestamp without time zone": "timestamp",
}
_DECIMALS = frozenset({"decimal", "numeric", "number", "dec", "bignumeric"})
_ARRAY = re.compile(r"(?:array|list)\s*[<(](.+)[>)]|(.+)\[\]", re.IGNORECASE)
_WRAPPED = re.compile(r"(?:nullable|lowcardinality)\((.+)\)", re.IGNORECASE)
_WORD = re.compile(r"([a-z_][a-z0-9_ ]*?)\s*(?:\(([^()]*)\)(?: with(?:out)? time zone)?)?")

_DIGIT = re.compile(r"[0-9]")
_MS = 3
"""Places of a second that an instant of milliseconds holds."""

_LOGICAL = {
    "string": "string",
    "integer": "int64",
    "number": "float64",
    "boolean": "bool",
    "date": "date",
    "timestamp": "timestamp",
    "object": "json",
}
_FORMATS = {
    **dict.fromkeys(("i8", "i16", "i32", "u8", "u16"), "int32"),
    **dict.fromkeys(("i64", "u32"), "int64"),
    "u64": "decimal(20,0)",
    "i128": "decimal(38,0)",
    "u128": "decimal(38,0)",
    "f32": "float64",
    "f64": "float64",
}


def type_of(values: Values) -> FieldType:
    """Give the type of a property; null is allowed unless it is required or part of the key.

    Raises:
        UsageError: It has no type that Sluice can hold exactly; the text says what to write.
    """
    kind = _type(values)
    needed = bool(values.get("required") or values.get("primaryKey"))
    if kind.nullable and needed:
        raise UsageError("expected a type without `?` where the field is required")
    return replace(kind, nullable=not needed)


def _type(values: Values) -> FieldType:
    physical, logical = values.get("physicalType"), values.get("logicalType")
    if isinstance(physical, str) and (found := physical_type(physical)):
        return found
    if logical is None:
        what = f"`{physical}`" if physical else "none"
        raise UsageError(
            f"expected a `physicalType` such as {TYPE_WORDS}, or a `logicalType`, got {what}"
        )
    return _logical_type(logical, values)


def physical_type(text: str) -> FieldType | None:
    """Read the type of a database, or one of Sluice's own; None where it is neither.

    Raises:
        UsageError: It is a decimal without digits, or with more than Sluice holds.
    """
    try:
        return parse_field_type(text)
    except UsageError:
        body = text.strip()
    if wrapped := _WRAPPED.fullmatch(body):
        return physical_type(wrapped[1])
    if listed := _ARRAY.fullmatch(body):
        element = physical_type(listed[1] or listed[2])
        return element and FieldType("list", element=element)
    found = _WORD.fullmatch(body.lower())
    if found is None:
        return None
    word = _PHRASES.get(found[1], found[1])
    if _PLAIN.get(word) == "timestamp" and int((_DIGIT.match(found[2] or "") or "0")[0]) > _MS:
        return parse_field_type(MICROSECONDS)
    if word in _DECIMALS:
        return _decimal(text, found[2])
    return parse_field_type(_PLAIN[word]) if word in _PLAIN else None


def _decimal(text: str, digits: str | None) -> FieldType:
    parts = [part.strip() for part in (digits or "").split(",")]
    if not all(part.isdecimal() for part in parts) or len(parts) > len(("p", "s")):
        raise UsageError(
            f"expected digits in all and after the point, as in decimal(12,2), got `{text}`"
        )
    return parse_field_type(f"decimal({parts[0]},{parts[1] if len(parts) > 1 else 0})")


def _logical_type(logical: str, values: Values) -> FieldType:
    if logical == "time":
        raise UsageError(
            "expected a type that Sluice holds, got a time of the day; take `physicalType: string`"
        )
    if logical == "array":
        items = values.get("items")
        if not isinstance(items, dict):
            raise UsageError(
                "expected the type of the elements in `items`, or a `physicalType` such as "
                "list<string>, got none"
            )
        element = _type(items)
        return FieldType("list", element=replace(element, nullable=not items.get("required")))
    options = values.get("logicalTypeOptions")
    form = options.get("format") if isinstance(options, dict) else None
    if logical == "string":
        return FieldType("uuid" if form == "uuid" else "string")
    if logical in {"integer", "number"} and isinstance(form, str):
        if form not in _FORMATS or (form[0] == "f") != (logical == "number"):
            known = [name for name in _FORMATS if (name[0] == "f") == (logical == "number")]
            raise UsageError(
                f"expected `format` to be one of {', '.join(known)} for `{logical}`, got `{form}`"
            )
        return parse_field_type(_FORMATS[form])
    return parse_field_type(_LOGICAL[logical])
