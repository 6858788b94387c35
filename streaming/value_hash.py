"""A 64-bit hash of values that is the same on every machine and with every library's version.

A value's canonical form is a sequence of 64-bit words: whole numbers, booleans, dates and
times are one word; floats their bits, with one zero and one NaN; decimals their units in two
words; texts their length in bytes and their bytes, little end first, as on every host that runs
this. Words are mixed one after the other with the finaliser of SplitMix64 (Steele, Lea, Flood
2014).
"""

import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from contracts.field_type import FieldType

Words = npt.NDArray[np.uint64]

MAX_DIRECT_BYTES = 64
"""Texts longer than this are hashed through their BLAKE2b digest of 64 bits."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_WORD_BYTES = 8


def hash_values(values: pl.Series, kind: FieldType) -> Words:
    """Hash values of a field type; what a null hashes to has no meaning.

    Args:
        values: n values of the polars type of `kind`.
        kind: Any type but `json` and `list<T>`.

    Returns:
        uint64 of shape (n,).
    """
    if kind.base in ("string", "uuid"):
        return _hash_texts(values)
    hashed = np.zeros(len(values), np.uint64)
    for words in _words(values, kind):
        hashed = mix(hashed, words)
    return hashed


def mix(hashed: Words, words: Words) -> Words:
    """Mix one more word into each hash."""
    mixed = (hashed ^ words) + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))


def _words(values: pl.Series, kind: FieldType) -> list[Words]:
    if kind.base == "float64":
        floats = values.fill_null(0.0).to_numpy() + 0.0
        return [np.where(np.isnan(floats), np.nan, floats).view(np.uint64)]
    if kind.base == "decimal":
        units = pl.DataFrame([values.to_physical().fill_null(0).alias("v")]).select(
            (pl.col("v") // 2**32 // 2**32).cast(pl.Int64).alias("high"),
            (pl.col("v") % pl.lit(2**64, dtype=pl.Int128)).cast(pl.UInt64).alias("low"),
        )
        return [units["high"].to_numpy().view(np.uint64), units["low"].to_numpy()]
    whole = values.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
    return [whole.view(np.uint64)]


def _hash_texts(values: pl.Series) -> Words:
    texts = values.fill_null("")
    array = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset :][: len(texts) + 1]
    content = array.buffers()[2] or pa.py_buffer(b"")
    size = np.diff(offsets)
    hashed = mix(np.zeros(len(texts), np.uint64), size.astype(np.uint64))
    padded = np.frombuffer(bytes(content) + bytes(_WORD_BYTES), np.uint8)
    left, place = np.where(size > MAX_DIRECT_BYTES, 0, size), offsets[:-1].copy()
    rows = np.flatnonzero(left > 0)
    while rows.size:
        words = _load(padded, place[rows], left[rows])
        hashed[rows] = mix(hashed[rows], words)
        place[rows] += _WORD_BYTES
        left[rows] -= _WORD_BYTES
        rows = rows[left[rows] > 0]
    for row in np.flatnonzero(size > MAX_DIRECT_BYTES):
        digest = hashlib.blake2b(
            padded[offsets[row] : offsets[row + 1]].tobytes(), digest_size=_WORD_BYTES
        ).digest()
        word = np.frombuffer(digest, np.uint64)
        hashed[row : row + 1] = mix(hashed[row : row + 1], word)
    return hashed


def _load(
    content: npt.NDArray[np.uint8], place: npt.NDArray[np.int64], left: npt.NDArray[np.int64]
) -> Words:
    """Load up to eight bytes at each place, the little end first, missing ones as zeros."""
    taken = content[place[:, None] + np.arange(_WORD_BYTES)]
    taken[np.arange(_WORD_BYTES) >= left[:, None]] = 0
    words: Words = taken.view(np.uint64)[:, 0]
    return words
