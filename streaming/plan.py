"""A stream compiled: its specification as polars expressions."""

import functools
from dataclasses import dataclass

import polars as pl

from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.expression import parse_scalar
from pipelines.expression_aggregate import parse_aggregate
from pipelines.stream import StreamSpec, Window
from streaming.aggregate import Aggregate
from streaming.aggregate_family import aggregate_of
from streaming.expression import to_polars
from streaming.window import Windowing, windowing


@dataclass(frozen=True)
class StreamPlan:
    """What the engine runs for one stream.

    Attributes:
        fields: Declared fields and their types.
        wanted: Fields that some expression, key or the event time reads, all of a raw stream;
            others are checked but not materialised.
        where: Condition of the rows that go on, over declared fields; applied before anything is
            derived. None keeps all.
        derived: Derived columns in order of declaration.
        columns: Declared fields and derived columns and their types, in order of declaration.
        keys: Group keys and their types.
        aggregates: Output columns in order of declaration.
    """

    spec: StreamSpec
    fields: dict[str, FieldType]
    wanted: frozenset[str]
    where: pl.Expr | None
    derived: tuple[tuple[str, pl.Expr], ...]
    columns: tuple[tuple[str, FieldType], ...]
    keys: tuple[tuple[str, FieldType], ...]
    aggregates: tuple[Aggregate, ...]
    windowing: Windowing

    @property
    def key_names(self) -> list[str]:
        """Names of the group keys."""
        return [name for name, _ in self.keys]


@functools.lru_cache(maxsize=64)
def _compile(spec_json: str) -> StreamPlan:
    spec = StreamSpec.model_validate_json(spec_json)
    fields = {name: parse_field_type(text) for name, text in spec.fields.items()}
    known = dict(fields)
    read = {spec.event_time.field, *spec.group_by}
    derived: list[tuple[str, pl.Expr]] = []
    for name, text in spec.derive.items():
        expression = parse_scalar(text, known)
        derived.append((name, to_polars(expression)))
        known[name] = expression.type
        read.update(expression.columns)
    where = None
    if spec.where is not None:
        condition = parse_scalar(spec.where, fields)
        where = to_polars(condition)
        read.update(condition.columns)
    aggregates: list[Aggregate] = []
    for index, (column, text) in enumerate(spec.aggregate.items()):
        call = parse_aggregate(text, known, spec.event_time.field)
        aggregates.append(aggregate_of(column, call, f"a{index}"))
        read.update(call.columns)
    return StreamPlan(
        spec=spec,
        fields=fields,
        wanted=frozenset(fields if spec.raw else read & fields.keys()),
        where=where,
        derived=tuple(derived),
        columns=tuple(known.items()),
        keys=tuple((name, known[name]) for name in spec.group_by),
        aggregates=tuple(aggregates),
        windowing=windowing(spec.window or Window(kind="tumbling", size_ms=1)),
    )


def compile_stream(spec: StreamSpec) -> StreamPlan:
    """Compile a stream's specification; the same specification gives the same (cached) plan."""
    return _compile(spec.model_dump_json())
