"""Which rows go to the targets as they landed."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from batch.clean import CleanPlan, clean_part
from batch.clean_plan import plan_of
from batch.schema_change import SchemaDecision
from pipelines.etl import Check, EtlSpec, EtlStep, Target
from pipelines.etl_source import PostgresSource
from streaming.resource import RECORD

COLUMNS = {"id": "int64", "name": "string?", "amount": "decimal(12,2)?"}
ROWS = pl.DataFrame(
    {"id": [1, 2, 3], "name": ["a", None, "c"], "amount": ["1.00", "2.50", None]}
).cast({"amount": pl.Decimal(12, 2)})
RANGE = Check(check="range", severity="quarantine", fields=["id"], min="2")


def plan(
    decision: SchemaDecision | None = None,
    steps: list[EtlStep] | None = None,
    gate: list[Check] | None = None,
) -> CleanPlan:
    spec = EtlSpec(
        name="orders",
        source=PostgresSource(table="orders"),
        transform=steps or [],
        gate=gate or [],
        targets=[Target(kind="postgres", table="orders")],
    )
    return plan_of(spec, decision or SchemaDecision(columns=COLUMNS), COLUMNS, {}, ROWS.height)


@pytest.mark.parametrize("gate", [[], [RANGE]])
def test_rows_that_pass_are_those_that_landed_where_the_plan_says_so(gate: list[Check]) -> None:
    one = plan(gate=gate)
    assert one.keeps_rows
    assert one.looks_at_rows == bool(gate)
    part = clean_part(one, ROWS, 0, 0)
    assert_frame_equal(part.rows.drop(RECORD), ROWS[1:] if gate else ROWS)


@pytest.mark.parametrize(
    "other",
    [
        plan(steps=[EtlStep(drop=["name"])]),
        plan(SchemaDecision(columns={**COLUMNS, "lost": "int32?"}, missing=["lost"])),
        plan(SchemaDecision(columns=COLUMNS | {"id": "string"}, cast={"id": "int64"})),
        plan(SchemaDecision(columns=COLUMNS | {"amount": "decimal(14,2)?"})),
        plan(SchemaDecision(columns=dict(reversed(COLUMNS.items())))),
        plan(SchemaDecision(columns={"id": "int64", "name": "string?"}, surplus=["amount"])),
    ],
)
def test_rows_are_looked_at_where_their_columns_become_others(other: CleanPlan) -> None:
    assert not other.keeps_rows
    assert other.looks_at_rows
    assert clean_part(other, ROWS, 0, 0).rows.drop(RECORD).schema != ROWS.schema or list(
        clean_part(other, ROWS, 0, 0).rows.columns[1:]
    ) != list(ROWS.columns)
