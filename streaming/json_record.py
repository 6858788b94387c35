"""Kernel for blocks of JSON records: one pass over the bytes, driven by tables of fields."""
# ruff: noqa: C901, PLR0912, PLR0913, PLR0915, PLR1714
# A kernel is one flat machine over bytes: every call and every cleverer comparison costs speed.

from collections.abc import Callable

import numpy as np

from streaming import (
    json_code,
    json_jit,
    json_limit,
    json_number,
    json_text,
    json_time,
    json_value,
)
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
    FLOAT_COLUMNS,
    FLOAT_FIELD,
    FLOAT_ROW,
    FLOAT_SIZE,
    KIND,
    MEMO_COLUMNS,
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
    SCHEMA_COLUMNS,
    SLOT,
    TOO_FAR_AHEAD,
    TRAILING,
    UNKNOWN,
    VALID,
)
from streaming.json_jit import (
    Bytes,
    Ints,
    Longs,
    byte_at,
    byte_pointer,
    called,
    entry,
    fingerprint,
    inlined,
    int64,
    int_pointer,
    long_pointer,
    word_at,
)
from streaming.json_text import (
    CLOSE_BRACE,
    COLON,
    COMMA,
    OPEN_BRACE,
    QUOTE,
    any_string_end,
    peek,
    skip_space,
    unescape,
)
from streaming.json_value import MASKS, UNFINISHED, read_value

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
def same(text: Bytes, limit: int, a: int, b: int, size: int) -> bool:
    """Compare two runs of bytes, both wholly before `limit`."""
    i = 0
    while i + 8 <= size:
        if word_at(text, a + i) != word_at(text, b + i):
            return False
        i += 8
    if i == size:
        return True
    if max(a, b) + i + 8 <= limit:
        return bool((word_at(text, a + i) ^ word_at(text, b + i)) & MASKS[size - i] == np.uint64(0))
    while i < size:
        if byte_at(text, a + i) != byte_at(text, b + i):
            return False
        i += 1
    return True


@called
def find_field(
    text: Bytes, at: int, size: int, schema: Longs, names: Bytes, table: Ints, mask: int
) -> int:
    """Index of the field of that name, or UNKNOWN; `mask` is the table's size less 1."""
    value = FNV_START
    for i in range(size):
        value = (value ^ np.uint64(byte_at(text, at + i))) * FNV_PRIME
    place = int64(value & np.uint64(mask))
    while table[place] >= 0:
        field = int64(table[place])
        if schema[field * SCHEMA_COLUMNS + NAME_SIZE] == size:
            start = schema[field * SCHEMA_COLUMNS + NAME_START]
            i = 0
            while i < size and names[start + i] == byte_at(text, at + i):
                i += 1
            if i == size:
                return field
        place = (place + 1) & mask
    return UNKNOWN


@called
def new_key(
    text: Bytes,
    at: int,
    end: int,
    schema: Longs,
    names: Bytes,
    table: Ints,
    mask: int,
    scratch: Bytes,
    used: int,
) -> tuple[int, int, int]:
    """Read a key; position of its closing quote, OK or why it is none, and its field."""
    close, why = any_string_end(text, at, end)
    if why > ESCAPED:
        return close, why, UNKNOWN
    if why == ESCAPED:
        size = unescape(text, at, close, scratch, used) - used
        return close, OK, find_field(scratch, used, size, schema, names, table, mask)
    return close, OK, find_field(text, at, close - at, schema, names, table, mask)


@called
def drop_floats(floats: Longs, first: int, count: int, field: int) -> int:
    """Forget unfinished floats of a field that came twice in one record; the count that is left."""
    kept = first
    for i in range(first, count):
        if floats[i * FLOAT_COLUMNS + FLOAT_FIELD] != field:
            for j in range(FLOAT_COLUMNS):
                floats[kept * FLOAT_COLUMNS + j] = floats[i * FLOAT_COLUMNS + j]
            kept += 1
    return kept


