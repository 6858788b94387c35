"""Steps that change rows between decoding and grouping: filter, derive, call, expand, look up.

A step keeps the column `_row`, the place of the record that a row comes from, so that whatever
becomes of a row can be told of its record.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from contracts.field_type import FieldType
from pipelines.expression import ScalarExpression, parse_condition, parse_scalar
from pipelines.expression_list import element_types, parse_unnest
from pipelines.stream import ELEMENT, StreamSpec
from pipelines.transform import PythonCall, Step, taken_types
from streaming.expression import to_polars
from streaming.look_up import CompiledLookUp
from streaming.python_step import CompiledCall
from streaming.resource import RECORD, Resources

CUT_ELEMENTS = 1_000_000
"""Elements of lists above which records are expanded in several turns; it bounds the memory."""


class RowStep(ABC):
    """One step.

    Attributes:
        reads: Columns that it reads.
        expressions: What it computes.
    """

    reads: frozenset[str]
    expressions: tuple[ScalarExpression, ...] = ()

    @abstractmethod
    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Change rows.

        Raises:
            PolarsError: Some row cannot be computed.
        """

    def bind(self, resources: Resources) -> "RowStep":  # noqa: ARG002 - a hook
        """Give the step what it needs from outside."""
        return self


@dataclass(frozen=True)
class Filter(RowStep):
    """Keeps the rows for which a condition is true."""

    condition: pl.Expr
    reads: frozenset[str]
    expressions: tuple[ScalarExpression, ...] = ()

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Leave out rows."""
        return rows.filter(self.condition)


@dataclass(frozen=True)
class Derive(RowStep):
    """Adds a column."""

    column: str
    value: pl.Expr
    reads: frozenset[str]
    expressions: tuple[ScalarExpression, ...] = ()

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add the column."""
        return rows.with_columns(self.value.alias(self.column))


@dataclass(frozen=True)
class Call(RowStep):
    """Adds the column that an own function gives, or keeps the rows for which it is true.

    Attributes:
        column: None for a condition.
    """

    column: str | None
    call: CompiledCall
    reads: frozenset[str]
    expressions: tuple[ScalarExpression, ...] = ()

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Call the function; raises `UserFunctionError` when it is not as declared."""
        result = self.call.compute(rows)
        if self.column is None:
            return rows.filter(result.fill_null(value=False))
        return rows.with_columns(result.alias(self.column))

    def bind(self, resources: Resources) -> "Call":
        """Take the function."""
        return replace(self, call=self.call.bind(resources))


@dataclass(frozen=True)
class LookUp(RowStep):
    """Adds the columns of a reference table."""

    look_up: CompiledLookUp
    reads: frozenset[str]

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Look every row up."""
        return self.look_up.apply(rows)

    def bind(self, resources: Resources) -> "LookUp":
        """Take the table."""
        return replace(self, look_up=self.look_up.bind(resources))


