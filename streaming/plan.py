"""A stream compiled: its specification as polars expressions."""

import functools
from dataclasses import dataclass

from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.expression_aggregate import parse_aggregate
from pipelines.stream import StreamSpec, Window
from streaming.aggregate import Aggregate
from streaming.aggregate_family import aggregate_of
from streaming.contract_plan import ContractPlan
from streaming.row_step import CompiledSteps, compile_steps
from streaming.window import Windowing, windowing


@dataclass(frozen=True)
class StreamPlan:
    """What the engine runs for one stream.

    Attributes:
        fields: Declared fields and their types.
        contract: What their contract says of the values; None where there is none, or it says
            nothing.
        wanted: Fields that some expression, key or the event time reads, all of a raw stream;
            others are checked but not materialised.
        steps: What becomes of the rows before they are grouped.
        columns: Declared fields and added columns and their types, in order of declaration.
        keys: Group keys and their types.
        duplicate_keys: Columns that make two events the same, and their types; empty where
            duplicates are kept.
        aggregates: Output columns in order of declaration.
    """

    spec: StreamSpec
    fields: dict[str, FieldType]
    contract: ContractPlan | None
    wanted: frozenset[str]
    steps: CompiledSteps
    columns: tuple[tuple[str, FieldType], ...]
    keys: tuple[tuple[str, FieldType], ...]
    duplicate_keys: tuple[tuple[str, FieldType], ...]
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
    contract = _contract(spec, fields)
    known = compile_steps(spec, fields, None).types
    once_by = spec.deduplicate.by if spec.deduplicate else []
    read = {spec.event_time.field, *spec.group_by, *once_by}
    ruled: frozenset[str] = contract.reads if contract else frozenset()
    aggregates: list[Aggregate] = []
    for index, (column, text) in enumerate(spec.aggregate.items()):
        call = parse_aggregate(text, known, spec.event_time.field)
        aggregates.append(aggregate_of(column, call, f"a{index}"))
        read.update(call.columns)
    steps = compile_steps(spec, fields, frozenset(read) if spec.window else None)
    return StreamPlan(
        spec=spec,
        fields=fields,
        contract=contract,
        wanted=frozenset(fields if spec.raw else (read | steps.reads | ruled) & fields.keys()),
        steps=steps,
        columns=tuple(steps.types.items()),
        keys=tuple((name, known[name]) for name in spec.group_by),
        duplicate_keys=tuple((name, known[name]) for name in once_by),
        aggregates=tuple(aggregates),
        windowing=windowing(spec.window or Window(kind="tumbling", size_ms=1)),
    )


def _contract(spec: StreamSpec, fields: dict[str, FieldType]) -> ContractPlan | None:
    if spec.contract is None or not (spec.contract.rules or spec.contract.defaults):
        return None
    return ContractPlan.of(spec.contract, fields)


def compile_stream(spec: StreamSpec) -> StreamPlan:
    """Compile a stream's specification; the same specification gives the same (cached) plan."""
    return _compile(spec.model_dump_json())