@inlined
def read_record(
    text: Bytes, limit: int, at: int, end: int, out: int, row_count: int, event_field: int,
    schema: Longs, names: Bytes, table: Ints, mask: int,
    words: Longs, wide: Longs, scratch: Bytes, used: int, floats: Longs, float_count: int,
    state: Ints, state_at: Longs, memo: Longs, stack: Bytes,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """Read one record into row `out`.

    Returns:
        OK or why it is no JSON object; where; event time; what is used of `scratch` and `floats`.
    """
    event_ms = int64(0)
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
        size = memo[place * MEMO_COLUMNS + MEMO_SIZE]
        if 0 < size <= end - at and same(
            text, limit, at, memo[place * MEMO_COLUMNS + MEMO_START], size
        ):
            field = memo[place * MEMO_COLUMNS + MEMO_FIELD]
            at += size
        else:
            close, why, field = new_key(text, at, end, schema, names, table, mask, scratch, used)
            if why != OK:
                return why, close, event_ms, used, float_count
            memo[place * MEMO_COLUMNS + MEMO_START] = at
            memo[place * MEMO_COLUMNS + MEMO_SIZE] = close + 1 - at
            memo[place * MEMO_COLUMNS + MEMO_FIELD] = field
            at = close + 1
        ordinal += 1
        at = skip_space(text, at, end)
        c = peek(text, at, end)
        if c != COLON:
            return CUT_SHORT if c < 0 else EXPECTED_COLON, at, event_ms, used, float_count
        at = skip_space(text, at + 1, end)
        kind = int64(UNKNOWN)
        precision = int64(0)
        scale = int64(0)
        if field >= 0:
            kind = schema[field * SCHEMA_COLUMNS + KIND]
            precision = schema[field * SCHEMA_COLUMNS + PRECISION]
            scale = schema[field * SCHEMA_COLUMNS + SCALE]
        start = at
        at, why, now, low, high, used = read_value(
            text, limit, at, end, kind, precision, scale, scratch, used, stack
        )
        if why != OK:
            return why, at, event_ms, used, float_count
        if field >= 0:
            if state[field] != ABSENT and float_count > first_float:
                float_count = drop_floats(floats, first_float, float_count, field)
            if now == UNFINISHED:
                floats[float_count * FLOAT_COLUMNS + FLOAT_ROW] = out
                floats[float_count * FLOAT_COLUMNS + FLOAT_FIELD] = field
                floats[float_count * FLOAT_COLUMNS + FLOAT_AT] = start
                floats[float_count * FLOAT_COLUMNS + FLOAT_SIZE] = at - start
                float_count += 1
                now = OK
            state[field] = now
            state_at[field] = start
            if field == event_field:
                event_ms = low
            slot = schema[field * SCHEMA_COLUMNS + SLOT]
            if slot >= 0:
                if kind <= DECIMAL:
                    wide[2 * (slot * row_count + out)] = low
                    wide[2 * (slot * row_count + out) + 1] = high
                else:
                    words[slot * row_count + out] = low
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
    out: int, row_count: int, event_field: int, event_ms: int, latest_ms: int, schema: Longs,
    field_count: int, words: Longs,
    wide: Longs, valid: Bytes, state: Ints,
) -> tuple[int, int]:  # fmt: skip
    """Judge a record's fields in declared order, fill in nulls; OK or a verdict, and the field."""
    for field in range(field_count):
        now = state[field]
        good = now == OK
        if not good:
            if now != NULL and now != ABSENT:
                return int64(now), field
            if field == event_field:
                return NO_EVENT_TIME, field
            if schema[field * SCHEMA_COLUMNS + NULLABLE] == 0:
                return NULL_FIELD if now == NULL else MISSING, field
            slot = schema[field * SCHEMA_COLUMNS + SLOT]
            if slot >= 0:
                if schema[field * SCHEMA_COLUMNS + KIND] <= DECIMAL:
                    wide[2 * (slot * row_count + out)] = 0
                    wide[2 * (slot * row_count + out) + 1] = 0
                else:
                    words[slot * row_count + out] = 0
        place = schema[field * SCHEMA_COLUMNS + VALID]
        if place >= 0:
            valid[place * row_count + out] = good
    if event_field >= 0 and event_ms > latest_ms:
        return TOO_FAR_AHEAD, event_field
    return OK, UNKNOWN


_SOURCE = fingerprint(
    json_code, json_jit, json_text, json_limit, json_number, json_time, json_value
)


def _decode_block(source: str) -> Callable[..., tuple[int, int, int]]:
    @entry
    def decode_block(
        text_address: int, text_size: int, start_address: int, size_address: int,
        latest_address: int,
        row_count: int, event_field: int,
        schema_address: int, field_count: int, names_address: int, table_address: int,
        table_size: int,
        words_address: int, wide_address: int, valid_address: int, scratch_address: int,
        floats_address: int,
        row_of_address: int, verdict_address: int, fault_field_address: int, fault_at_address: int,
        state_address: int, state_at_address: int, memo_address: int, stack_address: int,
    ) -> tuple[int, int, int]:  # fmt: skip
        text = byte_pointer(text_address)
        value_start = long_pointer(start_address)
        value_size = int_pointer(size_address)
        latest_ms = long_pointer(latest_address)
        schema = long_pointer(schema_address)
        names = byte_pointer(names_address)
        table = int_pointer(table_address)
        mask = table_size - 1
        words = long_pointer(words_address)
        wide = long_pointer(wide_address)
        valid = byte_pointer(valid_address)
        scratch = byte_pointer(scratch_address)
        floats = long_pointer(floats_address)
        row_of = long_pointer(row_of_address)
        verdict = int_pointer(verdict_address)
        fault_field = int_pointer(fault_field_address)
        fault_at = long_pointer(fault_at_address)
        state = int_pointer(state_address)
        state_at = long_pointer(state_at_address)
        memo = long_pointer(memo_address)
        stack = byte_pointer(stack_address)
        out = 0
        used = 0 * len(source)
        float_count = 0
        for row in range(row_count):
            size = int64(value_size[row])
            at = value_start[row]
            field = int64(UNKNOWN)
            if size <= 0:
                code = int64(NULL_VALUE if size < 0 else EMPTY_VALUE)
            else:
                for i in range(field_count):
                    state[i] = ABSENT
                code, fault, event_ms, now_used, now_floats = read_record(
                    text, text_size, at, at + size, out, row_count, event_field, schema, names,
                    table, mask,
                    words, wide, scratch, used, floats, float_count, state, state_at, memo, stack,
                )  # fmt: skip
                if code == OK:
                    code, field = check_fields(
                        out, row_count, event_field, event_ms, latest_ms[row],
                        schema, field_count, words, wide, valid, state,
                    )  # fmt: skip
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
"""Decode a block into arrays as `json_table` makes them.

Gives the counts of good rows, used bytes of scratch and unfinished floats."""
