"""Kernel for blocks of JSON records: one pass over the bytes, driven by tables of the declared fields."""
# ruff: noqa: C901, PLR0911, PLR0912, PLR0913, PLR2004 (a kernel is one flat machine over bytes; calls and names cost what it saves)

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from streaming import json_code, json_number, json_text, json_time, json_value
from streaming.json_code import (
    ABSENT,
    CUT_SHORT,
    DECIMAL,
    EMPTY_VALUE,
    ESCAPED,
    EXPECTED_COLON,
    EXPECTED_COMMA,
    EXPECTED_KEY,
    FLOAT_AT,
    FLOAT_FIELD,
    FLOAT_ROW,
    FLOAT_SIZE,
    KIND,
    MEMO_FIELD,
    MEMO_ROWS,
    MEMO_SIZE,
    MEMO_START,
    MISSING,
    NAME_SIZE,
    NAME_START,
    NO_EVENT_TIME,
    NOT_OBJECT,
    NULL,
    NULL_FIELD,
    NULL_VALUE,
    NULLABLE,
    OK,
    PRECISION,
    SCALE,
    SLOT,
    TOO_FAR_AHEAD,
    TRAILING,
    UNKNOWN,
    VALID,
)
from streaming.json_jit import byte_at, called, entry, fingerprint, inlined, word_at
from streaming.json_text import (
    CLOSE_BRACE,
    COLON,
    COMMA,
    OPEN_BRACE,
    QUOTE,
    Bytes,
    any_string_end,
    peek,
    skip_space,
    unescape,
)
from streaming.json_value import MASKS, UNFINISHED, read_value

Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]

HASH_START = 0xCBF29CE484222325
HASH_PRIME = 0x100000001B3
FNV_START = np.uint64(HASH_START)
FNV_PRIME = np.uint64(HASH_PRIME)


def name_hash(name: bytes) -> int:
    """Hash a field's name (FNV-1a, 64 bits), as the kernel does."""
    value = HASH_START
    for byte in name:
        value = (value ^ byte) * HASH_PRIME % 2**64
    return value


@inlined
def same(text: Bytes, a: int, b: int, size: int) -> bool:
    """Compare two runs of bytes, both wholly inside `text`."""
    i = 0
    while i + 8 <= size:
        if word_at(text, a + i) != word_at(text, b + i):
            return False
        i += 8
    if i == size:
        return True
    if max(a, b) + i + 8 <= len(text):
        return (word_at(text, a + i) ^ word_at(text, b + i)) & MASKS[size - i] == np.uint64(0)
    while i < size:
        if byte_at(text, a + i) != byte_at(text, b + i):
            return False
        i += 1
    return True


@called
def find_field(text: Bytes, at: int, size: int, schema: Longs, names: Bytes, table: Ints) -> int:
    """Index of the field of that name, or UNKNOWN. The table's size is a power of two and it has empty places."""
    value = FNV_START
    for i in range(size):
        value = (value ^ np.uint64(byte_at(text, at + i))) * FNV_PRIME
    place = np.int64(value & np.uint64(len(table) - 1))
    while table[place] >= 0:
        field = np.int64(table[place])
        if schema[field, NAME_SIZE] == size:
            start = schema[field, NAME_START]
            i = 0
            while i < size and names[start + i] == byte_at(text, at + i):
                i += 1
            if i == size:
                return field
        place = (place + 1) & (len(table) - 1)
    return UNKNOWN


@called
def new_key(
    text: Bytes, at: int, end: int, schema: Longs, names: Bytes, table: Ints, scratch: Bytes, used: int
) -> tuple[int, int, int]:
    """Read a key from its first byte on; position of its closing quote, OK or why it is none, and its field."""
    close, why = any_string_end(text, at, end)
    if why > ESCAPED:
        return close, why, UNKNOWN
    if why == ESCAPED:
        size = unescape(text, at, close, scratch, used) - used
        return close, OK, find_field(scratch, used, size, schema, names, table)
    return close, OK, find_field(text, at, close - at, schema, names, table)


@called
def drop_floats(floats: Longs, first: int, count: int, field: int) -> int:
    """Forget unfinished floats of a field that came twice in one record; the count that is left."""
    kept = first
    for i in range(first, count):
        if floats[i, FLOAT_FIELD] != field:
            floats[kept] = floats[i]
            kept += 1
    return kept


