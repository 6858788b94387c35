"""Tables that tell the kernel what fields a record has, and the room that it writes columns to."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.field_type import FieldType
from streaming import json_code as code
from streaming.json_record import name_hash

_KINDS = {
    "string": code.STRING,
    "uuid": code.UUID,
    "json": code.JSON,
    "list": code.LIST,
    "decimal": code.DECIMAL,
    "timestamp": code.TIMESTAMP,
    "date": code.DATE,
    "bool": code.BOOL,
    "int32": code.INT32,
    "int64": code.INT64,
    "timestamp_ms": code.TIMESTAMP_MS,
    "float64": code.FLOAT64,
}


@dataclass(frozen=True)
class FieldTable:
    """Declared fields as arrays.

    Attributes:
        schema: int64 (fields, SCHEMA_COLUMNS); a slot is -1 where nothing is materialised.
        names: uint8, all names in UTF-8, one after the other.
        lookup: int32, open-addressing hash table from name to field; -1 is empty.
        word_slots, wide_slots, valid_slots: How many columns of one word, of two words, and of null
            marks there are.
        float_count: How many fields are floats.
    """

    schema: npt.NDArray[np.int64]
    names: npt.NDArray[np.uint8]
    lookup: npt.NDArray[np.int32]
    word_slots: int
    wide_slots: int
    valid_slots: int
    float_count: int

    def addresses(self) -> tuple[int, ...]:
        """Give the kernel's arguments, in its order."""
        return (
            self.schema.ctypes.data, len(self.schema), self.names.ctypes.data,
            self.lookup.ctypes.data, len(self.lookup),
        )  # fmt: skip


def build_table(fields: dict[str, FieldType], wanted: set[str]) -> FieldTable:
    """Lay out the fields; lists always get a column, for their elements are checked later."""
    schema = np.zeros((len(fields), code.SCHEMA_COLUMNS), dtype=np.int64)
    names = b""
    lookup = np.full(1 << max(len(fields) * 4, 4).bit_length(), -1, dtype=np.int32)
    slots = [0, 0]
    valid_slots = 0
    for index, (name, kind) in enumerate(fields.items()):
        raw = name.encode()
        number = _KINDS[kind.base]
        slot = valid = -1
        if name in wanted or number == code.LIST:
            wide = int(number <= code.DECIMAL)
            slot = slots[wide]
            slots[wide] += 1
            if kind.nullable:
                valid = valid_slots
                valid_slots += 1
        schema[index] = (
            number, slot, kind.nullable, valid, kind.precision or 0, kind.scale or 0, len(names),
            len(raw),
        )  # fmt: skip
        names += raw
        place = name_hash(raw) % len(lookup)
        while lookup[place] >= 0:
            place = (place + 1) % len(lookup)
        lookup[place] = index
    return FieldTable(
        schema=schema,
        names=np.frombuffer(bytearray(names), dtype=np.uint8),
        lookup=lookup,
        word_slots=slots[0],
        wide_slots=slots[1],
        valid_slots=valid_slots,
        float_count=sum(kind.base == "float64" for kind in fields.values()),
    )


class Room:
    """Arrays that the kernel fills for `row_count` records with `byte_count` bytes of values."""

    def __init__(self, table: FieldTable, row_count: int, byte_count: int) -> None:
        """Allocate; pages that the kernel never touches cost nothing."""
        field_count = len(table.schema)
        self.words = np.empty((table.word_slots, row_count), dtype=np.int64)
        self.wide = np.empty((table.wide_slots, row_count, 2), dtype=np.int64)
        self.valid = np.empty((table.valid_slots, row_count), dtype=np.uint8)
        self.scratch = np.empty(byte_count, dtype=np.uint8)
        self.floats = np.empty((table.float_count * row_count, code.FLOAT_COLUMNS), dtype=np.int64)
        self.row_of = np.empty(row_count, dtype=np.int64)
        self.verdict = np.empty(row_count, dtype=np.int32)
        self.fault_field = np.empty(row_count, dtype=np.int32)
        self.fault_at = np.empty(row_count, dtype=np.int64)
        self.state = np.empty(field_count, dtype=np.int32)
        self.state_at = np.empty(field_count, dtype=np.int64)
        self.memo = np.zeros((code.MEMO_ROWS, code.MEMO_COLUMNS), dtype=np.int64)
        self.stack = np.zeros(code.MAX_DEPTH + 1, dtype=np.uint8)

    def addresses(self) -> tuple[int, ...]:
        """Give the kernel's arguments, in its order; they hold as long as this object lives."""
        arrays: tuple[npt.NDArray[np.generic], ...] = (
            self.words, self.wide, self.valid, self.scratch, self.floats,
            self.row_of, self.verdict, self.fault_field, self.fault_at,
            self.state, self.state_at, self.memo, self.stack,
        )  # fmt: skip
        return tuple(array.ctypes.data for array in arrays)
