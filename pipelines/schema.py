"""JSON Schema (draft 2020-12) of pipeline files, from the shapes that the loader reads by."""

import json
from pathlib import Path
from typing import Any

from pipelines.duration import DURATION_PATTERN, SIGNED_DURATION_PATTERN
from pipelines.load import KINDS
from pipelines.shape import (
    COLUMN_PATTERN,
    Choice,
    Duration,
    Either,
    Expression,
    FieldTypeText,
    Listing,
    Options,
    Shape,
    Table,
    Text,
    TextOr,
    Whole,
    WordOr,
)

SCHEMA_DIR = Path(__file__).parent / "schema"

_ELEMENT = (
    r"(string|int32|int64|float64|bool|timestamp_ms|timestamp|date|uuid|json"
    r"|decimal\(\s*[0-9]{1,2}\s*,\s*[0-9]{1,2}\s*\))\??"
)
FIELD_TYPE_PATTERN = rf"^({_ELEMENT}|list<.+>\??)$"

Schema = dict[str, Any]


def schema_of(kind: str) -> Schema:
    """Generate the JSON Schema of one kind of pipeline file."""
    body = _schema(KINDS[kind].shape)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Sluice pipeline of kind {kind}",
        **body,
    }


def schema_text(kind: str) -> str:
    """Write the schema as it is published in `pipelines/schema/<kind>.schema.json`."""
    return json.dumps(schema_of(kind), indent=2) + "\n"


def schema_path(kind: str) -> Path:
    """Give the place of the published schema of a kind."""
    return SCHEMA_DIR / f"{kind}.schema.json"


def _schema(shape: Shape) -> Schema:
    body = _body(shape)
    return {**body, "description": shape.doc} if shape.doc else body


def _body(shape: Shape) -> Schema:
    if isinstance(shape, Options):
        return _options(shape)
    if isinstance(shape, Table):
        return {
            "type": "object",
            "propertyNames": {"pattern": COLUMN_PATTERN},
            "additionalProperties": _schema(shape.value),
            "minProperties": shape.minimum,
        }
    if isinstance(shape, Listing):
        return {"type": "array", "items": _schema(shape.item), "minItems": shape.minimum}
    if isinstance(shape, Either):
        return {"anyOf": [_schema(shape.plain), _schema(shape.mapping)]}
    if isinstance(shape, WordOr):
        return {"anyOf": [{"const": shape.word}, _schema(shape.options)]}
    if isinstance(shape, TextOr):
        return {"anyOf": [_schema(shape.text), _schema(shape.options)]}
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
    if isinstance(shape, Expression):
        return {"type": ["string", "number", "boolean"]}
    if isinstance(shape, Text) and shape.pattern:
        return {"type": "string", "pattern": shape.pattern}
    return {"type": "string"}


def _options(shape: Options) -> Schema:
    body: Schema = {
        "type": "object",
        "properties": {name: _schema(option) for name, option in shape.options.items()},
        "additionalProperties": False,
    }
    if shape.required:
        body["required"] = list(shape.required)
    if shape.one_of:
        body["oneOf"] = [{"required": [name]} for name in shape.one_of]
    return body
