"""Columns in which the rows of an expanded record can differ."""

from typing import Any

from pipelines.stream import ELEMENT


def made_columns(values: dict[str, Any]) -> set[str] | None:
    """Name what `expand` and the steps after it make; None where a record stays one row.

    Args:
        values: A file's content; what is wrong in it is passed over.
    """
    made: set[str] | None = None
    steps = values.get("transform")
    for step in steps if isinstance(steps, list) else []:
        parts = step if isinstance(step, dict) else {}
        enrich = parts.get("enrich")
        tables = [parts.get("derive"), enrich.get("take") if isinstance(enrich, dict) else None]
        if isinstance(parts.get("expand"), dict):
            made = {ELEMENT, *(made or ()), *parts["expand"]}
        elif made is not None:
            made |= {name for names in tables if isinstance(names, dict | list) for name in names}
    return made
