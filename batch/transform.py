"""The steps of a batch compiled over columns: rows in, clean rows and rejected records out."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import polars as pl
from polars.exceptions import PolarsError

from batch.batch_step import BatchStep, Cast, Choose, Shared, refused
from batch.grouping import Grouping
from common.errors import ContractViolationError, PipelineSpecError
from contracts.field_dtype import polars_type
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.etl import EtlStep
from pipelines.etl_cast import check_cast
from pipelines.expression import ScalarExpression
from pipelines.transform import PythonCall
from streaming.look_up import CompiledLookUp
from streaming.resource import RECORD, Resources
from streaming.row_step import Call, LookUp, RowStep, compile_step


@dataclass(frozen=True)
class Cleaned:
    """What some rows come to: `rows_in + expanded = rows + filtered + rejected`.

    Attributes:
        rows: Rows after the steps, first the column `_row`, the place of the record that each comes
            from. Those of a record stand together, in the order of the records.
        rows_in: Records that came.
        filtered: Records of which no row is left.
        expanded: Rows beyond one for each record that is left.
        rejected: Records that were set aside: `_row`, `check` (`step` or `cast`), `field`,
            `reason`; one line each.
    """

    rows: pl.DataFrame
    rows_in: int
    filtered: int
    expanded: int
    rejected: pl.DataFrame

    def after(self, first: "Cleaned") -> "Cleaned":
        """Count what went into `first` and came out here, of rows that both looked at in turn.

        Args:
            first: Whose rows came in here; it has one row of each record, as before the steps.
        """
        together = pl.concat([first.rejected, self.rejected]).sort(RECORD)
        filtered = first.filtered + self.filtered
        return replace(self, rows_in=first.rows_in, filtered=filtered, rejected=together)


@dataclass(frozen=True)
class _Computed(RowStep):
    """Computes what is aggregated, for the rows that fail there; the rows stay as they are."""

    grouping: Grouping
    reads: frozenset[str] = frozenset()

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Compute and forget."""
        self.grouping.check_rows(rows)
        return rows


@dataclass(frozen=True)
class _Inputs(Shared):
    """Sets rows aside whose values no aggregate can take."""

    step: _Computed

    @property
    def computed(self) -> list[tuple[ScalarExpression, pl.Expr | None]]:
        """What is aggregated."""
        return self.step.grouping.inputs


