"""A report over the clean rows of a run: partials of parts, merged and finished once.

All sums of decimals are exact. A part holds its groups in memory, not the rows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import polars as pl

from batch.grouping import Grouping
from batch.transform import CompiledBatch, compile_batch
from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.etl import Aggregation, EtlStep
from pipelines.report import Chart, Ranking, ReportSpec
from streaming.resource import RECORD

MEASURE = "measure"

Partial = list[pl.DataFrame]
"""The groups of each part, as far as they are known."""


@dataclass(frozen=True)
class ReportResult:
    """What is shown.

    Attributes:
        row_count: Rows that the report is about.
        failed_rows: Rows that are left out, as a derived column could not be computed.
        totals: One row; empty where none are wanted.
        charts: In the order of the specification: the column, then `measure`, by the column.
        rankings: In the order of the specification: the group, then the measures, best first.
    """

    row_count: int
    failed_rows: int
    totals: pl.DataFrame
    charts: list[pl.DataFrame]
    rankings: list[pl.DataFrame]


@dataclass
class ReportBuilder:
    """Takes the rows of a run, part by part, in any order.

    Args:
        spec: The report.
        columns: Columns of the rows with their types.

    Raises:
        PipelineSpecError: An expression does not fit the columns.
    """

    spec: ReportSpec
    _steps: CompiledBatch
    _groupings: list[Grouping]
    _partial: Partial | None = None
    _row_count: int = 0
    _failed: int = 0

    @classmethod
    def of(cls, spec: ReportSpec, columns: Mapping[str, FieldType]) -> Self:
        """Compile a report over the columns of the rows."""
        steps = [EtlStep(derive=dict(spec.derive))] if spec.derive else []
        try:
            compiled = compile_batch(columns, steps)
            types = compiled.types
            groupings = [
                Grouping.of(Aggregation(group_by=keys, columns=measures), dict(types))
                for keys, measures in _parts(spec)
            ]
        except PipelineSpecError as error:
            raise PipelineSpecError(f"report `{spec.name}`: {error}") from error
        return cls(spec, compiled, groupings)

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows in."""
        cleaned = self._steps.apply(rows)
        self._row_count += cleaned.rows.height
        self._failed += cleaned.rejected.height
        started = [grouping.start([cleaned.rows]) for grouping in self._groupings]
        if self._partial is None:
            self._partial = started
            return
        pairs = zip(self._groupings, self._partial, started, strict=True)
        self._partial = [grouping.merge([one, other]) for grouping, one, other in pairs]

    def finish(self) -> ReportResult:
        """Compute what is shown."""
        partials = self._partial or [grouping.start([]) for grouping in self._groupings]
        pairs = zip(self._groupings, partials, strict=True)
        parts = iter([grouping.finish([one])[0].drop(RECORD) for grouping, one in pairs])
        return ReportResult(
            row_count=self._row_count,
            failed_rows=self._failed,
            totals=next(parts) if self.spec.totals else pl.DataFrame(),
            charts=[_charted(chart, next(parts)) for chart in self.spec.charts],
            rankings=[_ranked(ranking, next(parts)) for ranking in self.spec.rankings],
        )


def _parts(spec: ReportSpec) -> Iterable[tuple[list[str], dict[str, str]]]:
    if spec.totals:
        yield [], spec.totals
    for chart in spec.charts:
        yield [chart.over], {MEASURE: chart.measure}
    for ranking in spec.rankings:
        yield ranking.group_by, ranking.measures


def _charted(chart: Chart, groups: pl.DataFrame) -> pl.DataFrame:
    return groups.sort(chart.over)


def _ranked(ranking: Ranking, groups: pl.DataFrame) -> pl.DataFrame:
    best = next(iter(ranking.measures))
    order = [best, *ranking.group_by]
    descending = [True] + [False] * len(ranking.group_by)
    return groups.sort(order, descending=descending, nulls_last=True).head(ranking.limit)
