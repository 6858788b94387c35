"""Columns that a source has gained, lost or changed, and what becomes of them."""

from collections.abc import Mapping

from common.errors import SourceRefusedError
from common.payloads import Model
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.etl import SchemaMode

_WIDER: dict[str, frozenset[str]] = {
    "int32": frozenset({"int64", "float64", "decimal"}),
    "int64": frozenset({"decimal"}),
    "timestamp_ms": frozenset({"timestamp"}),
    "date": frozenset({"timestamp"}),
    "uuid": frozenset({"string"}),
}
"""Types whose values all fit another one."""


class SchemaDecision(Model):
    """Which columns a run reads, and as what.

    Attributes:
        columns: Columns with their types after the decision, in order: what steps see.
        missing: Those among them that the source lost; they are null.
        cast: Columns of `columns` that arrive as another type, with the one they arrive as.
        surplus: Columns that are read only to reject rows that have a value in them.
        changes: What changed, for people.
    """

    columns: dict[str, str]
    missing: list[str] = []
    cast: dict[str, str] = {}
    surplus: list[str] = []
    changes: list[str] = []


def decide(
    found: Mapping[str, str], before: Mapping[str, str] | None, mode: SchemaMode, source: str
) -> SchemaDecision:
    """Compare what a source has with what it had, and decide by the mode.

    Args:
        found: Columns of the source now, with their types.
        before: Columns of the last published run, or the declared ones; None at the first run.
        mode: What the pipeline's file says.
        source: Name of the source, for messages.

    Raises:
        SourceRefusedError: The mode does not allow it, or no value could be right.
    """
    if before is None:
        return SchemaDecision(columns=dict(found))
    changes = _changes(found, before)
    if changes and mode == "freeze":
        raise SourceRefusedError(
            f"source `{source}`: expected the columns of the last run (`on_schema_change: freeze`),"
            f" got {'; '.join(changes)}; take them into the file, or choose another mode"
        )
    columns: dict[str, str] = {}
    cast: dict[str, str] = {}
    missing = [name for name in before if name not in found]
    for name, kind in before.items():
        columns[name] = kind
        if name in missing:
            columns[name] = _emptied(name, kind, source)
        elif found[name] != kind:
            columns[name] = _merged(name, kind, found[name], mode, source)
            if parse_field_type(found[name]).base != parse_field_type(columns[name]).base:
                cast[name] = found[name]
    added = [name for name in found if name not in before]
    if mode == "evolve":
        # Rows from before have no value there.
        columns |= {name: found[name].rstrip("?") + "?" for name in added}
    return SchemaDecision(
        columns=columns,
        missing=missing,
        cast=cast,
        surplus=added if mode == "discard_row" else [],
        changes=changes,
    )


def _changes(found: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    return [
        *(
            f"new column `{name}` of type {kind}"
            for name, kind in found.items()
            if name not in before
        ),
        *(f"column `{name}` is gone" for name in before if name not in found),
        *(
            f"column `{name}` is {found[name]} instead of {kind}"
            for name, kind in before.items()
            if name in found and found[name].rstrip("?") != kind.rstrip("?")
        ),
    ]


def _emptied(name: str, kind: str, source: str) -> str:
    if not kind.endswith("?"):
        raise SourceRefusedError(
            f"source `{source}`: expected column `{name}`, got none, and its type {kind} allows no "
            "null; bring it back, or leave it out with a `select` step and a new target"
        )
    return kind


def _merged(name: str, kind: str, now: str, mode: SchemaMode, source: str) -> str:
    """Give the type that holds the values of before and now, as far as the mode allows."""
    old, new = parse_field_type(kind), parse_field_type(now)
    nullable = "?" if old.nullable or new.nullable else ""
    if _holds(old, new):
        return kind.rstrip("?") + nullable
    if mode == "evolve" and _holds(new, old):
        return now.rstrip("?") + nullable
    if mode in ("discard_row", "discard_value"):
        return kind.rstrip("?") + ("?" if mode == "discard_value" or old.nullable else "")
    raise SourceRefusedError(
        f"source `{source}`: expected column `{name}` of type {kind}, got {now}, which holds other "
        "values; add a `cast` step, or choose `on_schema_change: discard_row` or `discard_value`"
    )


def _holds(wide: FieldType, narrow: FieldType) -> bool:
    """Tell whether every value of one type is one of the other."""
    if wide.base == narrow.base == "decimal":
        return _places(wide) >= _places(narrow) and _digits(wide) >= _digits(narrow)
    if wide.base == narrow.base == "timestamp":
        return (wide.precision or 3) >= (narrow.precision or 3)
    if wide.base == narrow.base == "list":
        return wide.element == narrow.element
    if wide.base == "decimal":
        needed = {"int32": 10, "int64": 19}.get(narrow.base, 99)
        return _digits(wide) >= needed
    return wide.base == narrow.base or wide.base in _WIDER.get(narrow.base, ())


def _places(kind: FieldType) -> int:
    return kind.scale or 0


def _digits(kind: FieldType) -> int:
    return (kind.precision or 38) - (kind.scale or 0)