@dataclass(frozen=True)
class CompiledBatch:
    """The steps of a batch: those of each row, then those of groups over the whole interval.

    Attributes:
        columns: Columns that come, with their types.
        steps: Steps up to the first `aggregate`.
        row_types: Columns after `steps`.
        types: Columns after all steps.
        grouping: The first `aggregate`; None where there is none.
        rest: Steps behind it; they run once, over the groups.
    """

    columns: dict[str, FieldType]
    steps: tuple[BatchStep, ...]
    row_types: dict[str, FieldType]
    types: dict[str, FieldType]
    grouping: Grouping | None = None
    rest: "CompiledBatch | None" = None

    @property
    def calls(self) -> list[PythonCall]:
        """Own functions that the steps call; `Resources.functions` has them by import path."""
        own = [one.step.call.call for one in self._shared() if isinstance(one.step, Call)]
        return own + (self.rest.calls if self.rest else [])

    @property
    def look_ups(self) -> list[CompiledLookUp]:
        """Reference tables of joins; `Resources.tables` has them by the name of their look-up."""
        own = [one.step.look_up for one in self._shared() if isinstance(one.step, LookUp)]
        return own + (self.rest.look_ups if self.rest else [])

    def _shared(self) -> Iterator[Shared]:
        return (step for step in self.steps if isinstance(step, Shared))

    def bind(self, resources: Resources) -> "CompiledBatch":
        """Give the steps what they need from outside."""
        return replace(
            self,
            steps=tuple(step.bind(resources) for step in self.steps),
            rest=self.rest.bind(resources) if self.rest else None,
        )

    def apply(self, rows: pl.DataFrame, first_row: int = 0) -> Cleaned:
        """Apply the steps of each row, up to the first `aggregate`.

        No row raises: what cannot be computed is rejected.

        Args:
            rows: Some rows of a chunk, at least the columns of `columns`, in their types.
            first_row: Place of the first one in the chunk.

        Raises:
            ContractViolationError: A column is not there, or of another type.
            UserFunctionError: An own function is not as it was declared.
        """
        return self.run(self._records(rows, first_row))

    def run(self, rows: pl.DataFrame) -> Cleaned:
        """Apply the steps to rows with `_row`, one a record, in the types of `columns`."""
        current, rejected = rows, [refused()]
        for step in self.steps:
            ran = step.run(current)
            current = ran.rows
            rejected.append(ran.refused)
        bad = pl.concat(rejected).sort(RECORD)
        left = current[RECORD].n_unique()
        return Cleaned(
            rows=current,
            rows_in=rows.height,
            filtered=rows.height - bad.height - left,
            expanded=current.height - left,
            rejected=bad,
        )

    def _records(self, rows: pl.DataFrame, first_row: int) -> pl.DataFrame:
        for name, kind in self.columns.items():
            found = rows.schema.get(name)
            if found != polars_type(kind):
                got = "none" if found is None else f"one of type {found}"
                raise ContractViolationError(
                    f"column `{name}`: expected one of type `{kind}` ({polars_type(kind)}), got "
                    f"{got}; the source has changed, start the run anew"
                )
        places = pl.int_range(first_row, first_row + rows.height, dtype=pl.Int64).alias(RECORD)
        return rows.select(places, *self.columns)

    def group(self, parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Group the clean rows of one chunk into its partial; only with `grouping`.

        Args:
            parts: The `rows` of every `Cleaned` of the chunk.
        """
        return self._grouping().start(parts)

    def combine(self, partials: Iterable[pl.DataFrame]) -> Cleaned:
        """Make the final rows of the partials of all chunks, in any order; only with `grouping`.

        In the result a record is a group, by the order of its key; `rows_in` counts the groups.
        """
        groups, unfit = self._grouping().finish(partials)
        total = groups.height + unfit.height
        if self.rest is None:
            return Cleaned(groups, total, 0, 0, unfit)
        cleaned = self.rest.run(groups)
        rejected = pl.concat([unfit, cleaned.rejected]).sort(RECORD)
        return replace(cleaned, rows_in=total, rejected=rejected)

    def _grouping(self) -> Grouping:
        if self.grouping is None:
            raise ContractViolationError("batch: expected steps with an `aggregate`, got none")
        return self.grouping


def compile_batch(columns: Mapping[str, FieldType], steps: Iterable[EtlStep]) -> CompiledBatch:
    """Compile the steps of a batch; nothing is read or imported.

    Args:
        columns: Columns of the source with their types.
        steps: As the pipeline's file lists them.

    Raises:
        PipelineSpecError: A step does not fit the columns.
    """
    types = dict(columns)
    _check_names(types)
    compiled: list[BatchStep] = []
    waiting = iter(steps)
    for step in waiting:
        if step.aggregate is not None:
            grouping = Grouping.of(step.aggregate, types)
            rest = list(waiting)
            behind = compile_batch(grouping.types, rest) if rest else None
            if behind is not None and behind.grouping is not None:
                raise PipelineSpecError("transform: expected one `aggregate`, got another one")
            compiled.append(_Inputs(_Computed(grouping)))
            final = behind.types if behind else grouping.types
            return CompiledBatch(dict(columns), tuple(compiled), types, final, grouping, behind)
        compiled += _compile(step, types)
        _check_names(types)
    return CompiledBatch(dict(columns), tuple(compiled), types, types)


def _check_names(types: Mapping[str, FieldType]) -> None:
    if RECORD in types:
        raise PipelineSpecError(
            f"transform: expected columns of other names than `{RECORD}`, which every row has; "
            "read the column under another name"
        )


def _compile(step: EtlStep, types: dict[str, FieldType]) -> Iterator[BatchStep]:
    """Compile one step, and bring `types` up to date."""
    try:
        for shared in compile_step(step, types):
            empty = pl.DataFrame(schema={n: polars_type(types[n]) for n in shared.reads})
            if not isinstance(shared, Call | LookUp):
                shared.apply(empty)
            yield Shared(shared)
    except PolarsError as error:
        reason = str(error).splitlines()[0]
        raise PipelineSpecError(
            f"transform: expected constants that fit their types, got one that does not: {reason}"
        ) from error
    columns: dict[str, str] | None = None
    if step.select:
        columns = {name: name for name in step.select}
    elif step.drop:
        columns = {name: name for name in types if name not in step.drop}
    elif step.rename:
        columns = {step.rename.get(name, name): name for name in types}
    if columns is not None:
        yield Choose(tuple(columns.items()))
        chosen = {new: types[old] for new, old in columns.items()}
        types.clear()
        types.update(chosen)
    if step.cast:
        targets = {name: parse_field_type(text) for name, text in step.cast.items()}
        for name, target in targets.items():
            check_cast(types[name], target)
        yield Cast(tuple((name, types[name], target) for name, target in targets.items()))
        types.update(targets)
