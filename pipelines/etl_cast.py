"""Which type of column a `cast` step makes of which."""

from dataclasses import replace

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.conversion import NUMBERS, nullable

_TIMES = frozenset({"timestamp", "timestamp_ms"})
_TEXTS = frozenset({"string"})

CASTS: dict[str, frozenset[str]] = {
    "string": NUMBERS | _TIMES | _TEXTS | {"bool", "date", "uuid", "json"},
    "int32": NUMBERS | _TEXTS,
    "int64": NUMBERS | _TEXTS,
    "float64": NUMBERS | _TEXTS,
    "decimal": NUMBERS | _TEXTS,
    "bool": _TEXTS | {"bool"},
    "date": _TIMES | _TEXTS | {"date"},
    "timestamp": _TIMES | _TEXTS,
    "timestamp_ms": _TIMES | _TEXTS,
    "uuid": _TEXTS | {"uuid"},
    "json": _TEXTS | {"json"},
    "list": frozenset(),
}
"""Base types that values of a base type can be cast to, each value exactly or not at all."""


def check_cast(source: FieldType, target: FieldType) -> None:
    """Check that a column can be cast; lists keep their type and may change what is null.

    Raises:
        PipelineSpecError: There is no such cast.
    """
    if source.base == "list" and nullable(source, when=False) == nullable(target, when=False):
        return
    if target.base in CASTS[source.base]:
        return
    hint = ""
    if source.base in _TIMES and target.base == "date":
        hint = "; a date leaves out the time of day, so derive it: `cast(… as date)`"
    known = sorted(CASTS[source.base])
    kinds = ", ".join(known) or f"{replace(source, nullable=False)} with or without `?`"
    raise PipelineSpecError(f"expected a cast of `{source}` to {kinds}, got `{target}`{hint}")
