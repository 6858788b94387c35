"""Columns of texts or values as columns of a field type: exact, or null where a value is none."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

import polars as pl

from common.errors import UsageError
from contracts.field_dtype import polars_type
from contracts.field_type import FieldType
from contracts.field_value import parse_value

FIRST_YEAR, LAST_YEAR = 1901, 2298
"""Years that every sink holds."""

INSTANTS = frozenset({"timestamp", "timestamp_ms"})
_TIMES = INSTANTS | {"date"}

_WHOLE = r"^[+-]?[0-9]+$"
_FLOAT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_POWER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,4}")
_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_ZONE = rf"[Zz]|[+-]{_CLOCK.replace(':', ':?')}|[+-]([01][0-9]|2[0-3])"
_INSTANT = (
    rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt ]{_CLOCK}(:[0-5][0-9](\.[0-9]{{1,9}})?)?({_ZONE})?$"
)
_HAS_ZONE = r"([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)$"
_WORDS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def strict_column(column: pl.Series, kind: FieldType, zone: str | None = None) -> pl.Series:
    """Convert a column; what is no value of the type becomes null, nothing is rounded.

    A `timestamp` keeps milliseconds and `timestamp(6)` microseconds; finer digits are cut. Texts of
    all types but `string` may have spaces around them. Texts of lists and `json` are not read here.

    Args:
        column: Texts, or values of another type.
        kind: The type; its nullability makes no difference.
        zone: Zone of times without one; None makes them null.

    Returns:
        Column of `contracts.field_dtype.polars_type`, with the name of the given one.
    """
    if column.dtype == pl.String:
        result = _from_text(column, kind, zone)
    else:
        result = _from_values(column, kind, zone)
    if kind.base in _TIMES:
        result = result.set(~result.dt.year().is_between(FIRST_YEAR, LAST_YEAR), None)
    return result.alias(column.name)


def _from_values(column: pl.Series, kind: FieldType, zone: str | None) -> pl.Series:
    target = polars_type(kind)
    if column.dtype == target:
        return column
    if isinstance(column.dtype, pl.Datetime) and kind.base in INSTANTS:
        if column.dtype.time_zone is None:
            column = (
                column.cast(pl.Datetime("us")).to_frame("wall").select(_placed(zone)).to_series()
            )
        return column.cast(target, strict=False)
    if kind.base == "timestamp_ms" and column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False).cast(target)
    if kind.base == "uuid" or (kind.base in _TIMES and not column.dtype.is_temporal()):
        return pl.Series(column.name, [None] * len(column), target)
    result = column.cast(target, strict=False)
    # What was rounded or cut is not the same when it is converted back.
    back = result.cast(column.dtype, strict=False)
    return result.set(back.ne_missing(column), None)


def _from_text(column: pl.Series, kind: FieldType, zone: str | None) -> pl.Series:
    if kind.base == "string":
        return column
    trimmed = column.str.strip_chars(" \t")
    if kind.base in INSTANTS and kind.base != "timestamp_ms":
        return read_instants(trimmed, zone).cast(polars_type(kind))
    return _FROM_TEXT[kind.base](trimmed, kind)


def _only(column: pl.Series, pattern: str) -> pl.Series:
    return column.set(~column.str.contains(pattern), None)


def _number(pattern: str) -> Callable[[pl.Series, FieldType], pl.Series]:
    def read(column: pl.Series, kind: FieldType) -> pl.Series:
        return _only(column, pattern).cast(polars_type(kind), strict=False)

    return read


def _float(column: pl.Series, _kind: FieldType) -> pl.Series:
    result = _only(column, _FLOAT).cast(pl.Float64, strict=False)
    return result.set(result.is_infinite(), None)


def _decimal(column: pl.Series, kind: FieldType) -> pl.Series:
    places = kind.scale or 0
    bare = rf"\.[0-9]{{1,{places}}}0*" if places else r"\.0+"
    pattern = rf"^[+-]?([0-9]+(\.[0-9]{{0,{places}}}0*)?|{bare})$"
    result = _only(column, pattern).cast(polars_type(kind), strict=False)
    left = result.is_null() & column.str.contains("[eE]").fill_null(value=False)
    if not left.any():
        return result
    rows = left.arg_true()
    values = [_power(text, kind) for text in column.gather(rows)]
    return result.scatter(rows, pl.Series(values, dtype=polars_type(kind)))


def _power(text: str, kind: FieldType) -> Decimal | None:
    if not _POWER.fullmatch(text):
        return None
    try:
        value = parse_value(text, kind)
    except UsageError:
        return None
    assert isinstance(value, Decimal)  # noqa: S101 (the type is a decimal)
    return value


def _bool(column: pl.Series, _kind: FieldType) -> pl.Series:
    return column.str.to_lowercase().replace_strict(_WORDS, default=None, return_dtype=pl.Boolean)


def _date(column: pl.Series, _kind: FieldType) -> pl.Series:
    return _only(column, _DAY).str.to_date("%Y-%m-%d", strict=False)


def _uuid(column: pl.Series, _kind: FieldType) -> pl.Series:
    return _only(column, _UUID).str.to_lowercase()


def _milliseconds(column: pl.Series, kind: FieldType) -> pl.Series:
    return _only(column, _WHOLE).cast(pl.Int64, strict=False).cast(polars_type(kind))


_FROM_TEXT: Mapping[str, Callable[[pl.Series, FieldType], pl.Series]] = {
    "int32": _number(_WHOLE),
    "int64": _number(_WHOLE),
    "float64": _float,
    "decimal": _decimal,
    "bool": _bool,
    "date": _date,
    "uuid": _uuid,
    "timestamp_ms": _milliseconds,
}


def has_zone(text: str) -> bool:
    """Tell whether a text that may be a time has a zone."""
    return re.search(_HAS_ZONE, text[10:]) is not None


def read_instants(texts: pl.Series, zone: str | None = None) -> pl.Series:
    """Read ISO 8601 times: day, `T` or a space, `hh:mm`, seconds with up to nine digits, zone.

    A time on the wall that comes twice, or not at all, is none.

    Args:
        texts: Texts; null stays null.
        zone: Zone of texts without one; None makes them null.

    Returns:
        Datetime of microseconds in UTC, null where a text is no such time.
    """
    good = _only(texts, _INSTANT).alias("text").to_frame()
    text = pl.col("text")
    clock = (
        pl.when(text.str.slice(16, 1) == ":").then(text.str.slice(16, 3)).otherwise(pl.lit(":00"))
    )
    wall = pl.concat_str(text.str.slice(0, 10), pl.lit("T"), text.str.slice(11, 5), clock)
    digits = text.str.extract(r"\.([0-9]+)").str.pad_end(6, "0").str.slice(0, 6)
    offset = text.str.slice(16).str.extract(_HAS_ZONE)
    minutes = offset.str.extract(r"^.[0-9]{2}:?([0-9]{2})").cast(pl.Int64).fill_null(0)
    hours = offset.str.extract(r"^.([0-9]{2})").cast(pl.Int64).fill_null(0)
    ahead = (hours * 60 + minutes) * pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    parts = good.select(
        wall.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
        .add(pl.duration(microseconds=digits.cast(pl.Int64).fill_null(0)))
        .alias("wall"),
        ahead.alias("ahead"),
        offset.is_not_null().alias("zoned"),
    )
    told = (pl.col("wall") - pl.duration(minutes=pl.col("ahead"))).dt.replace_time_zone("UTC")
    guessed = _placed(zone)
    result = parts.select(pl.when(pl.col("zoned")).then(told).otherwise(guessed).alias(texts.name))
    return result.to_series()


def _placed(zone: str | None) -> pl.Expr:
    """Give the instant of the time on the wall in column `wall`; null where it is not one."""
    if zone is None:
        return pl.when(pl.lit(value=False)).then(pl.col("wall").dt.replace_time_zone("UTC"))
    told = pl.col("wall").dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    return told.dt.convert_time_zone("UTC")
