"""Columns of Arrow as the fields that PostgreSQL takes; nothing is rounded, cut or guessed."""

from collections.abc import Callable
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.errors import ContractViolationError
from connectors.postgres_field import (
    JSONB_VERSION,
    NO_LEAD,
    Bytes8,
    Fields,
    Int32s,
    Int64s,
    write_arrays,
)
from connectors.postgres_jit import address
from connectors.postgres_numeric import SLOT_BYTES, write_numerics
from connectors.postgres_type import TEXTS, PostgresType
from connectors.postgres_uuid import UUID_BYTES, write_uuids

EPOCH_DAYS: Final = 10_957
EPOCH_US: Final = EPOCH_DAYS * 86_400_000_000
"""PostgreSQL counts from 2000, Arrow from 1970."""

FIRST_DAY, LAST_DAY = -2_451_545 + EPOCH_DAYS, 2_145_031_948 + EPOCH_DAYS
"""24 November 4714 BC to 31 December 5874897."""

FIRST_US, LAST_US = -211_813_488_000_000_000 + EPOCH_US, 2**63 - 1
"""24 November 4714 BC to what Arrow counts, shortly before PostgreSQL's end in the year 294276."""

_MAX_FIELD_BYTES = 2**30 - 1

_is = pa.types


def _is_text(kind: pa.DataType) -> bool:
    return bool(_is.is_string(kind) or _is.is_large_string(kind) or _is.is_string_view(kind))


def _is_octets(kind: pa.DataType) -> bool:
    whole = (_is.is_binary, _is.is_large_binary, _is.is_binary_view, _is.is_fixed_size_binary)
    return any(member(kind) for member in whole)


def _is_uuid(kind: pa.DataType) -> bool:
    return _is_text(kind) or bool(_is.is_fixed_size_binary(kind) and kind.byte_width == UUID_BYTES)


def _is_zoned(kind: pa.DataType) -> bool:
    return bool(_is.is_timestamp(kind) and kind.tz is not None)


def _is_local(kind: pa.DataType) -> bool:
    return bool(_is.is_timestamp(kind) and kind.tz is None)


