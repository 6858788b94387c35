"""Aggregates as mergeable partials: one partial per (pane, key), commutative and associative.

They are so bit for bit, but for float sums, which agree within 1e-12 relative: integer and decimal
sums are exact until they are emitted. polars lets a grouped sum of decimals wrap around, so values
of many digits are summed as two halves, each of which no count of 64 bits can overflow.
"""

from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from common.errors import ContractViolationError
from contracts.field_type import FieldType
from pipelines.expression import AggregateExpression
from streaming.distinct import INTEGERS
from streaming.expression import to_polars
from streaming.field_dtype import polars_type

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_INTEGERS = ("int32", "int64")
_MAX_DIGITS = 38
_HALF_DIGITS = 19
_HALF = 10**_HALF_DIGITS
_MEAN_PLACES = 4


@dataclass(frozen=True)
class Aggregate:
    """One output column: how to start, merge and finish it.

    Attributes:
        column: Name of the output column.
        call: The typed call as the pipeline declares it.
        slot: Prefix of its partial's columns, unique in the stream.
    """

    column: str
    call: AggregateExpression
    slot: str

    @property
    def type(self) -> FieldType:
        """Type of the emitted column."""
        return self.call.type

    def inputs(self) -> list[pl.Expr]:
        """Give the row expression that can fail on a single event.

        None for a plain column or `count(*)`.
        """
        argument = self.call.argument
        if argument is None or argument.text.strip() in argument.columns:
            return []
        return [to_polars(argument).alias(self.slot)]

    @property
    def is_collected(self) -> bool:
        """Whether `start` and `merge` only collect lists, for `distinct_lists` to thin out."""
        argument = self.call.argument
        return (
            self.call.function == "count_distinct"
            and argument is not None
            and argument.type.base in INTEGERS
        )

    def start(self) -> list[pl.Expr]:
        """Give the expressions that make a partial of a group of events."""
        function = self.call.function
        if self.call.argument is None:
            return [pl.len().cast(pl.Int64).alias(self.slot)]
        value = to_polars(self.call.argument)
        if function == "count":
            return [value.count().cast(pl.Int64).alias(self.slot)]
        if self.is_collected:
            return [value.alias(self.slot)]
        if function == "count_distinct":
            return [value.drop_nulls().unique().sort().alias(self.slot)]
        if function in ("min", "max"):
            return [getattr(value, function)().alias(self.slot)]
        count = value.count().cast(pl.Int64).alias(f"{self.slot}_n")
        exact = _exact(value, self.call.argument.type)
        if not self._is_halved:
            return [exact.sum().alias(self.slot), count]
        units, half = exact.to_physical(), pl.lit(_HALF, dtype=pl.Int128)
        return [_total(units // half, self.slot), _total(units % half, f"{self.slot}_low"), count]

    def merge(self) -> list[pl.Expr]:
        """Give the expressions that make one partial of several of the same group."""
        value, function = pl.col(self.slot), self.call.function
        if function == "count":
            return [value.sum()]
        if self.is_collected:
            return [value.explode(empty_as_null=False)]
        if function == "count_distinct":
            return [value.explode(empty_as_null=False).unique().sort()]
        if function in ("min", "max"):
            return [getattr(value, function)()]
        parts = ("_low", "_n") if self._is_halved else ("_n",)
        return [value.sum(), *(pl.col(self.slot + part).sum() for part in parts)]

    def finish(self, frame: pl.DataFrame) -> pl.Series:
        """Compute the output column of merged partials.

        Raises:
            ContractViolationError: An integer sum does not fit 64 bits, or a decimal one 38 digits.
        """
        if self._is_halved:
            frame = frame.with_columns(self._whole(frame))
        value, function, argument = pl.col(self.slot), self.call.function, self.call.argument
        if function in ("count", "min", "max"):
            result = value
        elif function == "count_distinct":
            result = value.list.len().cast(pl.Int64)
        else:
            count = pl.col(f"{self.slot}_n")
            if function == "sum":
                self._check_int64(frame)
                result = value
            elif self.type.base == "decimal":
                result = value.cast(polars_type(self.type)) / count.cast(pl.Decimal(38, 0))
            else:
                result = value.cast(pl.Float64) / count.cast(pl.Float64)
            result = pl.when(count > 0).then(result)
        # The parser gives every call but `count(*)` an argument.
        assert argument is not None or function == "count"  # noqa: S101 - for the type checker
        return frame.select(result.cast(polars_type(self.type)).alias(self.column)).to_series()

    @property
    def _is_halved(self) -> bool:
        """Whether a sum of 64 bits of values may have more than 38 digits."""
        argument = self.call.argument
        return (
            self.call.function in ("sum", "avg")
            and argument is not None
            and argument.type.base == "decimal"
            and (argument.type.precision or _MAX_DIGITS) > _HALF_DIGITS
        )

    def _whole(self, frame: pl.DataFrame) -> pl.Series:
        """Put the halves of decimal sums together."""
        # The parser types every decimal.
        assert self.call.argument is not None  # noqa: S101 - for the type checker
        scale = self.call.argument.type.scale or 0
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
