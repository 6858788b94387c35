"""What aggregates share that collect numbers of their events in lists, one list a group."""

from abc import abstractmethod

import numpy as np
import numpy.typing as npt
import polars as pl

from streaming.aggregate import Aggregate


class Collected(Aggregate):
    """Makes a number of each value, collects them, and brings the lists into one form."""

    @abstractmethod
    def code(self, values: pl.Series) -> npt.NDArray[np.int32]:
        """Give the number of each value; that of a null is not looked at."""

    @abstractmethod
    def settled(self, lists: pl.Series) -> pl.Series:
        """Bring each list into the one form that depends on its events alone."""

    def prepare(self, rows: pl.DataFrame) -> list[pl.Series]:
        """Give the number of each value; null where there is none."""
        values = rows.select(self.value.alias(self.slot)).to_series()
        codes = pl.Series(self.slot, self.code(values))
        found = pl.DataFrame([codes, values.is_not_null().alias("_")])
        return [found.select(pl.when("_").then(self.slot).alias(self.slot)).to_series()]

    def start(self) -> list[pl.Expr]:
        """Collect the numbers."""
        return [pl.col(self.slot)]

    def merge(self) -> list[pl.Expr]:
        """Join the lists."""
        return [pl.col(self.slot).explode(empty_as_null=False)]

    def settle(self, groups: pl.DataFrame) -> list[pl.Series]:
        """Bring the lists into their one form."""
        return [self.settled(groups[self.slot])]
