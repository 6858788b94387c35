"""Extracted rows on their way to the targets: conformed, checked, through the steps, checked."""

import hashlib
from dataclasses import dataclass, field, replace

import polars as pl

from batch.batch_step import refused, without
from batch.conform import conform
from batch.gate import CompiledGate
from batch.profile import RuleTally
from batch.promise import Promised
from batch.quarantine import content_of, quarantine_records
from batch.row_check import CompiledRowChecks
from batch.schema_change import SchemaDecision
from batch.transform import Cleaned, CompiledBatch
from contracts.field_dtype import polars_type
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.etl import SchemaMode
from streaming.resource import RECORD, Resources


@dataclass(frozen=True)
class CleanPlan:
    """What becomes of the rows of one run.

    Attributes:
        extracted: Columns that come, with their types.
        decision, mode: Which columns there are, and what of those that changed.
        steps: The steps of the pipeline.
        gate: Its checks.
        defaults: What nulls become by the contract.
        released: Hashes of the contents of rows that pass all checks of rows.
    """

    extracted: dict[str, FieldType]
    decision: SchemaDecision
    mode: SchemaMode
    steps: CompiledBatch
    gate: CompiledGate
    defaults: list[pl.Expr] = field(default_factory=list)
    released: frozenset[str] = frozenset()

    @property
    def keeps_rows(self) -> bool:
        """Whether rows that no check rejects are, column by column, those that were extracted."""
        decided = {name: parse_field_type(text) for name, text in self.decision.columns.items()}
        came = [(name, polars_type(kind)) for name, kind in self.extracted.items()]
        return (
            came == [(name, polars_type(kind)) for name, kind in decided.items()]
            and not self.decision.missing
            and not self.decision.cast
            and not self.decision.surplus
            and not self.defaults
            and not self.steps.steps
            and self.steps.grouping is None
        )

    @property
    def looks_at_rows(self) -> bool:
        """Whether anything has to be computed of the rows."""
        gate = self.gate
        rules = gate.contract.rules or gate.rows.rules or gate.promises.promises
        return bool(rules or gate.keys or gate.measures) or not self.keeps_rows

    def bind(self, resources: Resources) -> "CleanPlan":
        """Give the steps what they need from outside."""
        return replace(self, steps=self.steps.bind(resources))


@dataclass(frozen=True)
class CleanPart:
    """What some rows came to: `rows_in + expanded = rows + filtered + quarantined`.

    Attributes:
        rows: Clean rows, first the column `_row`, the place of the record in its chunk.
        quarantine: Rejected records, one line each.
        tallies: How the checks of rows went.
        promised: What rules of the contract about the whole batch need.
    """

    rows: pl.DataFrame
    rows_in: int
    filtered: int
    expanded: int
    quarantine: pl.DataFrame
    tallies: list[RuleTally]
    promised: Promised


def clean_part(plan: CleanPlan, rows: pl.DataFrame, chunk: int, first_row: int) -> CleanPart:
    """Take some rows of a chunk as far as they go by themselves.

    Args:
        plan: What to do, bound to its resources.
        rows: As extracted.
        chunk: Number of the chunk.
        first_row: Place of the first row in the chunk.
    """
    extracted = rows.with_columns(
        pl.int_range(first_row, first_row + rows.height, dtype=pl.Int64).alias(RECORD)
    )
    conformed, unfit = conform(rows, plan.decision, plan.mode)
    records = conformed.select(extracted[RECORD], pl.all()).with_columns(plan.defaults)
    changed = refused(
        (first_row + place, "schema", name, reason) for place, name, reason in unfit.iter_rows()
    )
    start = Cleaned(without(records, changed[RECORD]), rows.height, 0, 0, changed)
    promised = plan.gate.promises.measured(start, chunk, first_row)
    good, before = _checked(plan, plan.gate.contract, start, extracted, chunk)
    cleaned = plan.steps.run(good.rows)
    checked, after = _checked(plan, plan.gate.rows, cleaned, extracted, chunk)
    rejected = pl.concat([good.rejected, checked.rejected]).sort(RECORD)
    left = checked.rows[RECORD].n_unique()
    return CleanPart(
        rows=checked.rows,
        rows_in=rows.height,
        filtered=rows.height - rejected.height - left,
        expanded=checked.rows.height - left,
        quarantine=quarantine_records(extracted, rejected, plan.extracted, chunk),
        tallies=[*promised.tallies, *before, *after],
        promised=promised,
    )


def digest(content: str) -> str:
    """Name a row by its content in the quarantine."""
    return hashlib.sha256(content.encode()).hexdigest()


def _checked(
    plan: CleanPlan,
    checks: CompiledRowChecks,
    cleaned: Cleaned,
    extracted: pl.DataFrame,
    chunk: int,
) -> tuple[Cleaned, list[RuleTally]]:
    """Hold rows against checks; records that were released are not looked at."""
    result, tallies = checks.apply(cleaned, chunk)
    if not plan.released or result.rejected.height == cleaned.rejected.height:
        return result, tallies
    known = cleaned.rejected[RECORD]
    new = result.rejected.filter(~pl.col(RECORD).is_in(known.implode()))[RECORD]
    found = extracted.filter(pl.col(RECORD).is_in(new.implode()))
    contents = content_of(found, plan.extracted)
    let = [digest(text) in plan.released for text in contents]
    released = found.filter(pl.Series(let, dtype=pl.Boolean))[RECORD]
    if released.is_empty():
        return result, tallies
    rest = replace(cleaned, rows=without(cleaned.rows, released))
    result, tallies = checks.apply(rest, chunk)
    passed = cleaned.rows.filter(pl.col(RECORD).is_in(released.implode()))
    rows = pl.concat([result.rows, passed]).sort(RECORD, maintain_order=True)
    return replace(result, rows=rows), tallies
