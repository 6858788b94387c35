"""Columns of a PostgreSQL table or query as fields, and how they are selected."""

from dataclasses import dataclass

from connectors.postgres_table import quoted
from connectors.postgres_type import PostgresType
from contracts.field_type import FieldType

_INSTANT = FieldType("timestamp", precision=6)

_PLAIN: dict[str, tuple[FieldType, str]] = {
    "bool": (FieldType("bool"), "bool"),
    "int2": (FieldType("int32"), "int4"),
    "int4": (FieldType("int32"), "int4"),
    "int8": (FieldType("int64"), "int8"),
    "float4": (FieldType("float64"), "float8"),
    "float8": (FieldType("float64"), "float8"),
    "text": (FieldType("string"), "text"),
    "varchar": (FieldType("string"), "text"),
    "bpchar": (FieldType("string"), "text"),
    "date": (FieldType("date"), "date"),
    "timestamp": (_INSTANT, "timestamptz"),
    "timestamptz": (_INSTANT, "timestamptz"),
    "uuid": (FieldType("uuid"), "uuid"),
    "json": (FieldType("json"), "json"),
    "jsonb": (FieldType("json"), "jsonb"),
}
"""Kinds with the field that they are and the kind that they are read as."""


@dataclass(frozen=True)
class SourceColumn:
    """A column of the source.

    Attributes:
        name: Its name.
        sql_type: Its type as PostgreSQL writes it.
        field: The field that it is.
        read_as: The type in which it is selected.
        as_text: Whether its type has no field, and its text is read.
    """

    name: str
    sql_type: str
    field: FieldType
    read_as: PostgresType
    as_text: bool = False

    def selected(self, zone: str) -> str:
        """Write the column for a SELECT; times without a zone are taken in `zone`."""
        name = quoted(self.name)
        brackets = "[]" if self.read_as.array else ""
        if self.sql_type.startswith("timestamp") and "without" in self.sql_type and not brackets:
            literal = zone.replace("'", "''")
            return f"{name} AT TIME ZONE '{literal}' AS {name}"
        if self.as_text or brackets or self.read_as.kind in ("int4", "float8", "text"):
            return f"{name}::{self.read_as.kind}{brackets} AS {name}"
        return name


def source_column(
    name: str, sql_type: str, found: PostgresType | None, *, nullable: bool
) -> SourceColumn:
    """Say what a column is as a field.

    Args:
        name: Its name.
        sql_type: Its type as PostgreSQL writes it.
        found: The same as a type that can be copied; None when it cannot.
        nullable: Whether it may be null.
    """
    if found is None or found.kind == "bytea":
        text = FieldType("string", nullable=nullable)
        return SourceColumn(name, sql_type, text, PostgresType("text"), as_text=True)
    item, read_as = _item(found.item)
    if not found.array:
        field = FieldType(item.base, item.precision, item.scale, nullable=nullable)
        return SourceColumn(name, sql_type, field, read_as)
    if found.kind == "timestamp":  # no zone can be given to the items of an array
        item, read_as = FieldType("string"), PostgresType("text")
    inner = FieldType(item.base, item.precision, item.scale, nullable=True)
    array = PostgresType(read_as.kind, read_as.precision, read_as.scale, array=True)
    return SourceColumn(name, sql_type, FieldType("list", nullable=nullable, element=inner), array)


def _item(kind: PostgresType) -> tuple[FieldType, PostgresType]:
    if kind.kind == "numeric":
        precision, scale = kind.decimal
        return FieldType("decimal", precision, scale), kind
    field, read_as = _PLAIN[kind.kind]
    return field, PostgresType(read_as)
