"""Decoding of JSON records by declared fields: a block of bytes becomes columns and dead letters.

What is read, beyond RFC 8259: unknown fields are ignored but must be JSON; of a key that comes
twice the last one counts; half a surrogate pair is refused; nesting ends at 128 levels. Integers
are digits only (`1.0` and `1e3` are none), decimals may have an exponent and trailing zeros as long
as the value is exact, floats are rounded correctly. A `json` field keeps its text as it came, null
in it is a null. A number never passes through a float on its way to an integer or a decimal.

What a sink would refuse later is refused here: times outside of the years 1901 to 2298, text with
U+0000, and in `json` fields numbers of more than 4,000 characters or an exponent beyond ±4,000.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from common.errors import FatalError, PipelineSpecError
from contracts.field_type import FieldType
from streaming import json_code as code
from streaming.json_column import Bytes, Longs, narrow_column, wide_column
from streaming.json_list import ELEMENT, wrap_elements
from streaming.json_reason import ahead_reason, field_reason, syntax_reason
from streaming.json_record import decode_block
from streaming.json_table import Room, build_table
from streaming.record_block import RecordBlock

OFFSET = "_offset"
TIMESTAMP = "_timestamp_ms"
INSTANTS = ("timestamp_ms", "timestamp")
MAX_BUFFER_BYTES = 2**31 - 1
ENDLESS = 2**63 - 1


@dataclass(frozen=True)
class DeadRow:
    """A record that could not be read.

    Attributes:
        row: Index of the record in its block.
        offset: Its offset in the log.
        error: Why, in words for an operator.
        error_field: The first declared field that breaks its type (the elements of lists are looked
            at after all other fields), empty if the value is no JSON object.
    """

    row: int
    offset: int
    error: str
    error_field: str


@dataclass(frozen=True)
class Decoded:
    """A block after decoding; every record is in exactly one of the two.

    Attributes:
        rows: Good records in log order: the wanted fields in declared order, `_offset` and
            `_timestamp_ms` (the record's own time), both int64. Text may point into the block's
            buffer and keep it alive.
        dead: Bad records in log order.
    """

    rows: pl.DataFrame
    dead: list[DeadRow]


class RecordDecoder:
    """Decodes the records of one stream; keeps no state, so any thread may use it."""

    def __init__(
        self,
        fields: dict[str, FieldType],
        wanted: set[str],
        event_time_field: str | None = None,
        max_ahead_ms: int | None = None,
    ) -> None:
        """Prepare the tables of a specification.

        Args:
            fields: Declared fields; all of them are checked in every record.
            wanted: Fields that become columns.
            event_time_field: Field of type timestamp or timestamp_ms that no record may lack.
            max_ahead_ms: An event time further than this after "now" is a dead letter; None allows
                any.

        Raises:
            PipelineSpecError: A name is not declared or is reserved, or the event time is of
                another type.
        """
        _check_spec(fields, wanted, event_time_field)
        self._fields = fields
        self._wanted = wanted
        self._names = list(fields)
        self._kinds = list(fields.values())
        self._event_time_field = event_time_field
        self._event_index = -1 if event_time_field is None else self._names.index(event_time_field)
        self._max_ahead_ms = max_ahead_ms
        self._table = build_table(fields, wanted)
        self._elements = {
            index: RecordDecoder({ELEMENT: kind.element or FieldType("string")}, {ELEMENT})
            for index, kind in enumerate(self._kinds)
            if kind.base == "list"
        }

    def decode(self, block: RecordBlock, now_ms: int) -> Decoded:
        """Decode a block of less than 2 GiB.

        Args:
            block: The records.
            now_ms: The clock that `max_ahead_ms` is measured from; the record's own time replaces
                it where the broker set that (`log_append_time`).

        Raises:
            ValueError: The block's arrays do not fit together.
        """
        columns, row_of, dead = self._columns(block, now_ms)
        columns.append(_series(OFFSET, pa.array(block.offset[row_of])))
        columns.append(_series(TIMESTAMP, pa.array(block.timestamp_ms[row_of])))
        rows = pl.DataFrame(columns)
        if len(rows) + len(dead) != len(block):
            raise FatalError(
                f"decoding of {block.topic}-{block.partition}: expected {len(block)} records, "
                f"got {len(rows)} rows and {len(dead)} dead letters; report this as a bug"
            )
        return Decoded(rows, dead)

    def _columns(
        self, block: RecordBlock, now_ms: int
    ) -> tuple[list[pl.Series], Longs, list[DeadRow]]:
        """Decode; the wanted columns, the block's row of each of their rows, and the dead."""
        text, start, size = _checked(block)
        room = Room(self._table, len(size), int(np.maximum(size, 0).sum(dtype=np.int64)))
        table = self._table
        latest_ms = self._latest_ms(block, now_ms)
        count, used, float_count = decode_block(
            text.ctypes.data, len(text), start.ctypes.data, size.ctypes.data, latest_ms.ctypes.data,
            len(size), self._event_index, *table.addresses(), *room.addresses(),
        )  # fmt: skip
        row_of = room.row_of[:count]
        dead = {
            int(row): self._kernel_death(block, room, int(row), now_ms)
            for row in np.flatnonzero(room.verdict)
        }
        late_dead = self._finish_floats(block, text, room, float_count)
        columns: list[pl.Series] = []
        texts = (text, room.scratch[:used].copy())
        for index, name in enumerate(self._names):
            if table.schema[index, code.SLOT] < 0:
                continue
            if index in self._elements:
                column, bad = self._list_column(block, text, room, index, row_of)
                for death in bad:
                    late_dead.setdefault(death.row, death)
            else:
                column = _plain_column(self._kinds[index], table.schema[index], room, count, texts)
            if name in self._wanted:
                columns.append(_series(name, column))
        if late_dead:
            dead |= late_dead
            keep = ~np.isin(row_of, np.fromiter(late_dead, dtype=np.int64))
            columns = [column.filter(pl.Series(keep)) for column in columns]
            row_of = row_of[keep]
        return columns, row_of, [dead[row] for row in sorted(dead)]

    def _latest_ms(self, block: RecordBlock, now_ms: int) -> Longs:
        """Latest event time that each record may have."""
        if self._max_ahead_ms is None:
            return np.full(len(block), ENDLESS, dtype=np.int64)
        if block.log_append_time:
            return block.timestamp_ms.astype(np.int64) + self._max_ahead_ms
        return np.full(len(block), now_ms + self._max_ahead_ms, dtype=np.int64)

    def _kernel_death(self, block: RecordBlock, room: Room, row: int, now_ms: int) -> DeadRow:
        verdict = int(room.verdict[row])
        index = int(room.fault_field[row])
        value = block.value(row) or b""
        at = int(room.fault_at[row] - block.value_start[row])
        if index < 0:
            return self._death(block, row, syntax_reason(verdict, value, at), "")
        name, kind = self._names[index], self._kinds[index]
        if verdict == code.TOO_FAR_AHEAD:
            clock_ms = int(block.timestamp_ms[row]) if block.log_append_time else now_ms
            ahead_ms = int(room.fault_at[row]) - clock_ms
            error = ahead_reason(name, ahead_ms, self._max_ahead_ms or 0)
        else:
            error = field_reason(verdict, name, kind, value, at)
        return self._death(block, row, error, name)

    def _finish_floats(
        self, block: RecordBlock, text: Bytes, room: Room, count: int
    ) -> dict[int, DeadRow]:
        """Round the floats that the kernel could not decide; gives those out of range."""
        dead: dict[int, DeadRow] = {}
        for out, index, at, size in room.floats[:count].tolist():
            number = float(text[at : at + size].tobytes())
            row = int(room.row_of[out])
            if np.isinf(number):
                start = int(block.value_start[row])
                reason = field_reason(
                    code.OUT_OF_RANGE,
                    self._names[index],
                    self._kinds[index],
                    block.value(row) or b"",
                    at - start,
                )
                dead.setdefault(row, self._death(block, row, reason, self._names[index]))
            elif (slot := int(self._table.schema[index, code.SLOT])) >= 0:
                room.words[slot, out] = np.float64(number).view(np.int64)
        return dead

    def _list_column(
        self, block: RecordBlock, text: Bytes, room: Room, index: int, row_of: Longs
    ) -> tuple[pa.Array, list[DeadRow]]:
        """Decode a field's lists; those with a bad element come out shortened, and dead."""
        table = self._table.schema[index]
        spans = room.wide[table[code.SLOT], : len(row_of)]
        into, start, size, count = wrap_elements(text, spans[:, 0].copy(), spans[:, 1].copy())
        inner = _elements_block(into, start, size)
        columns, good, bad = self._elements[index]._columns(inner, 0)  # noqa: SLF001 (its own class)
        list_of = np.repeat(np.arange(len(row_of)), count)
        left = np.bincount(list_of[good], minlength=len(row_of))
        offsets = np.concatenate([[0], np.cumsum(left)]).astype(np.int64)
        valid = _valid(table, room, len(row_of))
        mask = None if valid is None else pa.array(valid == 0)
        elements = columns[0].to_arrow(compat_level=pl.CompatLevel.newest())
        column = pa.LargeListArray.from_arrays(pa.array(offsets), elements, mask=mask)
        name = self._names[index]
        first = np.cumsum(count) - count
        dead: list[DeadRow] = []
        for death in bad:
            place = int(list_of[death.row])
            path = f"{name}[{death.row - int(first[place])}]"
            error = death.error.replace(f"`{ELEMENT}", f"`{path}", 1)
            dead.append(self._death(block, int(row_of[place]), error, name))
        return column, dead

    @staticmethod
    def _death(block: RecordBlock, row: int, error: str, field: str) -> DeadRow:
        return DeadRow(row, int(block.offset[row]), error, field)


def warm_up() -> None:
    """Compile the kernel, or load its machine code from the cache; later decoders start at once."""
    fields = {
        "time": FieldType("timestamp_ms"),
        "tags": FieldType("list", element=FieldType("int64")),
    }
    RecordDecoder(fields, {"time", "tags"}, "time", 0).decode(
        _block_of(b'{"time":0,"tags":[1]}'), 0
    )


def _check_spec(fields: dict[str, FieldType], wanted: set[str], event_time: str | None) -> None:
    for name in sorted(wanted - fields.keys()):
        raise PipelineSpecError(f"field `{name}`: expected a declared field, got one that is none")
    for name in (OFFSET, TIMESTAMP):
        if name in fields:
            raise PipelineSpecError(f"field `{name}`: the name is reserved, choose another one")
    if event_time is not None and (
        event_time not in fields or fields[event_time].base not in INSTANTS
    ):
        found = fields.get(event_time, "no such field")
        raise PipelineSpecError(
            f"event time `{event_time}`: expected a field of type timestamp_ms or timestamp, "
            f"got {found}"
        )


def _checked(block: RecordBlock) -> tuple[Bytes, Longs, npt.NDArray[np.int32]]:
    """Prove that every value lies in the buffer, for the kernel does not look.

    Returns:
        Buffer, starts and sizes as the kernel wants them.
    """
    text = np.ascontiguousarray(block.buffer, dtype=np.uint8)
    start = np.require(block.value_start, np.int64, ["C", "A"])
    size = np.require(block.value_size, np.int32, ["C", "A"])
    if len({len(start), len(size), len(block.offset), len(block.timestamp_ms)}) > 1:
        raise ValueError("record block: expected arrays of one length, got different ones")
    held = size > 0
    if len(text) > MAX_BUFFER_BYTES or np.any(
        held
        & ((start < 0) | (start > len(text) - np.minimum(size, len(text) + 1).astype(np.int64)))
    ):
        raise ValueError(
            f"record block: expected values within a buffer of at most {MAX_BUFFER_BYTES} bytes, "
            f"got some outside its {len(text)}"
        )
    return text, start, size


def _series(name: str, column: pa.Array) -> pl.Series:
    series = pl.from_arrow(column)
    assert isinstance(series, pl.Series)  # noqa: S101 (an array gives a series)
    return series.alias(name)


def _valid(schema: Longs, room: Room, count: int) -> Bytes | None:
    place = int(schema[code.VALID])
    return None if place < 0 else room.valid[place, :count]


def _plain_column(
    kind: FieldType, schema: Longs, room: Room, count: int, texts: tuple[Bytes, Bytes]
) -> pa.Array:
    valid = _valid(schema, room, count)
    if schema[code.KIND] <= code.DECIMAL:
        return wide_column(kind, room.wide[schema[code.SLOT], :count], valid, texts)
    return narrow_column(kind, room.words[schema[code.SLOT], :count], valid)


def _elements_block(buffer: Bytes, start: Longs, size: npt.NDArray[np.int32]) -> RecordBlock:
    zeros = np.zeros(len(start), dtype=np.int64)
    none = np.full(len(start), -1, dtype=np.int32)
    return RecordBlock("", 0, buffer, zeros, zeros, start, size, zeros, none)


def _block_of(value: bytes) -> RecordBlock:
    size = np.array([len(value)], dtype=np.int32)
    buffer = np.frombuffer(bytearray(value), dtype=np.uint8)
    return _elements_block(buffer, np.zeros(1, dtype=np.int64), size)
