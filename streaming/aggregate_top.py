"""The most frequent values, exactly: the partial counts every value of a group."""

import numpy as np
import polars as pl

from streaming.aggregate import Aggregate
from streaming.field_dtype import polars_type
from streaming.tally import BUCKET, COUNT, as_lists, flatten, tally

_ROW = "_row"


class TopK(Aggregate):
    """`top_k(x, k)`: the k most frequent values, of equal counts the smaller ones first."""

    def start(self) -> list[pl.Expr]:
        """Collect the values."""
        return [self.value.alias(self.slot)]

    def merge(self) -> list[pl.Expr]:
        """Join the lists."""
        return [pl.col(self.slot).explode(empty_as_null=False)]

    def settle(self, groups: pl.DataFrame) -> list[pl.Series]:
        """Add up the counts of each value."""
        return [tally(groups[self.slot])]

    def finish(self, frame: pl.DataFrame) -> pl.Series:
        """Give the values by falling count; an empty list where there was none."""
        # The parser reads a number with the call.
        assert self.call.number is not None  # noqa: S101 - for the type checker
        row, entries = flatten(frame[self.slot])
        ranked = entries.with_columns(pl.Series(_ROW, row)).sort(
            _ROW, COUNT, BUCKET, descending=[False, True, False]
        )
        sizes = np.bincount(row, minlength=frame.height)
        first = np.cumsum(sizes) - sizes
        kept = ranked.filter(pl.Series(np.arange(len(row)) - first[row] < int(self.call.number)))
        bounds = np.searchsorted(kept[_ROW].to_numpy(), np.arange(frame.height + 1))
        return as_lists(self.column, bounds, kept[BUCKET]).cast(polars_type(self.type))
