"""Counts of rows, of values and of distinct values."""

import polars as pl

from streaming.aggregate import Aggregate
from streaming.distinct import INTEGERS, distinct_lists


class Count(Aggregate):
    """`count(*)`, `count(x)` and `count_if(c)`."""

    def start(self) -> list[pl.Expr]:
        """Count rows, or values that are not null."""
        if self.call.argument is not None:
            count = self.value.count()
        else:
            count = pl.len() if self.taken is None else self.taken.sum()
        return [count.cast(pl.Int64).alias(self.slot)]

    def merge(self) -> list[pl.Expr]:
        """Add counts."""
        return [pl.col(self.slot).sum()]

    def finish(self, frame: pl.DataFrame) -> pl.Series:
        """Give the count."""
        return self.output(frame, pl.col(self.slot))


class CountDistinct(Aggregate):
    """`count(distinct x)`, exact: the partial is the sorted list of the values."""

    def start(self) -> list[pl.Expr]:
        """Collect the values; those of integers are thinned out for all groups at once."""
        if self._is_integer:
            return [self.value.alias(self.slot)]
        return [self.value.drop_nulls().unique().sort().alias(self.slot)]

    def merge(self) -> list[pl.Expr]:
        """Join the lists."""
        values = pl.col(self.slot).explode(empty_as_null=False)
        return [values if self._is_integer else values.unique().sort()]

    def settle(self, groups: pl.DataFrame) -> list[pl.Series]:
        """Thin out lists of integers."""
        return [distinct_lists(groups[self.slot])] if self._is_integer else []

    def finish(self, frame: pl.DataFrame) -> pl.Series:
        """Give the count."""
        return self.output(frame, pl.col(self.slot).list.len())

    @property
    def _is_integer(self) -> bool:
        return self.argument_type.base in INTEGERS
