"""Distinct integers of groups as sorted lists, all groups in one sort."""

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

INTEGERS = ("int32", "int64")
"""Types whose distinct values are found here; those of others are found group by group."""

_MOST = 2**62


def distinct_lists(lists: pl.Series) -> pl.Series:
    """Make every list of integers ascending and free of repetitions and nulls.

    Group and value are sorted as one number, which takes a third of the time of a sort per group.

    Examples:
        >>> distinct_lists(pl.Series("a", [[3, 1, 3, None], [], [-2]])).to_list()
        [[1, 3], [], [-2]]
    """
    flat = lists.explode(empty_as_null=False)
    if flat.null_count():
        lists = lists.list.drop_nulls()
        flat = lists.explode(empty_as_null=False)
    if flat.is_empty():
        return lists
    values = flat.to_numpy().astype(np.int64, copy=False)
    low = int(values.min())
    span = int(values.max()) - low + 1
    if span * len(lists) > _MOST:
        return lists.list.unique().list.sort()
    group = np.arange(len(lists), dtype=np.int64) * span - low
    pairs = values + np.repeat(group, lists.list.len().to_numpy())
    pairs.sort()
    first = np.empty(len(pairs), np.bool_)
    first[0] = True
    np.not_equal(pairs[1:], pairs[:-1], out=first[1:])
    pairs = pairs[first]
    bounds = np.searchsorted(pairs, np.arange(len(lists) + 1, dtype=np.int64) * span)
    pairs -= np.repeat(group + low, np.diff(bounds)) - low
    listed = pa.LargeListArray.from_arrays(_arrow(bounds), _arrow(pairs))
    return pl.Series(lists.name, listed, dtype=lists.dtype)


def _arrow(values: npt.NDArray[np.int64]) -> pa.Array:
    # `pa.array` would import pandas, in the middle of a workflow.
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])
