"""One expression computed by polars through our compiler, and by DuckDB: two answers."""

import math
import random
from datetime import date, timedelta
from decimal import Decimal

import duckdb
import polars as pl

from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.expression import parse_scalar
from streaming.expression import to_polars
from streaming.field_dtype import polars_type

Value = object

FIELDS: dict[str, FieldType] = {
    name: parse_field_type(f"{kind}?")
    for name, kind in {
        "i": "int32",
        "j": "int32",
        "n": "int64",
        "m": "int64",
        "f": "float64",
        "g": "float64",
        "b": "bool",
        "c": "bool",
        "s": "string",
        "t": "string",
        "d": "decimal(12,2)",
        "e": "decimal(7,4)",
        "h": "decimal(30,6)",
        "ts": "timestamp",
        "tm": "timestamp_ms",
        "day": "date",
        "words": "list<string?>",
        "whole": "list<int64?>",
    }.items()
}

_SQL = {
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "timestamp": "TIMESTAMPTZ",
    "timestamp_ms": "TIMESTAMPTZ",
    "date": "DATE",
}
_FLOATS = [0.0, -0.0, math.nan, math.inf, -math.inf, 0.5, 1.5, 2.5, -2.5, 1e-300, 1.0]
_TEXTS = [
    *("", "a", "abc", "ABC", " a b ", "\ta ", "äöü", "x%y_z", "a\nb", "日本語", "a.c", "$"),
    *("Straße", "ΑΣ", "İx"),
]


def random_rows(seed: int, count: int) -> pl.DataFrame:
    """Draw rows with a fifth of nulls; numbers are small enough that no operation overflows."""
    draw = random.Random(seed)
    columns = {name: [_value(draw, kind) for _ in range(count)] for name, kind in FIELDS.items()}
    return frame_of(columns)


def frame_of(columns: dict[str, list[Value]]) -> pl.DataFrame:
    """Make a frame with the engine's column types; times are given in milliseconds."""
    return pl.DataFrame(
        [
            pl.Series(name, values, dtype=pl.Int64).cast(polars_type(FIELDS[name]))
            if FIELDS[name].base.startswith("timestamp")
            else pl.Series(name, values, dtype=polars_type(FIELDS[name]))
            for name, values in columns.items()
        ]
    )


def _value(draw: random.Random, kind: FieldType) -> Value:
    if draw.random() < 0.2:
        return None
    if kind.element is not None:
        return [_value(draw, kind.element) for _ in range(draw.randint(0, 3))]
    return _one(draw, kind)


def _one(draw: random.Random, kind: FieldType) -> Value:
    if kind.base in {"int32", "int64"}:
        return draw.choice([draw.randint(-5, 5), draw.randint(-1_000, 1_000)])
    if kind.base == "float64":
        return draw.choice([*_FLOATS, draw.uniform(-10, 10), draw.uniform(-1e9, 1e9)])
    if kind.base == "bool":
        return draw.random() < 0.5
    if kind.base == "string":
        return draw.choice(_TEXTS)
    if kind.base == "decimal":
        most = 10 ** min((kind.precision or 0) - 1, 8)
        whole = draw.choice(
            [draw.randint(-most, most), draw.randint(-500, 500), 50 * draw.randint(-9, 9)]
        )
        return Decimal(whole).scaleb(-(kind.scale or 0))
    if kind.base == "date":
        return date(1970, 1, 1) + timedelta(
            days=draw.choice([0, -1, draw.randint(-40_000, 40_000)])
        )
    return draw.choice(
        [0, -1, draw.randint(-(10**12), 2 * 10**12), 86_400_000 * draw.randint(-300, 300)]
    )


class Oracle:
    """DuckDB with one table of rows, in the time zone UTC."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.rows = rows
        self._connection = duckdb.connect()
        self._connection.execute("SET timezone = 'UTC'")
        self._connection.register("given_rows", rows.with_row_index("row").to_arrow())
        casts = ", ".join(f"{name}::{_sql_type(FIELDS[name])} AS {name}" for name in rows.columns)
        self._connection.execute(f"CREATE TABLE rows AS SELECT row, {casts} FROM given_rows")

    def duckdb_answer(self, text: str) -> list[Value]:
        """Compute the expression for every row in DuckDB; times in milliseconds."""
        kind = parse_scalar(text, FIELDS).type
        column = "epoch_ms(x)" if kind.base.startswith("timestamp") else "x"
        query = f"SELECT {column} FROM (SELECT row, ({text}) AS x FROM rows) ORDER BY row"
        return [row[0] for row in self._connection.execute(query).fetchall()]

    def polars_answer(self, text: str, rows: pl.DataFrame | None = None) -> list[Value]:
        """Compute the expression for every row in polars; times in milliseconds."""
        parsed = parse_scalar(text, FIELDS)
        frame = self.rows if rows is None else rows
        answer = frame.select(pl.first().alias("first"), x=to_polars(parsed))["x"]
        assert answer.dtype == polars_type(parsed.type)
        if parsed.type.base.startswith("timestamp"):
            answer = answer.dt.epoch("ms")
        return answer.to_list()


def _sql_type(kind: FieldType) -> str:
    if kind.element is not None:
        return f"{_sql_type(kind.element)}[]"
    return _SQL.get(kind.base) or f"DECIMAL({kind.precision},{kind.scale})"


def same(left: Value, right: Value) -> bool:
    """Compare two answers: NaN equals NaN, a zero its negative, everything else exactly."""
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and left == right
