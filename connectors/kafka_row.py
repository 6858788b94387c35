"""Rows of windows as Kafka records and back: canonical JSON keys, JSON values, numbers exact."""

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa

from activities.ports import SinkColumn, SinkTable
from common.errors import ContractViolationError
from contracts.field_type import FieldType

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str)
_SPECIAL = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_INSTANTS = frozenset({"timestamp", "timestamp_ms"})

Pair = tuple[bytes, bytes | None]


def encode_rows(table: SinkTable, rows: pa.Table) -> list[Pair]:
    """Write rows as (key, value); a deleted row has no value, which is Kafka's tombstone.

    The key is a JSON object of the identity and `_key`, the value one of the visible columns in
    their order: decimals as numbers with all their places, times as ISO 8601 with milliseconds in
    UTC, `json` as the value itself, floats without a number as "NaN", "Infinity", "-Infinity".

    Raises:
        ContractViolationError: A value cannot be written.
    """
    kinds = {column.name: column.type for column in table.columns}
    texts = {name: _texts(table, name, rows[name], kind) for name, kind in kinds.items()}
    labels = {name: _ENCODER.encode(name) for name in [*kinds, "_key"]}
    keys = [_ENCODER.encode(text) for text in rows["_key"].to_pylist()]
    deleted = rows["_deleted"].to_pylist()
    pairs: list[Pair] = []
    for place, key in enumerate(keys):
        named = [f"{labels[name]}:{texts[name][place]}" for name in table.identity]
        identity = "{" + ",".join([*named, f"{labels['_key']}:{key}"]) + "}"
        value = None
        if not deleted[place]:
            parts = ",".join(f"{labels[name]}:{texts[name][place]}" for name in kinds)
            value = ("{" + parts + "}").encode()
        pairs.append((identity.encode(), value))
    return pairs


def decode_row(columns: tuple[SinkColumn, ...], key: bytes, value: bytes | None) -> dict[str, Any]:
    """Read a record of `encode_rows` as Python values; of a deleted row only its identity."""
    found = _DECODER.decode(key.decode())
    row: dict[str, Any] = {column.name: None for column in columns}
    for column in columns:
        if column.name in found:
            row[column.name] = _value(found[column.name], column.type)
    row["_key"] = found["_key"]
    row["_deleted"] = value is None
    if value is None:
        return row
    text, place = value.decode(), 0
    for column in columns:
        # `{` or `,`, the name and `:` stand before each value, exactly as they were written.
        start = place + 1 + len(_ENCODER.encode(column.name)) + 1
        content, place = _DECODER.raw_decode(text, start)
        is_json = column.type.base == "json" and not (content is None and column.type.nullable)
        row[column.name] = text[start:place] if is_json else _value(content, column.type)
    return row


def _texts(table: SinkTable, name: str, values: pa.ChunkedArray, kind: FieldType) -> list[str]:
    try:
        return [_text(value, kind) for value in values.to_pylist()]
    except (ValueError, OverflowError, RecursionError) as error:
        raise ContractViolationError(
            f"rows for `{table.name}`, column `{name}`: expected values of type {kind}, got one "
            f"that is none: {error}; correct the type in the pipeline file"
        ) from error


def _text(value: Any, kind: FieldType) -> str:  # noqa: ANN401 - what a column of any type holds
    if value is None:
        return "null"
    if kind.base == "json":
        return _raw(value)
    if kind.base == "list" and kind.element is not None:
        return f"[{','.join(_text(item, kind.element) for item in value)}]"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float) and not math.isfinite(value):
        return '"NaN"' if math.isnan(value) else f'"{"-" if value < 0 else ""}Infinity"'
    if isinstance(value, dt.datetime):
        return f'"{value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")}.{_millis(value)}Z"'
    if isinstance(value, dt.date):
        return f'"{value.isoformat()}"'
    return _ENCODER.encode(value)


def _millis(value: dt.datetime) -> str:
    return f"{value.microsecond // 1000:03d}"


def _raw(text: str) -> str:
    """Take JSON text as it is; what is none would break the whole value."""
    stripped = text.strip(" \t\r\n")
    _, end = _DECODER.raw_decode(stripped)
    if end != len(stripped):
        raise ValueError("JSON text goes on after its value")
    return stripped


def _value(content: Any, kind: FieldType) -> Any:  # noqa: ANN401 - one value of any type
    if content is None:
        return None
    if kind.base == "list" and kind.element is not None:
        return [_value(item, kind.element) for item in content]
    if kind.base in ("int32", "int64"):
        return int(content)
    if kind.base == "decimal":
        return Decimal(content)
    if kind.base == "float64":
        return _SPECIAL[content] if content in _SPECIAL else float(content)
    if kind.base in _INSTANTS:
        return dt.datetime.fromisoformat(content)
    if kind.base == "date":
        return dt.date.fromisoformat(content)
    return content
