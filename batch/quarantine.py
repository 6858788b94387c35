"""Rows that were rejected: what they were, and why."""

from collections.abc import Mapping

import orjson
import polars as pl

from batch.cast import as_text, cast_column
from common.errors import ContractViolationError
from contracts.field_dtype import polars_type
from contracts.field_type import FieldType
from streaming.resource import RECORD

QUARANTINE: dict[str, pl.DataType] = {
    "chunk": pl.Int64(),
    "row": pl.Int64(),
    "check": pl.String(),
    "field": pl.String(),
    "reason": pl.String(),
    "content": pl.String(),
}
"""Columns of quarantined rows, one line a row.

`chunk` and `row` say where it was read: number of the chunk, and place in it from 0; `check` is the
name of the check, `contract`, `schema`, `cast`, `step` or `unreadable`; `reason` says what was
expected and what came; `content` is the row as it was extracted, as a JSON object of texts.
"""


def quarantined(rows: list[dict[str, object]]) -> pl.DataFrame:
    """Make a table of rejected rows."""
    return pl.DataFrame(rows, schema=QUARANTINE, orient="row")


def quarantine_records(
    extracted: pl.DataFrame, rejected: pl.DataFrame, types: Mapping[str, FieldType], chunk: int
) -> pl.DataFrame:
    """Make the quarantine of rejected records, with what was extracted.

    Args:
        extracted: Rows as they were read, with `_row`.
        rejected: `_row`, `check`, `field`, `reason`; one line a record, in order.
        types: Columns of the extracted rows with their types.
        chunk: Number of the chunk.
    """
    found = rejected.join(extracted, on=RECORD, how="left", maintain_order="left")
    return rejected.select(
        pl.lit(chunk, dtype=pl.Int64).alias("chunk"),
        pl.col(RECORD).cast(pl.Int64).alias("row"),
        "check",
        "field",
        "reason",
    ).with_columns(content_of(found, types))


def content_of(rows: pl.DataFrame, types: Mapping[str, FieldType]) -> pl.Series:
    """Write rows as JSON objects of texts, or of null."""
    texts = pl.DataFrame([as_text(rows[name], kind) for name, kind in types.items()])
    if not types:
        return pl.Series("content", ["{}"] * rows.height, dtype=pl.String)
    return texts.select(pl.struct(pl.all()).struct.json_encode().alias("content")).to_series()


def released(content: pl.Series, types: Mapping[str, FieldType]) -> pl.DataFrame:
    """Read contents back as the rows that they were written from, exactly.

    Raises:
        ContractViolationError: A content is not of these columns and types.
    """
    schema = pl.Struct({name: pl.String() for name in types})
    texts = content.str.json_decode(schema).struct.unnest()
    columns = [_read(texts[name], kind) for name, kind in types.items()]
    return pl.DataFrame(columns)


def _read(texts: pl.Series, kind: FieldType) -> pl.Series:
    if kind.base == "list" and kind.element is not None:
        element = kind.element
        values = [
            None
            if one is None
            else _read(pl.Series(orjson.loads(one), dtype=pl.String), element).to_list()
            for one in texts
        ]
        return pl.Series(texts.name, values, dtype=polars_type(kind))
    if kind.base == "float64":  # texts of casts have no infinities, rows may
        result = texts.cast(pl.Float64, strict=False)
    else:
        result = cast_column(texts, FieldType("string", nullable=True), kind)
    if (result.is_null() & texts.is_not_null()).any():
        raise ContractViolationError(
            f"quarantine: expected values of type `{kind}` in column `{texts.name}`, got others; "
            "the columns of the source have changed since"
        )
    return result
