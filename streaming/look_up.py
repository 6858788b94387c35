"""A step that looks rows up in a reference table."""

from dataclasses import dataclass, replace

import polars as pl

from common.errors import ContractViolationError
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.reference_table import look_up_table
from pipelines.transform import Enrich
from streaming.resource import RECORD, Resources, RowsRefusedError


@dataclass(frozen=True)
class CompiledLookUp:
    """A look-up, pinned to a content.

    Attributes:
        keys: Columns of the file that make the key, with the types of what is looked up.
        table: Columns `key_0`, `key_1` … and what is taken; None until it is bound.
    """

    enrich: Enrich
    keys: dict[str, FieldType]
    table: pl.DataFrame | None = None

    @classmethod
    def of(cls, enrich: Enrich, types: dict[str, FieldType]) -> "CompiledLookUp":
        """Compile a look-up; nothing is read."""
        return cls(enrich, {theirs: types[ours] for ours, theirs in enrich.on.items()})

    @property
    def name(self) -> str:
        """Name the table: the same content, key and columns give the same."""
        keys = {name: str(kind) for name, kind in self.keys.items()}
        return f"{self.enrich.model_dump_json()}{keys}"

    def read(self, content: bytes) -> pl.DataFrame:
        """Make the table out of the file's content; raises `PipelineSpecError`."""
        taken = {name: parse_field_type(text) for name, text in self.enrich.take.items()}
        return look_up_table(self.enrich.file, content, self.keys, taken)

    def bind(self, resources: Resources) -> "CompiledLookUp":
        """Take the table."""
        return replace(self, table=resources.tables[self.name])

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add the columns; a null key matches nothing.

        Raises:
            RowsRefusedError: Rows without a match, where there must be one.
        """
        if self.table is None:
            raise ContractViolationError(
                f"reference file `{self.enrich.file}`: expected to be loaded by now"
            )
        columns = list(self.enrich.on)
        right = [f"key_{place}" for place in range(len(columns))]
        if self.enrich.required:
            missing = rows.join(self.table, left_on=columns, right_on=right, how="anti")
            if not missing.is_empty():
                raise RowsRefusedError(self._refusals(missing.select(RECORD, *columns)))
        return rows.join(
            self.table, left_on=columns, right_on=right, how="left", maintain_order="left"
        )

    def _refusals(self, missing: pl.DataFrame) -> dict[int, str]:
        on = ", ".join(self.enrich.on)
        text = f"enrich: expected a row of `{self.enrich.file}` for {on}, got none for "
        return {
            row: text + ", ".join("null" if v is None else f"`{str(v)[:100]}`" for v in values)
            for row, *values in missing.iter_rows()
        }
