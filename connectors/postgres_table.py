"""A stream's table in PostgreSQL: its statements, and why an existing one is refused."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from activities.ports import SinkTable
from connectors.sink_rows import marker
from contracts.field_type import FieldType

NAME_LIMIT_BYTES = 63

_TYPES = {
    "string": "text",
    "json": "jsonb",
    "uuid": "uuid",
    "int32": "integer",
    "int64": "bigint",
    "float64": "double precision",
    "bool": "boolean",
    "timestamp": "timestamp(3) with time zone",
    "timestamp_ms": "timestamp(3) with time zone",
    "date": "date",
}

BOOKKEEPING = (
    """CREATE TABLE IF NOT EXISTS sluice_stream (
        stream text NOT NULL, sink_table text NOT NULL, epoch bigint NOT NULL,
        PRIMARY KEY (stream, sink_table))""",
    """CREATE TABLE IF NOT EXISTS sluice_flush (
        stream text NOT NULL, sink_table text NOT NULL, epoch bigint NOT NULL, flush_seq bigint NOT
        NULL,
        chunk integer NOT NULL, sha256 text NOT NULL, rows bigint NOT NULL,
        written_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (stream, sink_table, epoch, flush_seq, chunk))""",
    """DO $$ BEGIN
        IF to_regclass('sluice_streams') IS NULL THEN
            ALTER TABLE sluice_stream
                ADD COLUMN IF NOT EXISTS complete_through timestamp(3) with time zone,
                ADD COLUMN IF NOT EXISTS version bigint;
            CREATE VIEW sluice_streams AS
                SELECT stream, sink_table, epoch, complete_through, version FROM sluice_stream;
        END IF;
    END $$""",
)


def quoted(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string."""
    return "'" + text.replace("'", "''") + "'"


def column_type(field_type: FieldType) -> str:
    """Name the column type of a field, as the catalog writes it."""
    if field_type.base == "list" and field_type.element is not None:
        return f"{column_type(field_type.element)}[]"
    if field_type.base == "decimal":
        return f"numeric({field_type.precision},{field_type.scale})"
    if field_type.base == "timestamp" and field_type.precision is not None:
        return f"timestamp({field_type.precision}) with time zone"
    return _TYPES[field_type.base]


def expected_columns(table: SinkTable) -> dict[str, tuple[str, bool]]:
    """Map every column to (type, nullable)."""
    visible = {
        column.name: (column_type(column.type), column.type.nullable) for column in table.columns
    }
    return visible | {
        "_key": ("text", False),
        "_version": ("bigint", False),
        "_deleted": ("boolean", False),
    }


def create_statements(table: SinkTable) -> list[str]:
    """Write the statements that make the table and mark it; keys order as bytes."""
    columns = [
        f"{quoted(name)} {kind}"
        + (' COLLATE "C"' if name == "_key" else "")
        + ("" if nullable else " NOT NULL")
        for name, (kind, nullable) in expected_columns(table).items()
    ]
    key = ", ".join(quoted(name) for name in (*table.identity, "_key"))
    return [
        f"CREATE TABLE IF NOT EXISTS {quoted(table.name)} ({', '.join(columns)}, PRIMARY KEY "
        f"({key}))",
        mark_statement(table),
    ]


def mark_statement(table: SinkTable) -> str:
    """Write the statement that says to which stream the table belongs."""
    return f"COMMENT ON TABLE {quoted(table.name)} IS {literal(marker(table.stream))}"


def create_view(table: SinkTable) -> str:
    """Write the statement that makes the view that readers use."""
    columns = ", ".join(quoted(column.name) for column in table.columns)
    return (
        f"CREATE OR REPLACE VIEW {quoted(table.name + '_final')} AS "
        f"SELECT {columns} FROM {quoted(table.name)} WHERE NOT _deleted"
    )


def upsert(table: SinkTable) -> str:
    """Write the statement that takes one array per column and keeps the higher versions."""
    kinds = [kind for kind, _ in expected_columns(table).values()]
    return _keep_higher(table, unnested(kinds))


def unnested(kinds: Sequence[str]) -> str:
    """Write what selects the rows that come as one array per column, of these types.

    A list travels as JSON text, because unnest would flatten an array of arrays.
    """
    shown, arrays = [], []
    for place, kind in enumerate(kinds, start=1):
        if kind.endswith("[]"):
            arrays.append(f"${place}::text[]")
            shown.append(
                f"CASE WHEN c{place} IS NULL THEN NULL ELSE ARRAY(SELECT item.value FROM "
                f"jsonb_array_elements_text(c{place}::jsonb) WITH ORDINALITY AS item(value, place) "
                f"ORDER BY item.place)::{kind} END"
            )
        else:
            plain = re.sub(r"\(.*?\)", "", kind)
            arrays.append(f"${place}::{plain}[]")
            shown.append(f"c{place}")
    aliases = ", ".join(f"c{place}" for place in range(1, len(kinds) + 1))
    return f"{', '.join(shown)} FROM unnest({', '.join(arrays)}) AS incoming({aliases})"


def upsert_from(table: SinkTable, stage: str) -> str:
    """Write the statement that takes the rows of another table and keeps the higher versions."""
    names = ", ".join(quoted(name) for name in expected_columns(table))
    return _keep_higher(table, f"{names} FROM {stage}")


