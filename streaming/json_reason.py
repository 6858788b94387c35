"""Why a record is a dead letter, in words for an operator."""

from contracts.field_type import FieldType
from streaming import json_code as code

SHOWN_CHARACTERS = 40

_NOT_JSON = {
    code.CUT_SHORT: "it ends too early",
    code.EXPECTED_VALUE: "expected a value",
    code.EXPECTED_KEY: "expected a key in double quotes",
    code.EXPECTED_COLON: "expected `:` after the key",
    code.EXPECTED_COMMA: "expected `,` or a closing bracket",
    code.TRAILING: "expected nothing after the object",
    code.CONTROL_CHARACTER: "a control character in a string must be escaped",
    code.BAD_ESCAPE: "unknown escape in a string",
    code.LONE_SURROGATE: "half a surrogate pair stands for no character",
    code.BAD_UTF8: "the bytes are not UTF-8",
    code.BAD_NUMBER: "malformed number",
    code.TOO_DEEP: f"nested deeper than {code.MAX_DEPTH} levels",
}

_EXPECTED = {
    "string": "text",
    "int32": "an integer between -2147483648 and 2147483647, without point or exponent",
    "int64": "an integer of 64 bits, without point or exponent",
    "float64": "a number within the range of 64-bit floats",
    "bool": "true or false",
    "timestamp_ms": "an integer of milliseconds since 1970 in the years 1901 to 2298",
    "timestamp": "an ISO 8601 time with zone in the years 1901 to 2298",
    "date": "a date written YYYY-MM-DD in the years 1901 to 2298",
    "uuid": "a UUID of 36 characters",
    "json": "a JSON value",
}

_DETAIL = {
    code.TOO_MANY_PLACES: ", which has too many decimal places",
    code.TOO_MANY_DIGITS: ", which has too many digits",
    code.NO_ZONE: ", which has no time zone",
    code.OUT_OF_RANGE: ", which is out of range",
    code.TIME_OUT_OF_RANGE: ", which is out of range",
    code.HUGE_NUMBER: ", which holds a number of too many digits",
}


def syntax_reason(verdict: int, value: bytes, at: int) -> str:
    """Say why a value is no JSON object; `at` is the byte within the value."""
    if verdict == code.NULL_VALUE:
        return "the record has no value (null): expected a JSON object"
    if verdict == code.EMPTY_VALUE:
        return "the record's value is empty: expected a JSON object"
    if verdict == code.NOT_OBJECT:
        return f"expected a JSON object, got {cut(value[at:])}"
    found = f", got {cut(value[at : at + 12])}" if at < len(value) else ""
    return f"not valid JSON at byte {at}: {_NOT_JSON[verdict]}{found}"


def field_reason(verdict: int, name: str, kind: FieldType, value: bytes, at: int) -> str:
    """Say what is wrong with a field; `at` is the first byte of its value within the record's."""
    expected = expected_words(kind)
    if verdict == code.MISSING:
        return f"`{name}` is missing: expected {expected}"
    if verdict == code.NULL_FIELD:
        return f"`{name}` is null: expected {expected}"
    if verdict == code.NO_EVENT_TIME:
        return f"`{name}` is null or missing: every record needs an event time"
    if verdict == code.ZERO_CHARACTER:
        return (
            f"`{name}` must not hold U+0000, PostgreSQL cannot store it: "
            f"expected {expected} without, got {value_text(value, at)}"
        )
    return f"`{name}` must be {expected}, got {value_text(value, at)}{_DETAIL.get(verdict, '')}"


def ahead_reason(name: str, ahead_ms: int, max_ahead_ms: int) -> str:
    """Say how far an event time lies in the future."""
    return (
        f"`{name}` lies {ahead_ms / 1000:,.3f} s in the future: "
        f"at most {max_ahead_ms / 1000:,.3f} s are allowed (`event_time.max_ahead`)"
    )


def expected_words(kind: FieldType) -> str:
    """Describe the values of a type."""
    if kind.base == "decimal":
        return f"a number that is exactly a decimal({kind.precision},{kind.scale})"
    if kind.base == "list":
        return f"a list of {kind.element}"
    return _EXPECTED[kind.base]


def value_text(value: bytes, at: int) -> str:
    """Show the JSON value that begins at byte `at`, cut to a bounded length."""
    piece = value[at : at + 4 * SHOWN_CHARACTERS]
    if piece[:1] == b'"':
        end = 1
        while end < len(piece) and piece[end] != ord('"'):
            end += 2 if piece[end] == ord("\\") else 1
        return cut(piece[: end + 1])
    if piece[:1] in (b"{", b"["):
        return cut(piece)
    end = next((i for i, byte in enumerate(piece) if byte in b",}] \t\r\n"), len(piece))
    return cut(piece[:end])


def cut(piece: bytes) -> str:
    """Show text, cut to a bounded length."""
    text = piece.decode(errors="replace")
    shown = (
        text[:SHOWN_CHARACTERS].encode("unicode_escape").decode()
        if not text.isprintable()
        else text[:SHOWN_CHARACTERS]
    )
    return shown + ("…" if len(text) > SHOWN_CHARACTERS else "")
