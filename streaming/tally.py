"""Lists of what was counted per bucket, one list a group: the partials of several aggregates.

A list holds each bucket once, in ascending order, with sums that are exact. So lists of the same
events are equal whatever the order and the cuts in which the events were counted.
"""

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

BUCKET, COUNT = "bucket", "n"

_ROW = "_row"
_SUM = pl.Decimal(38, 0)


def tally(lists: pl.Series, sums: tuple[str, ...] = ()) -> pl.Series:
    """Bring lists into their one form: each bucket once, ascending, counts and sums added up.

    Args:
        lists: Lists of plain buckets, each counting once, or of structs of `bucket`, `n` and sums;
            null buckets do not count.
        sums: Names of sums beside `n`, integers or decimals without places, in all of 38 digits.

    Examples:
        >>> tally(pl.Series("a", [[3, 1, 3, None], []])).to_list()
        [[{'bucket': 1, 'n': 1}, {'bucket': 3, 'n': 2}], []]
    """
    row, entries = flatten(lists)
    entries = entries.with_columns(pl.Series(_ROW, row)).filter(pl.col(BUCKET).is_not_null())
    totals = [pl.col(name).cast(pl.Int128).sum().cast(_SUM) for name in sums]
    groups = entries.group_by(_ROW, BUCKET).agg(pl.col(COUNT).sum(), *totals).sort(_ROW, BUCKET)
    bounds = np.searchsorted(groups[_ROW].to_numpy(), np.arange(len(lists) + 1))
    return as_lists(lists.name, bounds, groups.select(pl.struct(pl.exclude(_ROW))).to_series())


def flatten(lists: pl.Series) -> tuple[npt.NDArray[np.int64], pl.DataFrame]:
    """Give the entries of all lists, one row each, and the place of the list that each is from."""
    flat = lists.explode(empty_as_null=False)
    row = np.repeat(np.arange(len(lists), dtype=np.int64), lists.list.len().to_numpy())
    if isinstance(flat.dtype, pl.Struct):
        return row, flat.struct.unnest()
    ones = pl.Series(COUNT, np.ones(len(flat), np.int64))
    return row, pl.DataFrame([flat.alias(BUCKET), ones])


def as_lists(name: str, bounds: npt.NDArray[np.int64], flat: pl.Series) -> pl.Series:
    """Cut values into lists at the bounds, of which there is one more than lists."""
    # `pa.array` would import pandas, in the middle of a workflow.
    offsets = pa.Array.from_buffers(
        pa.int64(), len(bounds), [None, pa.py_buffer(bounds.astype(np.int64, copy=False))]
    )
    listed = pa.LargeListArray.from_arrays(offsets, flat.to_arrow())
    return pl.Series(name, listed, dtype=pl.List(flat.dtype))
