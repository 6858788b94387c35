"""Types of fields, in the words that users write."""

from dataclasses import dataclass
from typing import Literal

BaseType = Literal[
    "string", "int32", "int64", "float64", "bool", "decimal",
    "timestamp_ms", "timestamp", "date", "uuid", "json", "list",
]  # fmt: skip

UNGROUPABLE = frozenset({"float64", "json", "list"})
"""Types that no key can have: a key needs one value for one thing."""


@dataclass(frozen=True)
class FieldType:
    """The type of a field.

    `timestamp_ms` arrives as an integer of milliseconds since the epoch, `timestamp` as ISO 8601
    text with zone; both are UTC instants with milliseconds inside the engine. `timestamp(6)` is an
    instant with microseconds, which batches keep and streams do not have. Decimals are exact, up to
    38 digits.

    Attributes:
        base: The type without its parameters.
        precision: Digits in all, of a decimal; 6 of a timestamp with microseconds.
        scale: Digits after the point, of a decimal.
        nullable: Whether null or a missing value is allowed (`T?`).
        element: Type of the elements, of a list.
    """

    base: BaseType
    precision: int | None = None
    scale: int | None = None
    nullable: bool = False
    element: "FieldType | None" = None

    def __str__(self) -> str:
        """Write the type as a user would."""
        if self.base == "decimal":
            text = f"decimal({self.precision},{self.scale})"
        elif self.base == "list":
            text = f"list<{self.element}>"
        elif self.base == "timestamp" and self.precision is not None:
            text = f"timestamp({self.precision})"
        else:
            text = self.base
        return text + ("?" if self.nullable else "")
