"""Rows grouped over a whole interval: a partial for each chunk, merged and finished once.

Partials are those of streams: commutative and associative bit for bit, decimals exact, but for sums
of floats, which agree within 1e-12 relative. All groups of a batch are held in memory at the end.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from batch.batch_step import refused
from common.errors import ContractViolationError, PipelineSpecError
from contracts.field_dtype import polars_type
from contracts.field_type import FieldType
from pipelines.etl import Aggregation
from pipelines.etl_aggregate import parse_batch_aggregate
from pipelines.expression import ScalarExpression
from streaming.aggregate import Aggregate
from streaming.aggregate_family import aggregate_of
from streaming.resource import RECORD

_ALL = "_all"
_COUNTS = frozenset({"count", "count_distinct", "approx_count_distinct"})


@dataclass(frozen=True)
class Grouping:
    """A compiled `aggregate`.

    Attributes:
        keys: Columns of the key; none makes one row, also of no rows.
        aggregates: One for each new column.
        columns: Columns that come, with their types.
        types: Columns of the groups: the keys, then the aggregates.
    """

    keys: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    columns: dict[str, FieldType]
    types: dict[str, FieldType]

    @classmethod
    def of(cls, aggregation: Aggregation, types: dict[str, FieldType]) -> "Grouping":
        """Compile an `aggregate` over columns; raises `PipelineSpecError`."""
        for name in aggregation.group_by:
            if name not in types:
                raise PipelineSpecError(f"group_by: no column `{name}`")
        calls = {n: parse_batch_aggregate(text, types) for n, text in aggregation.columns.items()}
        made = [
            aggregate_of(n, call, f"_aggregate_{i}") for i, (n, call) in enumerate(calls.items())
        ]
        grouped = {name: types[name] for name in aggregation.group_by}
        return cls(
            keys=tuple(aggregation.group_by),
            aggregates=tuple(made),
            columns=dict(types),
            types=grouped | {name: call.type for name, call in calls.items()},
        )

    @property
    def inputs(self) -> list[tuple[ScalarExpression, pl.Expr | None]]:
        """What is computed of each row before it is grouped, and for which rows."""
        found: list[tuple[ScalarExpression, pl.Expr | None]] = []
        for one in self.aggregates:
            if one.call.condition is not None:
                found.append((one.call.condition, None))
            if one.call.argument is not None:
                found.append((one.call.argument, one.taken))
        return found

    def check_rows(self, rows: pl.DataFrame) -> None:
        """Compute what is aggregated; raises `PolarsError` where a row cannot be computed."""
        expressions = [value for one in self.aggregates for value in one.inputs()]
        if expressions:
            rows.select(pl.nth(0).alias("_rows"), *expressions)

    def start(self, parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Make the partial of some rows: one row for each key, by key."""
        return self._folded(self._started(part) for part in parts)

    def merge(self, partials: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Make one partial of several."""
        return self._folded(partials)

    def finish(self, partials: Iterable[pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Merge partials and compute the results.

        Returns:
            The groups with `_row`, their place by key, and those whose results do not fit their
            type, as `batch_step.REFUSED`.
        """
        merged = self._folded(partials).with_row_index(RECORD)
        merged = merged.with_columns(pl.col(RECORD).cast(pl.Int64))
        if merged.is_empty() and not self.keys:
            return self._nothing(), refused()
        errors: list[tuple[int, str, str, str]] = []
        rows = [self._empty(), *self._finished(merged, errors)]
        return pl.concat(rows), refused(errors)

    def _started(self, rows: pl.DataFrame) -> pl.DataFrame:
        prepared = [column for one in self.aggregates for column in one.prepare(rows)]
        rows = rows.with_columns(prepared) if prepared else rows
        starts = [value for one in self.aggregates for value in one.start()]
        return self._settled(rows.group_by(self._by(named=False)).agg(*starts))

    def _folded(self, partials: Iterable[pl.DataFrame]) -> pl.DataFrame:
        merges = [value for one in self.aggregates for value in one.merge()]
        total: pl.DataFrame | None = None
        for partial in partials:
            if total is None:
                total = partial
                continue
            groups = pl.concat([total, partial]).group_by(self._by(named=True)).agg(*merges)
            total = self._settled(groups)
        return self._started(self._no_rows()) if total is None else total

    def _by(self, *, named: bool) -> list[pl.Expr]:
        """Give the keys under names of their own, which no aggregate has."""
        if not self.keys:
            return [pl.lit(0, dtype=pl.Int8).alias(_ALL)]
        names = self._key_names if named else self.keys
        return [pl.col(n).alias(own) for own, n in zip(self._key_names, names, strict=True)]

    @property
    def _key_names(self) -> list[str]:
        return [f"_group_{place}" for place in range(len(self.keys))] or [_ALL]

    def _settled(self, groups: pl.DataFrame) -> pl.DataFrame:
        settled = [column for one in self.aggregates for column in one.settle(groups)]
        groups = groups.with_columns(settled) if settled else groups
        return groups.sort(self._key_names)

    def _finished(
        self, merged: pl.DataFrame, errors: list[tuple[int, str, str, str]]
    ) -> list[pl.DataFrame]:
        """Compute results; halved where one does not fit, until it stands alone."""
        if merged.is_empty():
            return []
        column = ""
        try:
            found = []
            for one in self.aggregates:
                column = one.column
                found.append(one.finish(merged))
        except ContractViolationError as error:
            if merged.height == 1:
                errors.append((merged[RECORD][0], "step", column, str(error)))
                return []
            half = merged.height // 2
            left = self._finished(merged.head(half), errors)
            return left + self._finished(merged.tail(merged.height - half), errors)
        keys = zip(self._key_names, self.keys, strict=False)
        named = [pl.col(own).alias(name) for own, name in keys]
        return [merged.select(RECORD, *named).hstack(found)]

    def _no_rows(self) -> pl.DataFrame:
        types = {name: polars_type(kind) for name, kind in self.columns.items()}
        return pl.DataFrame(schema={RECORD: pl.Int64(), **types})

    def _empty(self) -> pl.DataFrame:
        types = {name: polars_type(kind) for name, kind in self.types.items()}
        return pl.DataFrame(schema={RECORD: pl.Int64(), **types})

    def _nothing(self) -> pl.DataFrame:
        """Give what SQL says of no rows at all: counts are 0, everything else is null."""
        values: dict[str, object] = {RECORD: 0}
        for one in self.aggregates:
            none: object = [] if one.call.function == "top_k" else None
            values[one.column] = 0 if one.call.function in _COUNTS else none
        return pl.DataFrame([values], schema=self._empty().schema)
