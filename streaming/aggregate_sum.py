"""Sums and means.

Integer and decimal sums are exact until they are emitted. polars lets a grouped sum of decimals
wrap around, so values of many digits are summed as two halves, each of which no count of 64 bits
can overflow.
"""

from decimal import Decimal

import polars as pl

from common.errors import ContractViolationError
from contracts.field_type import FieldType
from streaming.aggregate import Aggregate
from streaming.field_dtype import polars_type

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_INTEGERS = ("int32", "int64")
_MAX_DIGITS = 38
_HALF_DIGITS = 19
_HALF = 10**_HALF_DIGITS
_MEAN_PLACES = 4


class Sum(Aggregate):
    """`sum(x)` and `avg(x)`."""

    def start(self) -> list[pl.Expr]:
        """Sum and count the values."""
        value = self.value
        count = value.count().cast(pl.Int64).alias(f"{self.slot}_n")
        exact = _exact(value, self.argument_type)
        if not self._is_halved:
            return [exact.sum().alias(self.slot), count]
        units, half = exact.to_physical(), pl.lit(_HALF, dtype=pl.Int128)
        return [_total(units // half, self.slot), _total(units % half, f"{self.slot}_low"), count]

    def merge(self) -> list[pl.Expr]:
        """Add sums and counts."""
        parts = ("", "_low", "_n") if self._is_halved else ("", "_n")
        return [pl.col(self.slot + part).sum() for part in parts]

    def finish(self, frame: pl.DataFrame) -> pl.Series:
        """Give the sum or the mean; null where there was no value.

        Raises:
            ContractViolationError: An integer sum does not fit 64 bits, or a decimal one 38 digits.
        """
        if self._is_halved:
            frame = frame.with_columns(self._whole(frame))
        value, count = pl.col(self.slot), pl.col(f"{self.slot}_n")
        if self.call.function == "sum":
            self._check_int64(frame)
            result = value
        elif self.type.base == "decimal":
            result = value.cast(polars_type(self.type)) / count.cast(pl.Decimal(38, 0))
        else:
            result = value.cast(pl.Float64) / count.cast(pl.Float64)
        return self.output(frame, pl.when(count > 0).then(result))

    @property
    def _is_halved(self) -> bool:
        """Whether a sum of 64 bits of values may have more than 38 digits."""
        kind = self.argument_type
        return kind.base == "decimal" and (kind.precision or _MAX_DIGITS) > _HALF_DIGITS

    def _whole(self, frame: pl.DataFrame) -> pl.Series:
        """Put the halves of decimal sums together."""
        scale = self.argument_type.scale or 0
        half = pl.lit(_HALF, dtype=pl.Int128)
        low = pl.col(f"{self.slot}_low").cast(pl.Int128)
        halves = frame.select(
            (pl.col(self.slot).cast(pl.Int128) + low // half).alias("high"),
            (low % half).alias("low"),
        )
        digits = _MAX_DIGITS - (_MEAN_PLACES if self.call.function == "avg" else 0)
        ordered = halves.sort("high", "low")
        for high, rest in (*ordered.head(1).rows(), *ordered.tail(1).rows()):
            total = high * _HALF + rest
            if abs(total) >= 10**digits:
                raise ContractViolationError(
                    f"aggregate `{self.column}` = `{self.call.text}`: expected the sum to have at "
                    f"most {digits} digits, {scale} of them after the point, got "
                    f"{len(str(abs(total)))}; give the decimal fewer places (`round(x, 2)`) or use "
                    "`cast(… as double)`"
                )
        units = (pl.col("high") * half + pl.col("low")).cast(pl.Decimal(_MAX_DIGITS, 0))
        unit = pl.lit(Decimal(1).scaleb(-scale), dtype=pl.Decimal(_MAX_DIGITS, scale))
        return halves.select((units * unit).alias(self.slot)).to_series()

    def _check_int64(self, frame: pl.DataFrame) -> None:
        if self.type.base != "int64" or frame.is_empty():
            return
        low, high = frame.select(pl.col(self.slot).min(), pl.col(self.slot).max().alias("_")).row(0)
        for total in (low, high):
            if total is not None and not _INT64_MIN <= int(total) <= _INT64_MAX:
                raise ContractViolationError(
                    f"aggregate `{self.column}` = `{self.call.text}`: expected a 64-bit sum, got "
                    f"{total}; sum a `decimal` instead (`cast(… as decimal(38,0))`)"
                )


def _total(values: pl.Expr, name: str) -> pl.Expr:
    return values.sum().cast(pl.Decimal(_MAX_DIGITS, 0)).alias(name)


def _exact(value: pl.Expr, kind: FieldType) -> pl.Expr:
    if kind.base in _INTEGERS:
        return value.cast(pl.Decimal(38, 0))
    if kind.base == "decimal":
        return value.cast(pl.Decimal(38, kind.scale or 0))
    return value
