"""What becomes of the rows of a run, compiled out of its specification."""

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from batch.clean import CleanPlan
from batch.gate import compile_gate
from batch.promise import compile_promises, looks_for_duplicates
from batch.schema_change import SchemaDecision
from batch.transform import compile_batch
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from contracts.row_check import default_values
from pipelines.etl import EtlSpec
from pipelines.etl_source import PostgresSource


def plan_of(
    spec: EtlSpec,
    decision: SchemaDecision,
    extracted: Mapping[str, str],
    references: Mapping[int, pl.Series],
    row_estimate: int,
) -> CleanPlan:
    """Compile what becomes of the rows of a run.

    Args:
        spec: The pipeline.
        decision: Which columns the steps see.
        extracted: Columns that were read, with their types.
        references: Values of `referential` checks, by the place of the check.
        row_estimate: About how many rows there are.

    Raises:
        PipelineSpecError: A step does not fit the columns.
        UsageError: A check does not.
    """
    columns = typed(decision.columns)
    contract = spec.contract
    rules = [] if contract is None else [r for r in contract.rules if r.field in columns]
    defaults = {} if contract is None else contract.defaults
    steps = compile_batch(columns, spec.transform)
    gate = compile_gate(
        spec.gate,
        steps.types,
        references,
        rules=rules,
        rule_types=columns,
        unique=[] if contract is None else contract.unique,
        cursor=spec.source.cursor if isinstance(spec.source, PostgresSource) else None,
        row_estimate=row_estimate,
    )
    return CleanPlan(
        extracted=typed(extracted),
        decision=decision,
        mode=spec.on_schema_change,
        steps=steps,
        gate=replace(gate, promises=compile_promises(contract, columns, row_estimate)),
        defaults=default_values({n: v for n, v in defaults.items() if n in columns}, columns),
    )


def types_after(spec: EtlSpec, columns: Mapping[str, str]) -> dict[str, str]:
    """Type the columns after the last step; raises `PipelineSpecError` when a step does not fit."""
    types = compile_batch(typed(columns), spec.transform).types
    return {name: str(kind) for name, kind in types.items()}


def looks_for_repeated(spec: EtlSpec) -> bool:
    """Tell whether some key must be unique over the whole batch."""
    contract = spec.contract
    return any(one.check == "unique" for one in spec.gate) or (
        contract is not None and (bool(contract.unique) or looks_for_duplicates(contract))
    )


def drops_repeated(spec: EtlSpec) -> bool:
    """Tell whether rows of a key that repeats go to quarantine."""
    checks = any(one.check == "unique" and one.severity == "quarantine" for one in spec.gate)
    contract = spec.contract
    return checks or (
        contract is not None and any(one.severity == "quarantine" for one in contract.unique)
    )


def typed(columns: Mapping[str, str]) -> dict[str, FieldType]:
    """Read the types of columns."""
    return {name: parse_field_type(text) for name, text in columns.items()}
