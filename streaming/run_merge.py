"""Partials of overlapping runs of rows, each merged from few blocks instead of all of its rows.

Rows are merged in pairs, the pairs in pairs, and so on. A run of n rows is covered by at most
2 log2(n) of these blocks, so that windows that overlap share most of the work.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from streaming.aggregate import Aggregate

_RUN, _BLOCK = "_run", "_block"

Integers = npt.NDArray[np.int64]


def merge_runs(
    aggregates: Sequence[Aggregate],
    rows: pl.DataFrame,
    order: Integers,
    begins: Integers,
    ends: Integers,
) -> pl.DataFrame:
    """Merge runs of rows.

    Args:
        aggregates: What the partials belong to.
        rows: Partials.
        order: Row numbers in the order in which the runs are given.
        begins: First place of each run in that order.
        ends: Place after the last one of each run; runs are not empty.

    Returns:
        One row of partials for each run, in their order.
    """
    blocks = rows[order]
    runs = np.arange(len(begins), dtype=np.int64)
    low, high = begins, ends
    pieces: list[pl.DataFrame] = []
    while len(runs):
        odd_low, odd_high = (low & 1) == 1, (high & 1) == 1
        for takes, places in ((odd_low, low), (odd_high, high - 1)):
            if takes.any():
                numbers = pl.Series(_RUN, runs[takes])
                pieces.append(blocks[places[takes]].with_columns(numbers))
        low, high = (low + odd_low) >> 1, high >> 1
        left = low < high
        runs, low, high = runs[left], low[left], high[left]
        if len(runs):
            blocks = _merge(aggregates, blocks, np.arange(blocks.height, dtype=np.int64) >> 1)
    if not pieces:
        return rows.clear()
    copies = pl.concat(pieces)
    return _merge(aggregates, copies.drop(_RUN), copies[_RUN].to_numpy())


def _merge(aggregates: Sequence[Aggregate], rows: pl.DataFrame, groups: Integers) -> pl.DataFrame:
    """Merge rows of the same group; groups come out in order of their number."""
    merges = [expression for aggregate in aggregates for expression in aggregate.merge()]
    merged = rows.with_columns(pl.Series(_BLOCK, groups)).group_by(_BLOCK).agg(*merges)
    merged = merged.with_columns(s for aggregate in aggregates for s in aggregate.settle(merged))
    return merged.sort(_BLOCK).drop(_BLOCK)
