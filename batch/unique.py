"""Keys that occur more than once in a batch: exact, in as many passes as memory needs.

Every chunk gives a table of its keys, with the number of the pass that each key belongs to, by a
stable hash. A pass looks at the keys of that number of all chunks; equal keys always meet. A key
with a null in it is equal to nothing, as in SQL.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from contracts.field_type import FieldType
from streaming.key_hash import key_hashes
from streaming.resource import RECORD

PASS, CHUNK, PLACE, CURSOR = "_pass", "_chunk", "_place", "_cursor"

REPEATED: dict[str, pl.DataType] = {
    CHUNK: pl.Int64(),
    PLACE: pl.Int64(),
    RECORD: pl.Int64(),
    "key": pl.String(),
    "kept": pl.Boolean(),
}
"""Columns of rows whose key occurs more than once."""

KEYS_PER_PASS = 2_000_000
"""About how many keys one pass should hold in memory."""


@dataclass(frozen=True)
class UniqueCheck:
    """A key that must be unique.

    Attributes:
        keys: Columns with their types; none is a float, a list or json.
        cursor: Column whose greater value is newer; None goes by the order of the rows.
        passes: Into how many passes keys are cut, the same for all chunks of a run.
    """

    keys: tuple[tuple[str, FieldType], ...]
    cursor: str | None = None
    passes: int = 1

    @property
    def _names(self) -> list[str]:
        return [f"key_{place}" for place in range(len(self.keys))]

    def keys_of(self, rows: pl.DataFrame, chunk: int, first_place: int = 0) -> pl.DataFrame:
        """Give the keys of clean rows, those with a null left out.

        Args:
            rows: Clean rows with `_row`.
            chunk: Number of their chunk.
            first_place: Place of the first among the clean rows of the chunk.

        Returns:
            `_pass`, `_chunk`, `_place`, `_row`, `_cursor` where there is one, `key_0` …
        """
        hashes = key_hashes(rows, self.keys)
        cursor = [pl.col(self.cursor).alias(CURSOR)] if self.cursor else []
        named = [
            pl.col(name).alias(key) for (name, _), key in zip(self.keys, self._names, strict=True)
        ]
        found = rows.select(
            pl.Series(PASS, hashes % self.passes).cast(pl.Int32),
            pl.lit(chunk, dtype=pl.Int64).alias(CHUNK),
            pl.int_range(first_place, first_place + rows.height, dtype=pl.Int64).alias(PLACE),
            pl.col(RECORD),
            *cursor,
            *named,
        )
        return found.drop_nulls(self._names)

    def repeated(self, keys: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Find the rows whose key occurs more than once, in one pass.

        Args:
            keys: What `keys_of` gave for this pass, of all chunks.

        Returns:
            As `REPEATED`, by chunk and place; of the rows of a key one is `kept`: the one with the
            greatest cursor (null is the least), of equal ones the last by chunk and place.
        """
        tables = list(keys)
        if not tables:
            return pl.DataFrame(schema=REPEATED)
        together = pl.concat(tables)
        twice = together.filter(pl.struct(self._names).is_duplicated())
        order = [CURSOR, CHUNK, PLACE] if self.cursor else [CHUNK, PLACE]
        ranked = twice.sort(order, nulls_last=False).with_columns(
            (pl.int_range(pl.len()).reverse() == 0).over(self._names).alias("kept")
        )
        text = pl.concat_str([pl.col(n).cast(pl.String) for n in self._names], separator=", ")
        return ranked.select(CHUNK, PLACE, RECORD, text.alias("key"), "kept").sort(CHUNK, PLACE)
