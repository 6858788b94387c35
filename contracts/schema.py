"""JSON Schema (draft 2020-12) of contracts' files, from the shape that they are read by."""

import json
from pathlib import Path

from contracts.odcs_shape import CONTRACT, FIELD, ITEM
from contracts.shape_schema import Schema, shape_schema

SCHEMA_PATH = Path(__file__).parent / "schema" / "contract.schema.json"


def contract_schema() -> Schema:
    """Generate the JSON Schema of a contract's file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Data contract in the Open Data Contract Standard, as Sluice reads it",
        **shape_schema(CONTRACT),
        "$defs": {"field": shape_schema(FIELD), "item": shape_schema(ITEM)},
    }


def contract_schema_text() -> str:
    """Write the schema as it is published in `contracts/schema/contract.schema.json`."""
    return json.dumps(contract_schema(), indent=2) + "\n"
