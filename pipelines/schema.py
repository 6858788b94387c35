"""JSON Schema (draft 2020-12) of pipeline files, from the shapes that the loader reads by."""

import json
from pathlib import Path

from contracts.shape_schema import Schema, shape_schema
from pipelines.load import KINDS

SCHEMA_DIR = Path(__file__).parent / "schema"


def schema_of(kind: str) -> Schema:
    """Generate the JSON Schema of one kind of pipeline file."""
    body = shape_schema(KINDS[kind].shape)
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
