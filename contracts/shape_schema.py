"""JSON Schema (draft 2020-12) of a file, from the shapes that it is read by."""

from typing import Any

from common.duration import DURATION_PATTERN, SIGNED_DURATION_PATTERN
from contracts.shape import (
    COLUMN_PATTERN,
    Again,
    Anything,
    Choice,
    Duration,
    Either,
    Expression,
    FieldTypeText,
    Flag,
    Listing,
    Options,
    Scalar,
    Shape,
    Table,
    Text,
    TextOr,
    Whole,
    WordOr,
)

_ELEMENT = (
    r"(string|int32|int64|float64|bool|timestamp_ms|timestamp(\(\s*[0-9]\s*\))?|date|uuid|json"
    r"|decimal\(\s*[0-9]{1,2}\s*,\s*[0-9]{1,2}\s*\))\??"
)
FIELD_TYPE_PATTERN = rf"^({_ELEMENT}|list<.+>\??)$"

Schema = dict[str, Any]


def shape_schema(shape: Shape) -> Schema:
    """Generate the JSON Schema of one shape; `Again` refers to `$defs` of the whole."""
    if isinstance(shape, Again):
        return {"$ref": f"#/$defs/{shape.name}"}
    body = _body(shape)
    return {**body, "description": shape.doc} if shape.doc else body


def _body(shape: Shape) -> Schema:
    if isinstance(shape, Options):
        return _options(shape)
    if isinstance(shape, Table):
        return {
            "type": "object",
            "propertyNames": {"pattern": COLUMN_PATTERN},
            "additionalProperties": shape_schema(shape.value),
            "minProperties": shape.minimum,
        }
    if isinstance(shape, Listing):
        return {"type": "array", "items": shape_schema(shape.item), "minItems": shape.minimum}
    if isinstance(shape, Either):
        return {"anyOf": [shape_schema(shape.plain), shape_schema(shape.mapping)]}
    if isinstance(shape, WordOr):
        return {"anyOf": [{"const": shape.word}, shape_schema(shape.options)]}
    if isinstance(shape, TextOr):
        return {"anyOf": [shape_schema(shape.text), shape_schema(shape.options)]}
    if isinstance(shape, Anything):
        return {}
    return _scalar(shape)


def _scalar(shape: Shape) -> Schema:
    if isinstance(shape, Duration):
        return {
            "type": "string",
            "pattern": SIGNED_DURATION_PATTERN if shape.signed else DURATION_PATTERN,
            "examples": ["250ms", "2s", "1m", "1h", "7d"],
        }
    if isinstance(shape, Whole):
        return {"type": "integer", "minimum": shape.minimum, "maximum": shape.maximum}
    if isinstance(shape, Choice):
        return {"enum": list(shape.words)}
    if isinstance(shape, FieldTypeText):
        return {
            "type": "string",
            "pattern": FIELD_TYPE_PATTERN,
            "examples": ["string", "int64?", "decimal(12,2)"],
        }
    if isinstance(shape, Flag):
        return {"type": "boolean"}
    if isinstance(shape, Expression | Scalar):
        null = ["null"] if isinstance(shape, Scalar) and shape.nullable else []
        return {"type": ["string", "number", "boolean", *null]}
    if isinstance(shape, Text) and shape.pattern:
        return {"type": "string", "pattern": shape.pattern}
    return {"type": "string"}


def _options(shape: Options) -> Schema:
    body: Schema = {
        "type": "object",
        "properties": {name: shape_schema(option) for name, option in shape.options.items()},
        "additionalProperties": False,
    }
    if shape.required:
        body["required"] = list(shape.required)
    if shape.one_of:
        body["oneOf"] = [{"required": [name]} for name in shape.one_of]
    return body
