"""The contract of a stream, compiled."""

from dataclasses import dataclass, replace

import polars as pl

from contracts.contract import PinnedContract
from contracts.field_type import FieldType
from contracts.row_check import RowCheck, compile_rules, default_values


@dataclass(frozen=True)
class ContractPlan:
    """A stream's contract, compiled.

    Attributes:
        name: Name and version, as messages show them.
        defaults: Columns with their nulls replaced, by their names.
        checks: Rules that make a record a dead letter.
    """

    name: str
    defaults: dict[str, pl.Expr]
    checks: tuple[RowCheck, ...]

    @classmethod
    def of(cls, contract: PinnedContract, fields: dict[str, FieldType]) -> "ContractPlan":
        """Compile a contract for the fields that it declares."""
        filled = default_values(contract.defaults, fields)
        return cls(
            name=f"`{contract.name}` {contract.version}",
            defaults=dict(zip(contract.defaults, filled, strict=True)),
            checks=tuple(compile_rules(contract.rules, fields)),
        )

    @property
    def reads(self) -> frozenset[str]:
        """Fields that some rule looks at."""
        return frozenset(check.field for check in self.checks)

    def decoded_types(self, fields: dict[str, FieldType]) -> dict[str, FieldType]:
        """Give the types to decode by: a field with a default may be null or missing."""
        return {
            name: replace(kind, nullable=True) if name in self.defaults else kind
            for name, kind in fields.items()
        }
