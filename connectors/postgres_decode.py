"""Fields that PostgreSQL sent as columns of Arrow; what Arrow cannot hold is told, not guessed."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.errors import FatalError
from connectors.postgres_encode import EPOCH_DAYS, EPOCH_US, LAST_US
from connectors.postgres_field import (
    Bytes8,
    Fields,
    Int32s,
    Int64s,
    places,
)
from connectors.postgres_jit import address
from connectors.postgres_numeric import (
    INFINITE,
    MALFORMED,
    MANY_DIGITS,
    MANY_PLACES,
    MINUS_INFINITE,
    NOT_A_NUMBER,
    read_numerics,
)
from connectors.postgres_split import (
    count_items,
    gather_bytes,
    gather_ints,
    gather_longs,
    split_arrays,
)
from connectors.postgres_type import PostgresType
from connectors.postgres_uuid import TEXT_BYTES, UUID_BYTES, read_uuids

_WIDTHS: Final = {
    "bool": 1,
    "int2": 2,
    "int4": 4,
    "int8": 8,
    "float4": 4,
    "float8": 8,
    "date": 4,
    "timestamp": 8,
    "timestamptz": 8,
    "uuid": UUID_BYTES,
}

NAN: Final = "NaN"
PLUS_INFINITY: Final = "infinity"
MINUS_INFINITY: Final = "-infinity"
TOO_LATE: Final = "later than a timestamp in microseconds reaches"
NESTED: Final = "array of more than one dimension"


@dataclass(frozen=True)
class BadValues:
    """Values of one column that Arrow cannot hold; the column has nulls there.

    Attributes:
        column: Its name.
        reason: What they are: NAN, PLUS_INFINITY, MINUS_INFINITY, TOO_LATE, NESTED, or which bounds
            of a decimal they break. An array is bad when an item of it is.
        rows: Their positions in the batch, ascending.
    """

    column: str
    reason: str
    rows: Int64s


@dataclass(frozen=True)
class _Decoded:
    values: pa.Array
    bad: dict[str, npt.NDArray[np.bool_]]


def column_of(name: str, fields: Fields, kind: PostgresType) -> tuple[pa.Array, list[BadValues]]:
    """Turn fields into a column of `kind.arrow`, and say which values it cannot hold.

    Raises:
        FatalError: The fields are not of that type.
    """
    decoded = _decoded(name, fields, kind)
    bad = [BadValues(name, reason, np.flatnonzero(where)) for reason, where in decoded.bad.items()]
    return decoded.values, bad


def _decoded(name: str, fields: Fields, kind: PostgresType) -> _Decoded:
    if kind.array:
        return _arrays(name, fields, kind)
    width = _WIDTHS.get(kind.kind)
    if width is not None and bool(((fields.size != width) & (fields.size != -1)).any()):
        raise _mismatch(name, kind)
    if kind.kind == "numeric":
        return _numerics(name, fields, kind)
    if kind.kind in ("date", "timestamp", "timestamptz"):
        return _times(fields, kind)
    return _Decoded(_plain(name, fields, kind), {})


def _plain(name: str, fields: Fields, kind: PostgresType) -> pa.Array:
    count = len(fields.size)
    if kind.kind == "uuid":
        target = np.empty(TEXT_BYTES * count, np.uint8)
        read_uuids(*places(fields), address(target))
        return _texts(target, np.where(fields.size < 0, 0, TEXT_BYTES), fields.size < 0, kind)
    if kind.kind == "bool":
        flags = np.zeros(count, np.uint8)
        gather_bytes_of_one(fields, flags)
        bits = np.packbits(flags != 0, bitorder="little")
        return _from_buffers(kind.arrow, fields.size < 0, [pa.py_buffer(bits)])
    if kind.kind in _WIDTHS:
        numbers = _numbers(fields, _WIDTHS[kind.kind])
        return _from_buffers(kind.arrow, fields.size < 0, [pa.py_buffer(numbers)])
    if kind.kind == "jsonb":
        if not (fields.size != 0).all():
            raise _mismatch(name, kind)
        fields = Fields(fields.buffer, fields.start + 1, np.maximum(fields.size - 1, -1))
    sizes = np.maximum(fields.size, 0)
    target = np.empty(int(sizes.sum(dtype=np.int64)), np.uint8)
    gather_bytes(*places(fields), address(target))
    return _texts(target, sizes, fields.size < 0, kind)


def gather_bytes_of_one(fields: Fields, target: Bytes8) -> None:
    """Read one byte a value; what stands for a null stays."""
    present = fields.size >= 0
    target[present] = fields.buffer[fields.start[present]]


def _numbers(fields: Fields, width: int) -> npt.NDArray[Any]:
    """Read big-endian integers of 2, 4 or 8 bytes; their bits may be those of floats."""
    count = len(fields.size)
    if width == 8:
        longs = np.empty(count, np.int64)
        gather_longs(*places(fields), address(longs))
        return longs
    if width == 4:
        ints = np.empty(count, np.int32)
        gather_ints(*places(fields), address(ints))
        return ints
    shorts = np.zeros(count, np.int16)
    present = fields.size >= 0
    start = fields.start[present]
    high, low = fields.buffer[start].astype(np.int16), fields.buffer[start + 1].astype(np.int16)
    shorts[present] = (high << 8) | low
    return shorts


def _times(fields: Fields, kind: PostgresType) -> _Decoded:
    numbers = _numbers(fields, _WIDTHS[kind.kind])
    limits, null = np.iinfo(numbers.dtype), fields.size < 0
    epoch = EPOCH_DAYS if kind.kind == "date" else EPOCH_US
    bad = {
        PLUS_INFINITY: (numbers == limits.max) & ~null,
        MINUS_INFINITY: (numbers == limits.min) & ~null,
    }
    if kind.kind != "date":
        bad[TOO_LATE] = (numbers > LAST_US - EPOCH_US) & (numbers < limits.max) & ~null
    bad = {reason: where for reason, where in bad.items() if where.any()}
    for where in bad.values():
        null |= where
    numbers[null] = 0
    numbers += numbers.dtype.type(epoch)
    return _Decoded(_from_buffers(kind.arrow, null, [pa.py_buffer(numbers)]), bad)


def _numerics(name: str, fields: Fields, kind: PostgresType) -> _Decoded:
    count, (precision, scale) = len(fields.size), kind.decimal
    words, reasons = np.empty(2 * count, np.int64), np.empty(count, np.uint8)
    found = read_numerics(*places(fields), precision, scale, address(words), address(reasons))
    null, bad = fields.size < 0, {}
    if found:
        if (reasons == MALFORMED).any():
            raise _mismatch(name, kind)
        texts = {
            NOT_A_NUMBER: NAN,
            INFINITE: PLUS_INFINITY,
            MINUS_INFINITE: MINUS_INFINITY,
            MANY_DIGITS: f"more digits than decimal({precision},{scale}) holds",
            MANY_PLACES: f"more places than decimal({precision},{scale}) holds",
        }
        bad = {text: reasons == code for code, text in texts.items() if (reasons == code).any()}
        null = null | (reasons != 0)
    return _Decoded(_from_buffers(kind.arrow, null, [pa.py_buffer(words)]), bad)


def _arrays(name: str, fields: Fields, kind: PostgresType) -> _Decoded:
    count = len(fields.size)
    lengths = np.empty(count, np.int32)
    total = count_items(*places(fields), kind.item.oid, address(lengths))
    if (lengths == -3).any():
        raise _mismatch(name, kind)
    items = Fields(fields.buffer, np.empty(total, np.int64), np.empty(total, np.int32))
    broken = split_arrays(
        *places(fields), address(lengths), address(items.start), address(items.size)
    )
    if broken:
        raise _mismatch(name, kind)
    decoded = _decoded(name, items, kind.item)
    offsets = _offsets(np.maximum(lengths, 0), np.int32)
    bad = {reason: _holders(offsets, where) for reason, where in decoded.bad.items()}
    null = fields.size < 0
    if (lengths == -2).any():
        bad[NESTED] = lengths == -2
    for where in bad.values():
        null = null | where
    values = _from_buffers(kind.arrow, null, [pa.py_buffer(offsets)], [decoded.values])
    return _Decoded(values, bad)


def _holders(offsets: npt.NDArray[Any], items: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mark the arrays that hold a marked item."""
    holders = np.searchsorted(offsets, np.flatnonzero(items), side="right") - 1
    marks = np.zeros(len(offsets) - 1, np.bool_)
    marks[holders] = True
    return marks


def _offsets(sizes: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    offsets = np.zeros(len(sizes) + 1, dtype)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def _texts(
    content: Bytes8, sizes: Int32s, null: npt.NDArray[np.bool_], kind: PostgresType
) -> pa.Array:
    buffers = [pa.py_buffer(_offsets(sizes, np.int64)), pa.py_buffer(content)]
    return _from_buffers(kind.arrow, null, buffers)


def _from_buffers(
    kind: pa.DataType,
    null: npt.NDArray[np.bool_],
    buffers: list[pa.Buffer],
    children: list[pa.Array] | None = None,
) -> pa.Array:
    count = int(np.count_nonzero(null))
    valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if count else None
    return pa.Array.from_buffers(
        kind, len(null), [valid, *buffers], null_count=count, children=children
    )


def _mismatch(name: str, kind: PostgresType) -> FatalError:
    return FatalError(
        f"column `{name}` copied from PostgreSQL: expected values of {kind}, got bytes of another "
        "type; read the types of the columns again, the table was changed"
    )
