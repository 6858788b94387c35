"""Field types as users write them: `decimal(12,2)`, `string?`, `list<int64>`."""

import re
from typing import cast, get_args

from common.errors import UsageError
from common.near_miss import near_miss
from contracts.field_type import BaseType, FieldType

MAX_DECIMAL_DIGITS = 38
MICROSECONDS = "timestamp(6)"
TYPE_WORDS = (
    "string int32 int64 float64 bool decimal(p,s) timestamp_ms timestamp timestamp(6) date uuid "
    "json list<T>"
)

_DECIMAL = re.compile(r"decimal\(\s*([0-9]+)\s*,\s*([0-9]+)\s*\)")
_LIST = re.compile(r"list<(.+)>")
_PLAIN = tuple(name for name in get_args(BaseType) if name not in {"decimal", "list"})
_ALIASES = {
    "int": "int64",
    "integer": "int64",
    "bigint": "int64",
    "long": "int64",
    "smallint": "int32",
    "text": "string",
    "str": "string",
    "varchar": "string",
    "float": "float64",
    "double": "float64",
    "boolean": "bool",
    "datetime": "timestamp",
    "timestamptz": "timestamp",
    "numeric": "decimal(12,2)",
    "decimal": "decimal(12,2)",
    "array": "list<string>",
    "list": "list<string>",
}


def parse_field_type(text: str) -> FieldType:
    """Read a field type; `str()` of the result gives the canonical text back.

    Raises:
        UsageError: The text is no field type; the message names a near miss.
    """
    body = text.strip()
    nullable = body.endswith("?")
    body = body[:-1].rstrip() if nullable else body
    if body in _PLAIN:
        return FieldType(cast("BaseType", body), nullable=nullable)
    if body == MICROSECONDS:
        return FieldType("timestamp", precision=6, nullable=nullable)
    if found := _DECIMAL.fullmatch(body):
        return _decimal(text, int(found[1]), int(found[2]), nullable=nullable)
    if found := _LIST.fullmatch(body):
        return FieldType("list", nullable=nullable, element=parse_field_type(found[1]))
    alias = _ALIASES.get(body.lower())
    hint = (
        f"; did you mean `{alias}{'?' if nullable else ''}`?" if alias else near_miss(body, _PLAIN)
    )
    raise UsageError(
        f"field type `{text}`: expected one of {TYPE_WORDS}, "
        f"with `?` behind it where null is allowed{hint}"
    )


def _decimal(text: str, precision: int, scale: int, *, nullable: bool) -> FieldType:
    if not 1 <= precision <= MAX_DECIMAL_DIGITS or scale > precision:
        raise UsageError(
            f"field type `{text}`: expected decimal(p,s) with p of 1 to "
            f"{MAX_DECIMAL_DIGITS} and s of 0 to p"
        )
    return FieldType("decimal", precision=precision, scale=scale, nullable=nullable)
