"""Arrow columns over the words that the kernel wrote; most of them share the kernel's memory."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.field_type import FieldType

Longs = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


def null_mask(valid: Bytes | None) -> pa.Buffer | None:
    """Pack marks of valid rows into Arrow's bitmap; None where every row is valid."""
    if valid is None or bool(valid.all()):
        return None
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def narrow_column(kind: FieldType, words: Longs, valid: Bytes | None) -> pa.Array:
    """Make a column of one word per row.

    Args:
        kind: Type of the field.
        words: int64 (rows); the bits, for floats.
        valid: uint8 (rows), 0 is null; None where null is not allowed.
    """
    target: pa.DataType
    data: npt.NDArray[np.generic] = words
    match kind.base:
        case "int32":
            target, data = pa.int32(), words.astype(np.int32)
        case "float64":
            target = pa.float64()
        case "bool":
            target, data = pa.bool_(), np.packbits(words.astype(np.uint8), bitorder="little")
        case "date":
            target, data = pa.date32(), words.astype(np.int32)
        case "timestamp" | "timestamp_ms":
            target = pa.timestamp("ms", "UTC")
        case _:
            target = pa.int64()
    return pa.Array.from_buffers(target, len(words), [null_mask(valid), pa.py_buffer(data)])


def wide_column(
    kind: FieldType, words: Longs, valid: Bytes | None, texts: tuple[Bytes, Bytes]
) -> pa.Array:
    """Make a column of two words per row: a decimal, or text as views into `texts`.

    The column keeps `texts` alive.

    Args:
        kind: Type of the field.
        words: int64 (rows, 2).
        valid: uint8 (rows), 0 is null; None where null is not allowed.
        texts: The block's bytes, and those of texts that had to be rewritten.
    """
    buffers = [null_mask(valid), pa.py_buffer(words)]
    if kind.base == "decimal":
        return pa.Array.from_buffers(pa.decimal128(kind.precision, kind.scale), len(words), buffers)
    buffers += [pa.py_buffer(text) for text in texts]
    return pa.Array.from_buffers(pa.string_view(), len(words), buffers)
