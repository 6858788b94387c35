"""Numbers that kernels and Python agree on: kinds of fields, columns of tables, verdicts."""

# Kinds of fields. Those up to DECIMAL fill two words per row, the others one.
UNKNOWN = -1
STRING = 0
UUID = 1
JSON = 2
LIST = 3
DECIMAL = 4
TIMESTAMP = 5
DATE = 6
BOOL = 7
INT32 = 8
INT64 = 9
TIMESTAMP_MS = 10
FLOAT64 = 11

# Columns of the schema table, one row per field.
KIND = 0
SLOT = 1
NULLABLE = 2
VALID = 3
PRECISION = 4
SCALE = 5
NAME_START = 6
NAME_SIZE = 7
SCHEMA_COLUMNS = 8

# Columns of the table of floats that Python has to finish.
FLOAT_ROW = 0
FLOAT_FIELD = 1
FLOAT_AT = 2
FLOAT_SIZE = 3
FLOAT_COLUMNS = 4

# Columns of the memory of the previous record's keys.
MEMO_START = 0
MEMO_SIZE = 1
MEMO_FIELD = 2
MEMO_COLUMNS = 3
MEMO_ROWS = 128

MAX_DEPTH = 128
MIN_TIME_MS = -2_177_452_800_000
MAX_TIME_MS = 10_382_255_999_999
DAY_MS = 86_400_000
MIN_DAY = MIN_TIME_MS // DAY_MS
MAX_DAY = MAX_TIME_MS // DAY_MS
"""1901-01-01 to 2298-12-31: ClickHouse holds 1900 to 2299, and windows reach beyond events."""
MAX_NUMBER_BYTES = 4_000
MAX_POWER = 4_000
"""Bounds of a number within a `json` field: PostgreSQL's jsonb holds 131,072 digits and 16,383
places.
"""

# Verdicts on a string or value while it is read.
OK = 0
ESCAPED = 1
ABSENT = 2
NULL = 3

# The record is no JSON object.
NULL_VALUE = 10
EMPTY_VALUE = 11
NOT_OBJECT = 12
CUT_SHORT = 13
EXPECTED_VALUE = 14
EXPECTED_KEY = 15
EXPECTED_COLON = 16
EXPECTED_COMMA = 17
TRAILING = 18
CONTROL_CHARACTER = 19
BAD_ESCAPE = 20
LONE_SURROGATE = 21
BAD_UTF8 = 22
BAD_NUMBER = 23
TOO_DEEP = 24

# A field breaks its type.
MISSING = 40
NULL_FIELD = 41
WRONG_TYPE = 42
NOT_INTEGER = 43
OUT_OF_RANGE = 44
TOO_MANY_PLACES = 45
TOO_MANY_DIGITS = 46
BAD_TEXT = 47
NO_ZONE = 48
TIME_OUT_OF_RANGE = 49
NO_EVENT_TIME = 50
TOO_FAR_AHEAD = 51
ZERO_CHARACTER = 52
HUGE_NUMBER = 53