def _keep_higher(table: SinkTable, selected: str) -> str:
    expected = expected_columns(table)
    names = ", ".join(quoted(name) for name in expected)
    key = [*table.identity, "_key"]
    changes = ", ".join(
        f"{quoted(name)} = excluded.{quoted(name)}" for name in expected if name not in key
    )
    return (
        f"INSERT INTO {quoted(table.name)} AS kept ({names}) SELECT {selected} "
        f"ON CONFLICT ({', '.join(quoted(name) for name in key)}) DO UPDATE SET {changes} "
        "WHERE excluded._version > kept._version"
    )


def retire_windows(table: SinkTable) -> str:
    """Write the statement that turns rows of older epochs into tombstones.

    Parameters: the version; the first version meant, and the first that is not; the first start,
    the last end of a window; the end after which.
    """
    start = quoted(table.identity[0])
    meant = f"{start} >= $4 AND {start} < $5 AND window_end <= $5 AND window_end > $6"
    return _retire(table, meant)


def retire_events(table: SinkTable) -> str:
    """Write the statement that turns events of older epochs into tombstones.

    Parameters: the version; the first version meant, and the first that is not; partitions, their
    first offsets, and those after the last.
    """
    meant = (
        "EXISTS (SELECT FROM unnest($4::integer[], $5::bigint[], $6::bigint[]) "
        "AS span(number, start, stop) WHERE number = _partition AND _offset >= start "
        "AND _offset < stop)"
    )
    return _retire(table, meant)


def _retire(table: SinkTable, meant: str) -> str:
    return (
        f"UPDATE {quoted(table.name)} SET _version = $1, _deleted = true "
        f"WHERE _version >= $2 AND _version < $3 AND NOT _deleted AND {meant}"
    )


@dataclass(frozen=True)
class FoundTable:
    """What the catalog says of an existing table.

    Attributes:
        kind: `r` table, `p` partitioned table, others are no tables.
        columns: Column to (type, not null, has a default).
        unique_keys: Columns of every unique index that covers all rows, in any order.
    """

    kind: str
    comment: str | None
    has_rows: bool
    columns: dict[str, tuple[str, bool, bool]]
    unique_keys: list[frozenset[str]]
    triggers: list[str]


def name_refusals(table: SinkTable) -> list[str]:
    """Refuse names that PostgreSQL would cut off without a word."""
    names = [f"{table.name}_final", *(column.name for column in table.columns)]
    return [
        f"name `{name}` has {len(name.encode())} bytes, more than {NAME_LIMIT_BYTES}; shorten it"
        for name in names
        if len(name.encode()) > NAME_LIMIT_BYTES
    ]


def refusals(table: SinkTable, found: FoundTable) -> list[str]:
    """Say every reason why the table cannot hold the promise, each with how to change it."""
    if found.kind not in ("r", "p"):
        return [f"it is no table (relation kind `{found.kind}`); choose another table name"]
    reasons = []
    mine = marker(table.stream)
    if found.comment != mine and (found.comment or found.has_rows):
        held = (
            f"comment is {found.comment!r}" if found.comment else "it holds rows and has no comment"
        )
        reasons.append(
            f"it belongs to somebody else: {held}, expected {mine!r}; choose another table "
            "name, or "
            f"`{mark_statement(table)}` if all of its rows are this stream's"
        )
    key = frozenset((*table.identity, "_key"))
    if key not in found.unique_keys:
        reasons.append(
            f"no primary key or unique index on ({', '.join((*table.identity, '_key'))}); "
            f"`ALTER TABLE {quoted(table.name)} ADD PRIMARY KEY "
            f"({', '.join(quoted(name) for name in (*table.identity, '_key'))})`"
        )
    extra_keys = [sorted(other) for other in found.unique_keys if not other >= key]
    reasons += [
        f"unique index on ({', '.join(other)}) refuses rows of other windows; drop it"
        for other in extra_keys
    ]
    reasons += [f"trigger `{name}` may change or drop rows; drop it" for name in found.triggers]
    return reasons + _column_refusals(table, found)


def _column_refusals(table: SinkTable, found: FoundTable) -> list[str]:
    reasons = []
    expected = expected_columns(table)
    for name, (kind, nullable) in expected.items():
        have = found.columns.get(name)
        if have is None:
            reasons.append(
                f"column `{name}` is missing; `ALTER TABLE {quoted(table.name)} ADD COLUMN "
                f"{quoted(name)} {kind}`"
            )
            continue
        if not _holds(have[0], kind):
            reasons.append(f"column `{name}` is {have[0]}, expected {kind}; make the table anew")
        if nullable and have[1]:
            reasons.append(
                f"column `{name}` is NOT NULL, expected nullable; "
                f"`ALTER TABLE {quoted(table.name)} ALTER COLUMN {quoted(name)} DROP NOT NULL`"
            )
    for name, (_, not_null, has_default) in found.columns.items():
        if name not in expected and not_null and not has_default:
            reasons.append(
                f"column `{name}` is NOT NULL without a default and not of this stream; give "
                "it a default"
            )
    return reasons


def _holds(have: str, kind: str) -> bool:
    """Tell whether a column of type `have` keeps every value of `kind` exactly."""
    wider = {"timestamp(3) with time zone": "timestamp with time zone", "text": "character varying"}
    if kind.startswith("numeric("):
        return have in (kind, "numeric" + ("[]" if kind.endswith("[]") else ""))
    return have in (kind, wider.get(kind))
