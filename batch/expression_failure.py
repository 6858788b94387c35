"""Which rows an expression fails on, and why: computed for all rows at once, nothing raises."""

from dataclasses import dataclass, field

import polars as pl

from contracts.field_type import FieldType
from pipelines.expression import ScalarExpression
from pipelines.operation import Operation
from streaming.expression import Conversion, Kind, to_polars

_NEAR_38_DIGITS = 0.99e38
"""Products and sums of decimals are estimated as floats; above this they are tried one by one."""

MOST_SHOWN = 60
"""Characters of a value that reasons show."""


@dataclass(frozen=True)
class Failure:
    """Rows on which one conversion within an expression fails.

    Attributes:
        broken: Whether a row fails; never null.
        value: What came, as text.
        type: What it should have become.
        certain: Whether each of these rows fails for sure.
    """

    broken: pl.Expr
    value: pl.Expr
    type: FieldType
    certain: bool


@dataclass
class _Lenient(Conversion):
    """Gives null where a value does not fit, and remembers where that is."""

    found: list[Failure] = field(default_factory=list)

    def cast(self, value: pl.Expr, kind: Kind, node: Operation) -> pl.Expr:
        """Convert a value, or make it null."""
        result = value.cast(kind, strict=False)
        broken = (value.is_not_null() & result.is_null()).fill_null(value=False)
        self.found.append(Failure(broken, shown(value), node.type, certain=True))
        return result

    def operand(self, left: pl.Expr, right: pl.Expr, node: Operation) -> pl.Expr:
        """Make the left side null where the result may have more than 38 digits."""
        a, b = left.cast(pl.Float64), right.cast(pl.Float64)
        size = (a * b).abs() if node.name == "mul" else a.abs() + b.abs()
        near = (size * 10.0 ** (node.type.scale or 0) > _NEAR_38_DIGITS).fill_null(value=False)
        self.found.append(Failure(near, shown(left), node.type, certain=False))
        return pl.when(~near).then(left)


def failures(expression: ScalarExpression, taken: pl.Expr | None = None) -> list[Failure]:
    """List the conversions of an expression that can fail, inner ones first.

    A row on which an inner one fails is null for those around it, so the first that is broken is
    the cause. Where a branch is not taken, and where `taken` is false, nothing is broken.
    """
    lenient = _Lenient()
    to_polars(expression, taken, lenient)
    return lenient.found


def shown(value: pl.Expr) -> pl.Expr:
    """Write values as text for a reason; long ones are cut."""
    return value.cast(pl.String, strict=False).fill_null("null").str.slice(0, MOST_SHOWN)
