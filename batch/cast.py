"""Columns cast to other types: each value exactly, or not at all.

Nothing is rounded, cut or wrapped; what has no equal in the new type comes out null. Texts are read
strictly: no blanks around a number, times with a zone and at most six digits of a second.
"""

from collections.abc import Callable

import orjson
import polars as pl

from contracts.field_dtype import INSTANT_US, polars_type
from contracts.field_type import FieldType

_TIMES = frozenset({"timestamp", "timestamp_ms"})
_TEXTS = frozenset({"string", "uuid", "json"})
_WHOLE = r"^[+-]?[0-9]{1,40}$"
_FLOAT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_ZONED = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(?::([0-5][0-9](?:\.[0-9]{1,6})?))?"
    r"(?:(Z)|([+-][0-9]{2})(?::?([0-9]{2}))?)$"
)
_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


def cast_column(column: pl.Series, source: FieldType, target: FieldType) -> pl.Series:
    """Cast a column; null where a value has no equal in the new type, and where it was null.

    Args:
        column: Values, of the polars type of `source`.
        source: Type of the values.
        target: Type that `pipelines.etl_cast.check_cast` allows.
    """
    if polars_type(source) == polars_type(target) and source.base == target.base:
        return column
    if source.base == "string":
        return _FROM_TEXT[target.base](column, target)
    if target.base in _TEXTS:
        return as_text(column, source)
    if source.base in _TIMES:
        return _instant_exactly(column, target)
    if source.base == "date":
        return column.cast(polars_type(target))
    return _number_exactly(column, target)


def as_text(column: pl.Series, kind: FieldType) -> pl.Series:
    """Write values as texts that `cast_column` reads back as the same values; lists as JSON."""
    if kind.base in _TEXTS:
        return column.cast(pl.String)
    if kind.base in _TIMES:
        digits = "%.6f" if kind.precision else "%.3f"
        return column.dt.strftime(f"%Y-%m-%dT%H:%M:%S{digits}Z")
    if kind.base == "list" and kind.element is not None:
        texts = [
            None if one is None else orjson.dumps(as_text(one, kind.element).to_list()).decode()
            for one in column
        ]
        return pl.Series(column.name, texts, dtype=pl.String)
    return column.cast(pl.String)


def _number_exactly(column: pl.Series, target: FieldType) -> pl.Series:
    if target.base == "decimal" and column.dtype.is_float():
        # polars gives null above the bound, and raises for what rounds to just the bound.
        places = target.scale or 0
        bound = 10.0 ** ((target.precision or 38) - places) - 0.5 * 10.0**-places
        result = column.set(column.abs() >= bound, None).cast(polars_type(target), strict=False)
    else:
        result = column.cast(polars_type(target), strict=False)
    # What was rounded or cut is not the same when it is converted back.
    back = result.cast(column.dtype, strict=False)
    return result.set(back.ne_missing(column), None)


def _instant_exactly(column: pl.Series, target: FieldType) -> pl.Series:
    result = column.cast(polars_type(target))
    back = result.cast(column.dtype)
    return result.set(back.ne_missing(column), None)


def _matching(column: pl.Series, pattern: str) -> pl.Series:
    return column.set(~column.str.contains(pattern), None)


def _whole(column: pl.Series, kind: FieldType) -> pl.Series:
    plain = _matching(column, _WHOLE).str.strip_prefix("+")
    return plain.cast(polars_type(kind), strict=False)


def _float(column: pl.Series, kind: FieldType) -> pl.Series:
    found = _matching(column, _FLOAT).cast(polars_type(kind), strict=False)
    return found.set(~found.is_finite(), None)


def _decimal(column: pl.Series, kind: FieldType) -> pl.Series:
    places, digits = kind.scale or 0, (kind.precision or 38) - (kind.scale or 0)
    parts = column.to_frame("text").select(
        pl.col("text").str.extract_groups(
            rf"^(?<sign>[+-]?)0*(?<whole>[0-9]{{0,{digits}}})"
            rf"(?:\.(?<part>[0-9]{{0,{places}}})0*)?$"
        )
    )
    groups = pl.col("text").struct
    whole, part = groups.field("whole"), groups.field("part").fill_null("")
    sign = pl.when(groups.field("sign") == "-").then(pl.lit("-")).otherwise(pl.lit(""))
    units = pl.concat_str(sign, pl.lit("0"), whole, part.str.pad_end(places, "0"))
    # Digits without a point are read as a whole number, which no parser rounds.
    exact = parts.select(units.cast(pl.Int128, strict=False).alias(column.name)).to_series()
    written = column.str.contains(r"[0-9]")
    exact = exact.set(~written, None)
    return _from_units(exact, kind)


def _from_units(units: pl.Series, kind: FieldType) -> pl.Series:
    whole = units.cast(pl.Decimal(38, 0), strict=False)
    scale = kind.scale or 0
    step = pl.Series([f"0.{'0' * (scale - 1)}1" if scale else "1"]).cast(pl.Decimal(38, scale))
    return (whole * step).cast(polars_type(kind), strict=False).alias(units.name)


def _bool(column: pl.Series, _kind: FieldType) -> pl.Series:
    known = {"true": True, "false": False}
    return column.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.Boolean)


def _date(column: pl.Series, _kind: FieldType) -> pl.Series:
    return _matching(column, _DATE).str.to_date("%Y-%m-%d", strict=False)


def _instant(column: pl.Series, kind: FieldType) -> pl.Series:
    parts = column.to_frame("text").select(pl.col("text").str.extract_groups(_ZONED))
    group = [pl.col("text").struct.field(str(place)) for place in range(1, 7)]
    day, minute, second, utc, hours, rest = group
    zone = (
        pl.when(utc.is_not_null())
        .then(pl.lit("+00:00"))
        .otherwise(pl.concat_str(hours, pl.lit(":"), rest.fill_null("00")))
    )
    clock = pl.concat_str(minute, pl.lit(":"), second.fill_null("00"))
    whole = pl.concat_str(day, pl.lit("T"), clock, zone)
    texts = parts.select(whole.alias(column.name)).to_series()
    found = texts.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    return _instant_exactly(found.cast(INSTANT_US), kind)


def _uuid(column: pl.Series, _kind: FieldType) -> pl.Series:
    return _matching(column.str.to_lowercase(), _UUID)


def _json(column: pl.Series, _kind: FieldType) -> pl.Series:
    good = [text is not None and _is_json(text) for text in column]
    return column.set(~pl.Series(good, dtype=pl.Boolean), None)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


_FROM_TEXT: dict[str, Callable[[pl.Series, FieldType], pl.Series]] = {
    "string": lambda column, _: column,
    "int32": _whole,
    "int64": _whole,
    "float64": _float,
    "decimal": _decimal,
    "bool": _bool,
    "date": _date,
    "timestamp": _instant,
    "timestamp_ms": _instant,
    "uuid": _uuid,
    "json": _json,
}
