"""A typed expression as a small tree of operations: what compilers of expressions read.

Every implicit conversion of SQL is an explicit `cast` here (decimals alone may differ in their
digits), so a compiler never guesses.
"""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Literal

from contracts.field_type import FieldType

OperationName = Literal[
    "column", "literal", "cast",
    "add", "sub", "mul", "div", "intdiv", "mod", "neg", "abs", "round", "floor", "ceil",
    "eq", "ne", "lt", "le", "gt", "ge", "same", "not_same", "is_null", "in", "like",
    "and", "or", "not", "case", "coalesce",
    "concat", "concat_skip_null", "lower", "upper", "length", "substring", "trim",
    "extract", "date_trunc", "string_split",
    "contains", "starts_with", "ends_with", "replace", "list_length", "list_contains", "element",
]  # fmt: skip

Constant = str | int | float | bool | Decimal | date | tuple[int | None, ...] | None


@dataclass(frozen=True)
class Operation:
    """One node of a typed expression.

    Attributes:
        name: What is computed.
        type: Type of the result, with its nullability.
        arguments: Operands; of `case`: condition, value, condition, value, …, the value of `else`.
        constant: Column name of `column`; value of `literal` (milliseconds since the epoch for a
            timestamp, microseconds for `timestamp(6)`); pattern of `like`; digits of `round`;
            unit of `extract` and `date_trunc`; (start, length) of `substring`; separator of
            `string_split`; place of `element`, from 0.
    """

    name: OperationName
    type: FieldType
    arguments: tuple["Operation", ...] = field(default=())
    constant: Constant = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Name the columns that are read, in the order of their first use."""
        if self.name == "column":
            return (str(self.constant),)
        return tuple(dict.fromkeys(name for part in self.arguments for name in part.columns))