@dataclass(frozen=True)
class Expand(RowStep):
    """Makes one row for each element; several lists side by side, filled up with nulls.

    Null and empty lists make no row, null elements make one, as `unnest` does in DuckDB.

    Attributes:
        lists: New columns and the lists that they come from.
        needless: Lists among the columns that nothing reads afterwards.
        numbered: Whether rows get their place among those of their record.
    """

    lists: tuple[tuple[str, pl.Expr], ...]
    reads: frozenset[str]
    needless: frozenset[str] = frozenset()
    expressions: tuple[ScalarExpression, ...] = ()
    numbered: bool = False

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Make the rows, those of a record together and in the order of its elements."""
        names = [name for name, _ in self.lists]
        listed = rows.with_columns(value.alias(name) for name, value in self.lists)
        listed = listed.drop(self.needless & set(rows.columns))
        if len(names) > 1:
            longest = pl.max_horizontal(pl.col(name).list.len().fill_null(0) for name in names)
            places = pl.int_ranges(0, longest.cast(pl.Int64))
            listed = listed.with_columns(
                pl.col(name).fill_null([]).list.gather(places, null_on_oob=True) for name in names
            )
        made = listed.explode(names, empty_as_null=False, keep_nulls=False)
        if not self.numbered:
            return made
        return made.with_columns(pl.int_range(pl.len(), dtype=pl.Int32).over(RECORD).alias(ELEMENT))


@dataclass(frozen=True)
class CompiledSteps:
    """All steps of a stream.

    Attributes:
        steps: In the order in which they are applied.
        types: Type of every column, declared or added.
        expands: Whether a record can become another number of rows than one or none.
    """

    steps: tuple[RowStep, ...]
    types: dict[str, FieldType]
    expands: bool

    @property
    def reads(self) -> frozenset[str]:
        """Columns that some step reads."""
        return frozenset[str]().union(*(step.reads for step in self.steps))

    @property
    def calls(self) -> list[PythonCall]:
        """Own functions that the steps call."""
        return [step.call.call for step in self.steps if isinstance(step, Call)]

    @property
    def look_ups(self) -> list[CompiledLookUp]:
        """Reference tables that the steps look rows up in."""
        return [step.look_up for step in self.steps if isinstance(step, LookUp)]

    def bind(self, resources: Resources) -> "CompiledSteps":
        """Give the steps what they need from outside."""
        return replace(self, steps=tuple(step.bind(resources) for step in self.steps))

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Apply all steps; raises `PolarsError` when some row cannot be computed."""
        for step in self.steps:
            rows = step.apply(rows)
        return rows

    def records(self, rows: pl.DataFrame) -> int:
        """Count the records that rows come from."""
        return rows[RECORD].n_unique() if self.expands else rows.height

    def cuts(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Cut records into parts that make a bounded number of rows, as far as lists tell."""
        if not self.expands or rows.is_empty():
            yield rows
            return
        sizes = [
            pl.col(name).list.len() if kind == pl.List else pl.col(name).str.len_bytes() // 2
            for name, kind in rows.schema.items()
            if kind == pl.List or (kind == pl.String and name in self.reads)
        ]
        total = rows.select(
            pl.sum_horizontal(pl.lit(1), *(size.fill_null(0).cast(pl.Int64) for size in sizes))
            .cum_sum()
            .alias("total")
        )["total"].to_numpy()
        turn = total // CUT_ELEMENTS
        starts = np.flatnonzero(np.diff(turn, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], rows.height], strict=True):
            yield rows.slice(start, stop - start)


def compile_steps(
    spec: StreamSpec, fields: dict[str, FieldType], read_after: frozenset[str] | None
) -> CompiledSteps:
    """Compile `where`, `derive` and `transform`, in this order.

    Args:
        spec: The stream.
        fields: Declared fields.
        read_after: Columns that are read after the last step; None for all.
    """
    types = dict(fields)
    steps: list[RowStep] = []
    first = Step(where=spec.where, derive=spec.derive)
    for step in (first, *spec.transform):
        steps += compile_step(step, types, numbered=spec.raw)
    return CompiledSteps(
        steps=tuple(_lightened(steps, types, read_after)),
        types=types,
        expands=any(isinstance(step, Expand) for step in steps),
    )


def compile_step(
    step: Step, types: dict[str, FieldType], *, numbered: bool = False
) -> Iterator[RowStep]:
    """Compile one step of a file, and add its columns to the types."""
    if isinstance(step.where, PythonCall):
        call = CompiledCall.of(step.where, types)
        yield Call(None, call, call.reads, call.parsed)
    elif step.where is not None:
        condition = parse_condition(step.where, types)
        yield Filter(to_polars(condition), frozenset(condition.columns), (condition,))
    for name, value in step.derive.items():
        if isinstance(value, PythonCall):
            call = CompiledCall.of(value, types)
            types[name] = call.type
            yield Call(name, call, call.reads, call.parsed)
        else:
            derived = parse_scalar(value, types)
            types[name] = derived.type
            yield Derive(name, to_polars(derived), frozenset(derived.columns), (derived,))
    if step.expand:
        lists = {name: parse_unnest(text, types) for name, text in step.expand.items()}
        types.update(element_types(lists))
        read = frozenset(column for found in lists.values() for column in found.columns)
        compiled = tuple((name, to_polars(found)) for name, found in lists.items())
        yield Expand(compiled, read, expressions=tuple(lists.values()), numbered=numbered)
    if step.enrich is not None:
        look_up = CompiledLookUp.of(step.enrich, types)
        types.update(taken_types(step.enrich))
        yield LookUp(look_up, frozenset(step.enrich.on))


def _lightened(
    steps: list[RowStep], types: dict[str, FieldType], read_after: frozenset[str] | None
) -> list[RowStep]:
    """Let an expansion drop the lists that nothing reads afterwards; rows would repeat them."""
    if read_after is None:
        return steps
    light: list[RowStep] = []
    read = read_after
    lists = {name for name, kind in types.items() if kind.base == "list"}
    for step in reversed(steps):
        if isinstance(step, Expand):
            added = {name for name, _ in step.lists}
            step = replace(step, needless=frozenset(lists - read - added))  # noqa: PLW2901 - the same step
        read |= step.reads
        light.insert(0, step)
    return light
