"""Types of Parquet columns as field types."""

import pyarrow as pa

from contracts.field_type import FieldType
from contracts.field_type_parse import MAX_DECIMAL_DIGITS

_PLAIN = {
    pa.int8(): "int32",
    pa.int16(): "int32",
    pa.int32(): "int32",
    pa.uint8(): "int32",
    pa.uint16(): "int32",
    pa.int64(): "int64",
    pa.uint32(): "int64",
    pa.float16(): "float64",
    pa.float32(): "float64",
    pa.float64(): "float64",
    pa.bool_(): "bool",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.string_view(): "string",
    pa.null(): "string",
    pa.date32(): "date",
    pa.date64(): "date",
}
_EXTENSIONS = {"arrow.uuid": "uuid", "arrow.json": "json"}


def field_type(kind: pa.DataType, *, nullable: bool) -> FieldType | None:
    """Give the field type of a column; None where no field type holds it.

    A timestamp has microseconds; whether it has a zone is `needs_zone`'s to tell.
    """
    if isinstance(kind, pa.BaseExtensionType):
        base = _EXTENSIONS.get(kind.extension_name)
    elif pa.types.is_dictionary(kind):
        return field_type(kind.value_type, nullable=nullable)
    else:
        base = _PLAIN.get(kind)
    if base is not None:
        null = nullable or pa.types.is_null(kind)
        return FieldType(base, nullable=null)  # type: ignore[arg-type] # a base type of the tables
    if pa.types.is_timestamp(kind):
        return FieldType("timestamp", precision=6, nullable=nullable)
    if kind == pa.uint64():
        return FieldType("decimal", 20, 0, nullable=nullable)
    if pa.types.is_decimal(kind):
        fits = kind.precision <= MAX_DECIMAL_DIGITS and 0 <= kind.scale <= kind.precision
        return FieldType("decimal", kind.precision, kind.scale, nullable) if fits else None
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and not needs_zone(kind.value_type):
        element = field_type(kind.value_type, nullable=kind.value_field.nullable)
        return None if element is None else FieldType("list", nullable=nullable, element=element)
    return None


def needs_zone(kind: pa.DataType) -> bool:
    """Tell whether values are times on the wall, of a zone that the file does not name."""
    return bool(pa.types.is_timestamp(kind) and kind.tz is None)


def common_type(one: FieldType, other: FieldType) -> FieldType | None:
    """Give the type that holds the values of both exactly; None where there is none."""
    nullable = one.nullable or other.nullable
    if {one.base, other.base} == {"int32", "int64"}:
        return FieldType("int64", nullable=nullable)
    if one.base == other.base == "decimal":
        scale = max(one.scale or 0, other.scale or 0)
        whole = max((kind.precision or 0) - (kind.scale or 0) for kind in (one, other))
        fits = whole + scale <= MAX_DECIMAL_DIGITS
        return FieldType("decimal", whole + scale, scale, nullable) if fits else None
    same = FieldType(one.base, one.precision, one.scale, nullable, one.element)
    alike = FieldType(other.base, other.precision, other.scale, nullable, other.element)
    return same if same == alike else None
