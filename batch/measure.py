"""Values over a whole batch: partials of chunks, merged and finished exactly."""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl
from polars.exceptions import PolarsError

from batch.grouping import Grouping
from batch.profile import Measured
from common.errors import ContractViolationError
from contracts.field_type import FieldType
from pipelines.etl import Aggregation
from pipelines.etl_condition import BatchExpression
from streaming.expression import to_polars
from streaming.frame import from_bytes, to_bytes


@dataclass(frozen=True)
class Measure:
    """One value over a batch.

    Attributes:
        key: Names it among all checks of the gate.
    """

    key: str
    expression: BatchExpression
    grouping: Grouping

    @classmethod
    def of(cls, key: str, expression: BatchExpression, types: dict[str, FieldType]) -> "Measure":
        """Compile an expression over columns."""
        return cls(key, expression, Grouping.of(Aggregation(columns=expression.aggregates), types))

    def start(self, parts: Iterable[pl.DataFrame]) -> Measured:
        """Compute what is needed of the clean rows of one chunk."""
        partials: list[pl.DataFrame] = []
        try:
            for part in parts:
                self.grouping.check_rows(part)
                partials.append(self.grouping.start([part]))
            return Measured(check=self.key, partial=to_bytes(self.grouping.merge(partials)))
        except PolarsError as error:
            return Measured(check=self.key, error=str(error).splitlines()[0])

    def merged(self, parts: Iterable[Measured]) -> Measured:
        """Put what was computed of the parts of one chunk together."""
        found = list(parts)
        error = next((one.error for one in found if one.error), "")
        if error:
            return Measured(check=self.key, error=error)
        merged = self.grouping.merge(from_bytes(one.partial) for one in found)
        return Measured(check=self.key, partial=to_bytes(merged))

    def finish(self, chunks: Iterable[Measured]) -> object:
        """Compute the value over all chunks; None where it is null.

        Raises:
            ContractViolationError: Some chunk has none, or the value does not fit its type.
        """
        partials: list[pl.DataFrame] = []
        for chunk in chunks:
            if chunk.error:
                raise ContractViolationError(f"`{self.expression.text}`: {chunk.error}")
            partials.append(from_bytes(chunk.partial))
        rows, unfit = self.grouping.finish(partials)
        if not unfit.is_empty():
            raise ContractViolationError(str(unfit["reason"][0]))
        try:
            value: object = rows.select(to_polars(self.expression.value)).item()
        except PolarsError as error:
            raise ContractViolationError(
                f"`{self.expression.text}`: {str(error).splitlines()[0]}"
            ) from error
        return value
