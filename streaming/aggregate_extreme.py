"""Least and greatest values; of conditions they are `bool_and` and `bool_or`."""

import polars as pl

from streaming.aggregate import Aggregate

_LEAST = ("min", "bool_and")


class Extreme(Aggregate):
    """`min(x)`, `max(x)`, `bool_and(c)` and `bool_or(c)`."""

    def start(self) -> list[pl.Expr]:
        """Take the extreme value of a group; null where there is none."""
        return [self._extreme(self.value).alias(self.slot)]

    def merge(self) -> list[pl.Expr]:
        """Take the extreme of extremes."""
        return [self._extreme(pl.col(self.slot))]

    def finish(self, frame: pl.DataFrame) -> pl.Series:
        """Give the value."""
        return self.output(frame, pl.col(self.slot))

    def _extreme(self, value: pl.Expr) -> pl.Expr:
        return value.min() if self.call.function in _LEAST else value.max()
