"""One step of a batch: what it makes of rows, and which records it cannot compute.

Rows carry the column `_row`, the place of the record that they come from. A record of which one
row cannot be computed is set aside with all its rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace

import polars as pl
from polars.exceptions import PolarsError

from batch.cast import cast_column
from batch.expression_failure import failures, shown
from contracts.field_type import FieldType
from pipelines.expression import ScalarExpression
from streaming.partial import RowError, find_failures
from streaming.resource import RECORD, Resources, RowsRefusedError
from streaming.row_step import Call, Derive, Expand, LookUp, RowStep

REFUSED: dict[str, pl.DataType] = {
    RECORD: pl.Int64(),
    "check": pl.String(),
    "field": pl.String(),
    "reason": pl.String(),
}
"""Columns of records that were set aside, one line each."""


def refused(rows: Iterable[tuple[int, str, str, str]] = ()) -> pl.DataFrame:
    """Make a table of records that were set aside."""
    return pl.DataFrame(list(rows), schema=REFUSED, orient="row")


@dataclass(frozen=True)
class Ran:
    """What a step comes to.

    Attributes:
        rows: Rows of the records that it could compute.
        refused: The other records, as `REFUSED`.
    """

    rows: pl.DataFrame
    refused: pl.DataFrame


class BatchStep(ABC):
    """One step."""

    @abstractmethod
    def run(self, rows: pl.DataFrame) -> Ran:
        """Change rows; raises `UserFunctionError` when an own function is not as declared."""

    def bind(self, resources: Resources) -> "BatchStep":  # noqa: ARG002 - a hook
        """Give the step what it needs from outside."""
        return self


def without(rows: pl.DataFrame, records: pl.Series) -> pl.DataFrame:
    """Leave out all rows of some records."""
    return rows.filter(~pl.col(RECORD).is_in(records.implode()))


@dataclass(frozen=True)
class Shared(BatchStep):
    """A step that streams have as well: where, derive, expand, join."""

    step: RowStep

    @property
    def computed(self) -> list[tuple[ScalarExpression, pl.Expr | None]]:
        """What the step computes, and for which rows."""
        return [(expression, None) for expression in self.step.expressions]

    def run(self, rows: pl.DataFrame) -> Ran:
        """Apply the step; where it raises, the rows that it fails on are found and set aside."""
        try:
            return Ran(self.step.apply(rows), refused())
        except PolarsError:
            return self._run_on_good(rows)

    def bind(self, resources: Resources) -> "Shared":
        """Bind the step."""
        return replace(self, step=self.step.bind(resources))

    def _run_on_good(self, rows: pl.DataFrame) -> Ran:
        """Set the records aside that fail for sure, then try the doubtful, then all others."""
        certain, doubtful = self._find(rows)
        good = without(rows, certain[RECORD])
        errors: list[RowError] = []
        suspects = good.filter(pl.col(RECORD).is_in(doubtful.implode()))
        find_failures(self.step.apply, suspects, errors)
        good = self._without(good, errors)
        try:
            passed = self.step.apply(good)
        except RowsRefusedError as error:
            errors += [RowError(record, text) for record, text in error.records.items()]
            good = self._without(good, errors)
            passed = self.step.apply(good)
        except PolarsError:
            find_failures(self.step.apply, good, errors)
            good = self._without(good, errors)
            passed = self.step.apply(good)
        told = {error.row: error.error for error in reversed(errors)}
        found = refused((row, "step", self.field, text) for row, text in told.items())
        return Ran(passed, pl.concat([certain, found]))

    def _without(self, rows: pl.DataFrame, errors: list[RowError]) -> pl.DataFrame:
        return without(rows, pl.Series([error.row for error in errors], dtype=pl.Int64))

    def _find(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
        """Find the records that fail for sure, and those that may."""
        reasons, doubtful = [refused()], [pl.Series(RECORD, [], pl.Int64)]
        for expression, taken in self.computed:
            for failure in failures(expression, taken):
                judged = rows.select(RECORD).hstack(
                    # With a column, so that a constant has as many rows as there are.
                    rows.with_columns(
                        failure.broken.alias("broken"), failure.value.alias("value")
                    ).select("broken", "value")
                )
                broken = judged.filter("broken")
                if not failure.certain:
                    doubtful.append(broken[RECORD])
                    continue
                start = f"`{expression.text}`: expected `{failure.type}`, got `"
                reasons.append(
                    broken.select(
                        RECORD,
                        pl.lit("step").alias("check"),
                        pl.lit(self.field).alias("field"),
                        pl.concat_str(pl.lit(start), "value", pl.lit("`")).alias("reason"),
                    )
                )
        return pl.concat(reasons).unique(RECORD, keep="first", maintain_order=True), pl.concat(
            doubtful
        )

    @property
    def field(self) -> str:
        """The column that the step makes or looks at; empty for a condition."""
        step = self.step
        if isinstance(step, Derive | Call):
            return step.column or ""
        if isinstance(step, Expand):
            return ", ".join(name for name, _ in step.lists)
        return ", ".join(step.look_up.enrich.on) if isinstance(step, LookUp) else ""


@dataclass(frozen=True)
class Choose(BatchStep):
    """Keeps, orders and renames columns.

    Attributes:
        columns: New names with the old ones.
    """

    columns: tuple[tuple[str, str], ...]

    def run(self, rows: pl.DataFrame) -> Ran:
        """Take the columns."""
        chosen = [pl.col(old).alias(new) for new, old in self.columns]
        return Ran(rows.select(RECORD, *chosen), refused())


@dataclass(frozen=True)
class Cast(BatchStep):
    """Casts columns; what has no equal in the new type is set aside.

    Attributes:
        columns: Name, old and new type of each.
    """

    columns: tuple[tuple[str, FieldType, FieldType], ...]

    def run(self, rows: pl.DataFrame) -> Ran:
        """Cast the columns."""
        found = [refused()]
        casted = rows
        for name, source, target in self.columns:
            result = cast_column(rows[name], source, target)
            wrong = (
                result.is_null()
                if not target.nullable
                else result.is_null() & rows[name].is_not_null()
            )
            casted = casted.with_columns(result.alias(name))
            if wrong.any():
                found.append(self._refused(rows.filter(wrong), name, target))
        bad = (
            pl.concat(found)
            .group_by(RECORD, maintain_order=True)
            .agg(pl.col("check").first(), pl.col("field").first(), pl.col("reason").str.join("; "))
        )
        return Ran(without(casted, bad[RECORD]) if bad.height else casted, bad)

    @staticmethod
    def _refused(rows: pl.DataFrame, name: str, target: FieldType) -> pl.DataFrame:
        value = shown(pl.col(name)) if rows[name].dtype != pl.List else pl.lit("a list")
        start = f"`{name}`: expected `{target}`, got "
        reason = pl.concat_str(pl.lit(f"{start}`"), value, pl.lit("`"))
        empty = pl.lit(f"{start}null")
        return rows.select(
            RECORD,
            pl.lit("cast").alias("check"),
            pl.lit(name).alias("field"),
            pl.when(pl.col(name).is_null()).then(empty).otherwise(reason).alias("reason"),
        ).unique(RECORD, keep="first", maintain_order=True)
