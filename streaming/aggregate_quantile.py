"""Approximate quantiles: counts in fixed buckets, of the kind of DDSketch with linear steps.

A bucket is the sign, the exponent and the first six bits of the mantissa of a float64, taken
from its bits, so no logarithm's last digit decides (Masson, Rim, Lee: "DDSketch", 2019, describes
the sketch). The middle of a bucket is at most 1/129 = 0.8 % away from all its values. Zero and what
is smaller than 2.3e-308 is one bucket; infinities and NaN, the greatest, have theirs.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from streaming.aggregate_collected import Collected
from streaming.tally import BUCKET, COUNT, flatten, tally

_STEP_BITS = 6
_STEPS = 1 << _STEP_BITS
_DROPPED = 52 - _STEP_BITS
_INFINITE = 2047 << _STEP_BITS
_NAN = _INFINITE + 1

Buckets = npt.NDArray[np.int32]


class ApproxQuantile(Collected):
    """`approx_quantile(x, q)`."""

    def code(self, values: pl.Series) -> Buckets:
        """Give the bucket of each value."""
        return bucket_of(values.cast(pl.Float64).fill_null(0.0).to_numpy())

    def settled(self, lists: pl.Series) -> pl.Series:
        """Add up the counts of each bucket."""
        return tally(lists)

    def finish(self, frame: pl.DataFrame) -> pl.Series:
        """Give the value of rank floor(q·(n - 1)); null where there was no value."""
        row, entries = flatten(frame[self.slot])
        counts = np.zeros(frame.height, np.int64)
        np.add.at(counts, row, entries[COUNT].to_numpy())
        some = counts > 0
        # The parser reads a quantile with the call.
        assert self.call.number is not None  # noqa: S101 - for the type checker
        quantile = self.call.number
        rank = (counts - 1) * quantile.numerator // quantile.denominator
        before = np.cumsum(counts) - counts
        upto = np.cumsum(entries[COUNT].to_numpy())
        place = np.searchsorted(upto, (before + rank)[some], side="right")
        result = np.full(frame.height, np.nan)
        result[some] = value_of(entries[BUCKET].to_numpy()[place])
        found = pl.DataFrame([pl.Series(self.column, result), pl.Series("_", some)])
        return found.select(pl.when("_").then(self.column).alias(self.column)).to_series()


def bucket_of(values: npt.NDArray[np.float64]) -> Buckets:
    """Give the bucket of each value; greater values never have smaller ones."""
    bits = np.ascontiguousarray(values).view(np.int64)
    size = (bits & (2**63 - 1)) >> _DROPPED
    size[size < _STEPS] = 0
    size[bits < 0] *= -1
    size[np.isnan(values)] = _NAN
    return size.astype(np.int32)


def value_of(buckets: Buckets) -> npt.NDArray[np.float64]:
    """Give the middle of each bucket, as far in parts of itself from both ends."""
    size = np.abs(buckets).astype(np.int64)
    low = (np.minimum(size, _INFINITE) << _DROPPED).view(np.float64)
    step = size & (_STEPS - 1)
    middle = low * (2.0 * (_STEPS + 1 + step) / (2 * _STEPS + 1 + 2 * step))
    middle[size == _NAN] = np.nan
    return np.where(buckets < 0, -middle, middle)
