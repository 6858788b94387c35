"""Variance and standard deviation from exact sums.

Every value is a whole number times a power of two (or of ten, for decimals). Values whose powers of
two share a step of eight are summed as whole numbers: the sum, and the sum of squares in three
parts of 32 bits each, none of which any count of 64 bits overflows. So merging in any order
gives the same bits, nothing cancels, and the result is the correctly rounded one.
"""

import itertools
import math

import numpy as np
import numpy.typing as npt
import polars as pl

from streaming.aggregate import Aggregate
from streaming.tally import BUCKET, COUNT, flatten, tally

_SUMS = ("sum", "high", "middle", "low")
_STEP_BITS = 3
_LIMB_BITS = 32
_MANTISSA_BITS = 53
_NO_NUMBER = 2**14
"""Bucket of infinities and NaN."""

Row = tuple[int, int, int, int, int, int]


class Moment(Aggregate):
    """`var_samp(x)`, `var_pop(x)`, `stddev_samp(x)` and `stddev_pop(x)`."""

    def prepare(self, rows: pl.DataFrame) -> list[pl.Series]:
        """Give power, count, value and the parts of its square of each value."""
        values = rows.select(self.value.alias(self.slot)).to_series()
        if self.argument_type.base == "float64":
            step, whole = _split(values.fill_null(0.0).to_numpy())
        else:
            whole = values.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
            step = np.zeros(len(whole), np.int16)
        high, low = whole >> _LIMB_BITS, whole & ((1 << _LIMB_BITS) - 1)
        parts = {
            BUCKET: step,
            COUNT: np.ones(len(whole), np.int64),
            "sum": whole,
            "high": high * high,
            "middle": high * low,
            "low": low.astype(np.uint64) ** np.uint64(2),
        }
        taken = values.is_not_null().alias("_")
        frame = pl.DataFrame(parts).with_columns(taken, pl.col(BUCKET).cast(pl.Int32))
        frame = frame.with_columns(pl.when("_").then(BUCKET).alias(BUCKET))
        return [frame.select(pl.struct(BUCKET, COUNT, *_SUMS).alias(self.slot)).to_series()]

    def start(self) -> list[pl.Expr]:
        """Collect them."""
        return [pl.col(self.slot)]

    def merge(self) -> list[pl.Expr]:
        """Join the lists."""
        return [pl.col(self.slot).explode(empty_as_null=False)]

    def settle(self, groups: pl.DataFrame) -> list[pl.Series]:
        """Add up what has the same power."""
        return [tally(groups[self.slot], _SUMS)]

    def finish(self, frame: pl.DataFrame) -> pl.Series:
        """Give the result; null for no value, and of a sample for one value alone."""
        row, entries = flatten(frame[self.slot])
        sums = entries.select(BUCKET, COUNT, *(pl.col(s).cast(pl.Int128) for s in _SUMS)).rows()
        bounds = np.searchsorted(row, np.arange(frame.height + 1)).tolist()
        results = [self._result(sums[start:stop]) for start, stop in itertools.pairwise(bounds)]
        return pl.Series(self.column, results, pl.Float64)

    def _result(self, sums: list[Row]) -> float | None:
        count = sum(entry[1] for entry in sums)
        divisor = count - 1 if self.call.function.endswith("_samp") else count
        if divisor <= 0:
            return None
        if any(entry[0] == _NO_NUMBER for entry in sums):
            return math.nan
        deviation, power = _deviation(sums, count)
        divisor *= count * 100 ** (self.argument_type.scale or 0)
        try:
            variance = (deviation << max(power, 0)) / (divisor << max(-power, 0))
        except OverflowError:
            return math.inf
        return math.sqrt(variance) if self.call.function.startswith("stddev") else variance


def _split(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]:
    """Write floats as whole · 2^(8·step), |whole| < 2^60."""
    finite = np.isfinite(values)
    mantissa, power = np.frexp(np.where(finite, values, 0.0))
    whole = np.ldexp(mantissa, _MANTISSA_BITS).astype(np.int64)
    power = power.astype(np.int64) - _MANTISSA_BITS
    step = power >> _STEP_BITS
    whole <<= power - (step << _STEP_BITS)
    step[~finite] = _NO_NUMBER
    return step.astype(np.int16), whole


def _deviation(sums: list[Row], count: int) -> tuple[int, int]:
    """Compute count · Σx² - (Σx)², exactly, as a whole number and a power of two."""
    least = min(entry[0] for entry in sums)
    total = squares = 0
    for step, _, whole, high, middle, low in sums:
        shift = (step - least) << _STEP_BITS
        square = (high << 2 * _LIMB_BITS) + (middle << (_LIMB_BITS + 1)) + low
        total += whole << shift
        squares += square << 2 * shift
    return count * squares - total * total, least << (_STEP_BITS + 1)
