"""Which key range a group belongs to: a stable hash of its key cuts all groups into equal parts."""

import itertools

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.field_type import FieldType
from streaming.segment import KeySpan
from streaming.value_hash import Words, hash_values, mix

_NULL = np.uint64(0x6E756C6C)
_BITS = 64


def key_hashes(frame: pl.DataFrame, keys: tuple[tuple[str, FieldType], ...]) -> Words:
    """Hash the key of each row; the same on every machine and with every library's version.

    Keys that a group-by takes for one have one hash: both zeros of a float, every NaN.

    Returns:
        uint64 of shape (rows,).
    """
    hashed = np.zeros(frame.height, np.uint64)
    for name, kind in keys:
        values = frame[name]
        words = hash_values(values, kind)
        if values.null_count():
            words = np.where(values.is_null().to_numpy(), _NULL, words)
        hashed = mix(hashed, words)
    return hashed


def ranges_of(hashes: Words, count: int) -> npt.NDArray[np.int64]:
    """Give the key range of each hash, of `count` ranges, a power of two: its highest bits."""
    bits = count.bit_length() - 1
    if not bits:
        return np.zeros(len(hashes), np.int64)
    return (hashes >> np.uint64(_BITS - bits)).astype(np.int64)


def cut(
    frame: pl.DataFrame, keys: tuple[tuple[str, FieldType], ...], span: KeySpan
) -> list[pl.DataFrame]:
    """Cut partials into the key ranges of a span, in its order; rows of other ranges are left out.

    Rows keep their order within a range.
    """
    places = ranges_of(key_hashes(frame, keys), span.count)
    order = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[order], np.arange(span.first, span.stop + 1))
    low, high = int(bounds[0]), int(bounds[-1])
    chosen = frame[order[low:high]]
    return [
        chosen.slice(int(start) - low, int(stop - start))
        for start, stop in itertools.pairwise(bounds)
    ]