def _is_single(kind: pa.DataType) -> bool:
    return bool(_is.is_float16(kind) or _is.is_float32(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(_is.is_decimal(kind) or _is.is_integer(kind))


_TAKEN: Final[dict[str, Callable[[pa.DataType], bool]]] = {
    "bool": _is.is_boolean,
    "bytea": _is_octets,
    "int2": _is.is_integer,
    "int4": _is.is_integer,
    "int8": _is.is_integer,
    "float4": _is_single,
    "float8": _is.is_floating,
    "date": _is.is_date,
    "timestamp": _is_local,
    "timestamptz": _is_zoned,
    "numeric": _is_number,
    "uuid": _is_uuid,
} | dict.fromkeys(TEXTS, _is_text)
"""What each kind takes from Arrow."""

_NUMBERS: Final[dict[str, npt.DTypeLike]] = {
    "int2": np.int16,
    "int4": np.int32,
    "int8": np.int64,
    "float4": np.int32,
    "float8": np.int64,
    "date": np.int32,
    "timestamp": np.int64,
    "timestamptz": np.int64,
}
"""Integers whose bits are sent."""


def fields_of(name: str, values: pa.Array, kind: PostgresType) -> Fields:
    """Turn a column into fields.

    Args:
        name: Of the column, for messages.
        values: Any Arrow type that the kind holds without loss; dictionaries and null columns too.
        kind: Of the table's column.

    Raises:
        ContractViolationError: The column is of another family, or a value does not fit.
    """
    values = _dense(values, kind)
    if kind.array:
        return _arrays(name, values, kind)
    if not _TAKEN[kind.kind](values.type):
        _refuse(name, f"a column for {kind}", str(values.type))
    if kind.kind in _NUMBERS:
        return _numbers(name, values, kind)
    if kind.kind == "numeric":
        return _decimals(name, values, kind)
    if kind.kind == "bool":
        return _fixed(_flags(values), 1, values)
    if kind.kind == "uuid":
        return _uuids(name, values)
    fields = _texts(name, values, JSONB_VERSION if kind.kind == "jsonb" else NO_LEAD)
    if kind.kind in TEXTS:
        _check_text(name, fields)
    return fields


def _dense(values: pa.Array, kind: PostgresType) -> pa.Array:
    """Undo what only Arrow knows: extensions, dictionaries, columns that are null throughout."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if _is.is_dictionary(values.type):
        values = values.dictionary_decode()
    return pa.nulls(len(values), kind.arrow) if _is.is_null(values.type) else values


def _flags(values: pa.Array) -> Bytes8:
    """Unpack bits to bytes of 0 and 1."""
    packed = _part_of_bits(values)
    bits = np.unpackbits(packed, bitorder="little")
    first = values.offset % 8
    return np.ascontiguousarray(bits[first : first + len(values)])


def _part_of_bits(values: pa.Array) -> Bytes8:
    buffer = values.buffers()[1]
    if buffer is None or not len(values):
        return np.zeros(len(values) // 8 + 1, np.uint8)
    stop = (values.offset + len(values) + 7) // 8
    return np.frombuffer(buffer, np.uint8)[values.offset // 8 : stop]


def nulls_of(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Mark the nulls."""
    mask: npt.NDArray[np.bool_] = values.is_null().to_numpy(zero_copy_only=False)
    return mask


def _sizes(values: pa.Array, size: int) -> Int32s:
    sizes = np.full(len(values), size, np.int32)
    if values.null_count:
        sizes[nulls_of(values)] = -1
    return sizes


def _fixed(content: Bytes8, width: int, values: pa.Array) -> Fields:
    start = np.arange(0, width * len(values), width, dtype=np.int64)
    return Fields(content, start, _sizes(values, width))


def _part(values: pa.Array, dtype: npt.DTypeLike, each: int = 1) -> npt.NDArray[Any]:
    """See the numbers of a column without its nulls."""
    buffer = values.buffers()[1]
    if buffer is None or not len(values):
        return np.zeros(each * len(values), dtype)
    start, stop = each * values.offset, each * (values.offset + len(values))
    return np.frombuffer(buffer, dtype)[start:stop]


def _cast(name: str, values: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return values if values.type == kind else values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ContractViolationError(
            f"column `{name}`: expected values that fit {kind}, got {values.type}: {error}; "
            "widen the type"
        ) from error


def _numbers(name: str, values: pa.Array, kind: PostgresType) -> Fields:
    numbers = _part(_cast(name, values, kind.arrow), _NUMBERS[kind.kind])
    if kind.kind == "date":
        _check_range(name, values, numbers, FIRST_DAY, LAST_DAY)
        numbers = numbers - np.int32(EPOCH_DAYS)
    elif kind.kind.startswith("timestamp"):
        _check_range(name, values, numbers, FIRST_US, LAST_US)
        numbers = numbers - np.int64(EPOCH_US)
    return _fixed(numbers.byteswap().view(np.uint8), numbers.itemsize, values)


def _check_range(
    name: str, values: pa.Array, numbers: npt.NDArray[Any], first: int, last: int
) -> None:
    wrong = (numbers < first) | (numbers > last)
    if values.null_count:
        wrong &= ~nulls_of(values)
    if wrong.any():
        _refuse(
            name,
            "times from 4714 BC on",
            f"{np.count_nonzero(wrong)} others, such as {numbers[wrong][0]} since 1970",
        )


def _decimals(name: str, values: pa.Array, kind: PostgresType) -> Fields:
    if kind.precision is not None:
        decimals = _cast(name, values, kind.arrow)
    elif _is.is_integer(values.type):
        decimals = _cast(name, values, pa.decimal128(38, 0))
    else:
        decimals = _cast(name, values, pa.decimal128(38, max(values.type.scale, 0)))
    sizes = _sizes(decimals, 0)
    target = np.empty(SLOT_BYTES * len(values), np.uint8)
    words = _part(decimals, np.int64, 2)
    write_numerics(
        address(words), len(values), decimals.type.scale, address(target), address(sizes)
    )
    return Fields(target, np.arange(0, len(target), SLOT_BYTES, dtype=np.int64), sizes)


def _uuids(name: str, values: pa.Array) -> Fields:
    if _is.is_fixed_size_binary(values.type):
        return _fixed(_part(values, np.uint8, UUID_BYTES), UUID_BYTES, values)
    texts = _texts(name, values, NO_LEAD)
    target, sizes = np.empty(UUID_BYTES * len(values), np.uint8), texts.size.copy()
    wrong = write_uuids(
        address(texts.buffer), address(texts.start), address(sizes), len(values), address(target)
    )
    if wrong >= 0:
        _refuse(name, "texts that are UUIDs", f"{values[wrong].as_py()[:60]!r}")
    return Fields(target, np.arange(0, len(target), UUID_BYTES, dtype=np.int64), sizes)


def _texts(name: str, values: pa.Array, lead: int) -> Fields:
    kind = values.type
    if _is.is_string_view(kind) or _is.is_binary_view(kind) or _is.is_fixed_size_binary(kind):
        values = _cast(name, values, pa.large_binary())
    wide = _is.is_large_string(values.type) or _is.is_large_binary(values.type)
    offsets, content = _offsets(values, wide=wide), values.buffers()[2]
    sizes = np.diff(offsets)
    if len(sizes) and int(sizes.max()) > _MAX_FIELD_BYTES:
        _refuse(name, f"values of at most {_MAX_FIELD_BYTES} bytes", f"one of {int(sizes.max())}")
    size = sizes.astype(np.int32)
    if values.null_count:
        size[nulls_of(values)] = -1
    buffer = np.zeros(0, np.uint8) if content is None else np.frombuffer(content, np.uint8)
    return Fields(buffer, offsets[:-1], size, lead)


def _offsets(values: pa.Array, *, wide: bool) -> Int64s:
    buffer = values.buffers()[1]
    if buffer is None or not len(values):
        return np.zeros(len(values) + 1, np.int64)
    offsets = np.frombuffer(buffer, np.int64 if wide else np.int32)
    return offsets[values.offset : values.offset + len(values) + 1].astype(np.int64, copy=False)


def _check_text(name: str, fields: Fields) -> None:
    if not len(fields.size):
        return
    first, end = int(fields.start[0]), int((fields.start + np.maximum(fields.size, 0)).max())
    content = fields.buffer[first:end]
    if not len(content) or content.min() > 0:
        return
    zeros = first + np.flatnonzero(content == 0)
    holders = np.searchsorted(fields.start, zeros, side="right") - 1
    if (fields.size[holders] > zeros - fields.start[holders]).any():
        raise ContractViolationError(
            f"column `{name}`: expected text without U+0000, got some with it; "
            "PostgreSQL cannot store that character, filter or replace it in the pipeline"
        )


def _arrays(name: str, values: pa.Array, kind: PostgresType) -> Fields:
    if _is.is_fixed_size_list(values.type):
        values = _cast(name, values, pa.large_list(values.type.value_type))
    if not (_is.is_list(values.type) or _is.is_large_list(values.type)):
        _refuse(name, f"lists for {kind}", str(values.type))
    offsets = _offsets(values, wide=_is.is_large_list(values.type))
    items = values.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    fields = fields_of(name, items, kind.item)
    nulls = np.ascontiguousarray(nulls_of(values)).view(np.uint8)
    arrays = write_arrays(offsets - offsets[0], nulls, fields, kind.item.oid)
    if len(arrays.size) and int(np.diff(offsets).max()) > _MAX_FIELD_BYTES // 4:
        _refuse(name, "arrays that PostgreSQL holds", "a longer one")
    return arrays


def _refuse(name: str, expected: str, got: str) -> NoReturn:
    raise ContractViolationError(
        f"column `{name}`: expected {expected}, got {got}; correct the type or filter the rows"
    )