@inlined
def read_record(
    text: Bytes, at: int, end: int, out: int, event_field: int, schema: Longs, names: Bytes, table: Ints,
    words: Longs, wide: npt.NDArray[np.int64], scratch: Bytes, used: int, floats: Longs, float_count: int,
    state: Ints, state_at: Longs, memo: Longs, stack: Bytes,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """Read one record into row `out`; OK or why it is no JSON object, where, event time, uses of scratch and floats."""
    event_ms = np.int64(0)
    first_float = float_count
    at = skip_space(text, at, end)
    c = peek(text, at, end)
    if c != OPEN_BRACE:
        return EMPTY_VALUE if c < 0 else NOT_OBJECT, at, event_ms, used, float_count
    at = skip_space(text, at + 1, end)
    ordinal = 0
    if peek(text, at, end) == CLOSE_BRACE:
        ordinal = -1
        at += 1
    while ordinal >= 0:
        c = peek(text, at, end)
        if c != QUOTE:
            return CUT_SHORT if c < 0 else EXPECTED_KEY, at, event_ms, used, float_count
        at += 1
        place = ordinal & (MEMO_ROWS - 1)
        size = memo[place, MEMO_SIZE]
        if 0 < size <= end - at and same(text, at, memo[place, MEMO_START], size):
            field = memo[place, MEMO_FIELD]
            at += size
        else:
            close, why, field = new_key(text, at, end, schema, names, table, scratch, used)
            if why != OK:
                return why, close, event_ms, used, float_count
            memo[place, MEMO_START] = at
            memo[place, MEMO_SIZE] = close + 1 - at
            memo[place, MEMO_FIELD] = field
            at = close + 1
        ordinal += 1
        at = skip_space(text, at, end)
        c = peek(text, at, end)
        if c != COLON:
            return CUT_SHORT if c < 0 else EXPECTED_COLON, at, event_ms, used, float_count
        at = skip_space(text, at + 1, end)
        kind = np.int64(UNKNOWN)
        precision = np.int64(0)
        scale = np.int64(0)
        if field >= 0:
            kind = schema[field, KIND]
            precision = schema[field, PRECISION]
            scale = schema[field, SCALE]
        start = at
        at, why, now, low, high, used = read_value(
            text, at, end, kind, precision, scale, scratch, used, stack
        )
        if why != OK:
            return why, at, event_ms, used, float_count
        if field >= 0:
            if state[field] != ABSENT and float_count > first_float:
                float_count = drop_floats(floats, first_float, float_count, field)
            if now == UNFINISHED:
                floats[float_count, FLOAT_ROW] = out
                floats[float_count, FLOAT_FIELD] = field
                floats[float_count, FLOAT_AT] = start
                floats[float_count, FLOAT_SIZE] = at - start
                float_count += 1
                now = OK
            state[field] = now
            state_at[field] = start
            if field == event_field:
                event_ms = low
            slot = schema[field, SLOT]
            if slot >= 0:
                if kind <= DECIMAL:
                    wide[slot, out, 0] = low
                    wide[slot, out, 1] = high
                else:
                    words[slot, out] = low
        at = skip_space(text, at, end)
        c = peek(text, at, end)
        at += 1
        if c == CLOSE_BRACE:
            break
        if c != COMMA:
            return CUT_SHORT if c < 0 else EXPECTED_COMMA, at - 1, event_ms, used, float_count
        at = skip_space(text, at, end)
    at = skip_space(text, at, end)
    return OK if at == end else TRAILING, at, event_ms, used, float_count


@inlined
def check_fields(
    out: int, event_field: int, event_ms: int, latest_ms: int, schema: Longs, words: Longs,
    wide: npt.NDArray[np.int64], valid: Bytes, state: Ints,
) -> tuple[int, int]:  # fmt: skip
    """Judge the fields of one record in declared order and fill in nulls; OK or what is wrong, and the field."""
    for field in range(len(schema)):
        now = state[field]
        good = now == OK
        if not good:
            if now != NULL and now != ABSENT:
                return np.int64(now), field
            if field == event_field:
                return NO_EVENT_TIME, field
            if schema[field, NULLABLE] == 0:
                return NULL_FIELD if now == NULL else MISSING, field
            slot = schema[field, SLOT]
            if slot >= 0:
                if schema[field, KIND] <= DECIMAL:
                    wide[slot, out, 0] = 0
                    wide[slot, out, 1] = 0
                else:
                    words[slot, out] = 0
        place = schema[field, VALID]
        if place >= 0:
            valid[place, out] = good
    if event_field >= 0 and event_ms > latest_ms:
        return TOO_FAR_AHEAD, event_field
    return OK, UNKNOWN


_SOURCE = fingerprint(json_code, json_text, json_number, json_time, json_value)


def _decode_block(source: str) -> Callable[..., tuple[int, int, int]]:
    @entry
    def decode_block(
        text: Bytes, value_start: Longs, value_size: Ints, latest_ms: Longs, event_field: int,
        schema: Longs, names: Bytes, table: Ints,
        words: Longs, wide: npt.NDArray[np.int64], valid: Bytes, scratch: Bytes, floats: Longs, row_of: Longs,
        verdict: Ints, fault_field: Ints, fault_at: Longs,
        state: Ints, state_at: Longs, memo: Longs, stack: Bytes,
    ) -> tuple[int, int, int]:  # fmt: skip
        out = 0
        used = 0 * len(source)
        float_count = 0
        for row in range(len(value_size)):
            size = np.int64(value_size[row])
            at = value_start[row]
            field = np.int64(UNKNOWN)
            if size <= 0:
                code = np.int64(NULL_VALUE if size < 0 else EMPTY_VALUE)
            else:
                for i in range(len(state)):
                    state[i] = ABSENT
                code, fault, event_ms, now_used, now_floats = read_record(
                    text, at, at + size, out, event_field, schema, names, table,
                    words, wide, scratch, used, floats, float_count, state, state_at, memo, stack,
                )  # fmt: skip
                if code == OK:
                    code, field = check_fields(
                        out, event_field, event_ms, latest_ms[row], schema, words, wide, valid, state
                    )
                    if code == OK:
                        row_of[out] = row
                        out += 1
                        used = now_used
                        float_count = now_floats
                    elif code == TOO_FAR_AHEAD:
                        fault = event_ms
                    else:
                        fault = state_at[field] if state[field] != ABSENT else at
                at = fault
            verdict[row] = code
            fault_field[row] = field
            fault_at[row] = at
        return out, used, float_count

    return decode_block


decode_block = _decode_block(_SOURCE)
