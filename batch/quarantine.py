"""Rows that were rejected: what they were, and why."""

import polars as pl

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
