"""Types of PostgreSQL's columns, by the name or the number that its catalog gives them."""

import re
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from common.errors import SinkRefusedError

BARE_NUMERIC: Final = (38, 18)
"""(precision, scale) in which a `numeric` without either is read."""

_MAX_PRECISION = 38

_OIDS: Final = {
    "bool": (16, 1000),
    "bytea": (17, 1001),
    "int8": (20, 1016),
    "int2": (21, 1005),
    "int4": (23, 1007),
    "text": (25, 1009),
    "json": (114, 199),
    "float4": (700, 1021),
    "float8": (701, 1022),
    "bpchar": (1042, 1014),
    "varchar": (1043, 1015),
    "date": (1082, 1182),
    "timestamp": (1114, 1115),
    "timestamptz": (1184, 1185),
    "numeric": (1700, 1231),
    "uuid": (2950, 2951),
    "jsonb": (3802, 3807),
}
"""Kind to (oid, oid of its array)."""

_NAMES: Final = {
    "boolean": "bool",
    "bigint": "int8",
    "smallint": "int2",
    "integer": "int4",
    "real": "float4",
    "double precision": "float8",
    "character": "bpchar",
    "character varying": "varchar",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "decimal": "numeric",
}
"""Names that the catalog writes to kinds; every kind is a name too."""

_ARROW: Final = {
    "bool": pa.bool_(),
    "bytea": pa.large_binary(),
    "int8": pa.int64(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
"""Arrow types in which values are read; the others are text."""

TEXTS: Final = frozenset({"text", "varchar", "bpchar", "json", "jsonb"})

_SHAPE = re.compile(r"([a-z0-9 ]+?) ?(?:\(([^)]*)\))?( with(?:out)? time zone)?(\[\])?")


@dataclass(frozen=True)
class PostgresType:
    """A type of a column.

    Attributes:
        kind: Short name: `int8`, `numeric`, `timestamptz`, `jsonb`, …; of an array, its items'.
        precision: Digits of a `numeric`; None where it has no bounds.
        scale: Digits behind its point; negative where it is rounded before the point.
        array: An array of `kind`.
    """

    kind: str
    precision: int | None = None
    scale: int | None = None
    array: bool = False

    @property
    def item(self) -> "PostgresType":
        """The type of an array's items."""
        return PostgresType(self.kind, self.precision, self.scale)

    @property
    def oid(self) -> int:
        """The number of the type in every catalog."""
        return _OIDS[self.kind][self.array]

    @property
    def decimal(self) -> tuple[int, int]:
        """(precision, scale) of the Arrow decimal in which a `numeric` is read."""
        if self.precision is None or self.scale is None:
            return BARE_NUMERIC
        scale = min(max(self.scale, 0), _MAX_PRECISION)
        digits = max(self.precision - min(self.scale, 0), scale, 1)
        return min(digits, _MAX_PRECISION), scale

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type in which the column is read."""
        if self.array:
            return pa.list_(self.item.arrow)
        if self.kind == "numeric":
            return pa.decimal128(*self.decimal)
        return _ARROW.get(self.kind, pa.large_string())

    def __str__(self) -> str:
        """Write the type as SQL takes it."""
        bounds = "" if self.precision is None else f"({self.precision},{self.scale})"
        return f"{self.kind}{bounds}{'[]' if self.array else ''}"


def type_named(name: str) -> PostgresType:
    """Read a type as `format_type` writes it: `numeric(12,2)`, `timestamp(3) with time zone[]`.

    Raises:
        SinkRefusedError: No such type can be copied in binary.
    """
    match = _SHAPE.fullmatch(name.strip().lower())
    base = (match.group(1) + (match.group(3) or "")) if match else name
    kind = _NAMES.get(base, base)
    if match is None or kind not in _OIDS:
        raise _unknown(name)
    array = match.group(4) is not None
    if kind != "numeric" or not match.group(2):
        return PostgresType(kind, array=array)
    precision, _, scale = match.group(2).partition(",")
    return PostgresType(kind, int(precision), int(scale or 0), array)


def type_numbered(oid: int, modifier: int = -1) -> PostgresType:
    """Read a type as `pg_attribute` numbers it (`atttypid`, `atttypmod`).

    Raises:
        SinkRefusedError: No such type can be copied in binary.
    """
    for kind, oids in _OIDS.items():
        if oid in oids:
            array = oid == oids[1]
            if kind != "numeric" or modifier < 4:
                return PostgresType(kind, array=array)
            bits = modifier - 4
            scale = ((bits & 0x7FF) ^ 1024) - 1024
            return PostgresType(kind, (bits >> 16) & 0xFFFF, scale, array)
    raise _unknown(f"oid {oid}")


def _unknown(name: str) -> SinkRefusedError:
    return SinkRefusedError(
        f"PostgreSQL type `{name}`: expected one of {', '.join(_OIDS)}, or an array of it; "
        "cast the column to text in a query or a view"
    )
