"""Aggregates as mergeable partials: one partial per (pane, key), commutative and associative.

They are so bit for bit, but for float sums, which agree within 1e-12 relative. Each family of
aggregates has a module of its own; `aggregate_family.aggregate_of` chooses.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import polars as pl

from contracts.field_type import FieldType
from pipelines.expression_aggregate import AggregateExpression
from streaming.expression import condition_to_polars, to_polars
from streaming.field_dtype import polars_type

EVENT_MS, PARTITION, OFFSET = "_event_ms", "_partition", "_offset"
"""Columns of an event's position; the topic of a stream is one."""


@dataclass(frozen=True)
class Aggregate(ABC):
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

    @property
    def taken(self) -> pl.Expr | None:
        """Rows that the call's filter takes, true or false; None where there is no filter."""
        return condition_to_polars(self.call.condition) if self.call.condition else None

    @property
    def argument_type(self) -> FieldType:
        """Type of what is aggregated."""
        # The parser gives every call but that of `count(*)` an argument.
        assert self.call.argument is not None  # noqa: S101 - for the type checker
        return self.call.argument.type

    @property
    def value(self) -> pl.Expr:
        """What is aggregated, per row; null where the filter does not take the row."""
        # As above.
        assert self.call.argument is not None  # noqa: S101 - for the type checker
        return to_polars(self.call.argument, self.taken)

    def inputs(self) -> list[pl.Expr]:
        """Give the row expressions that can fail on a single event; none for a plain column."""
        argument, taken = self.call.argument, self.taken
        inputs = [] if taken is None else [taken.alias(f"{self.slot}_taken")]
        if argument is not None and (argument.root.name != "column" or inputs):
            inputs.append(self.value.alias(self.slot))
        return inputs

    def prepare(self, rows: pl.DataFrame) -> list[pl.Series]:  # noqa: ARG002 - a hook
        """Compute columns of events that `start` reads, named by `slot`."""
        return []

    @abstractmethod
    def start(self) -> list[pl.Expr]:
        """Give the expressions that make a partial of a group of events."""

    @abstractmethod
    def merge(self) -> list[pl.Expr]:
        """Give the expressions that make one partial of several of the same group."""

    def settle(self, groups: pl.DataFrame) -> list[pl.Series]:  # noqa: ARG002 - a hook
        """Bring columns that `start` or `merge` only collected into their one form, all groups."""
        return []

    @abstractmethod
    def finish(self, frame: pl.DataFrame) -> pl.Series:
        """Compute the output column of merged partials.

        Raises:
            ContractViolationError: A result does not fit its type.
        """

    def output(self, frame: pl.DataFrame, result: pl.Expr) -> pl.Series:
        """Evaluate the result as the output column."""
        return frame.select(result.cast(polars_type(self.type)).alias(self.column)).to_series()
