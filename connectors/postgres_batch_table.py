"""A batch's table in PostgreSQL: how each mode lays it out, and why an existing one is refused."""

import datetime as dt
import hashlib
import re
from dataclasses import dataclass

from activities.etl_ports import BatchTable
from connectors.batch_rows import column_of
from connectors.postgres_table import NAME_LIMIT_BYTES, FoundTable, column_type, literal, quoted
from pipelines.etl import KEYED_MODES

LEDGER = "sluice_batches"

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_INSTANT = "timestamp(6) with time zone"
_WIDER_WHOLE = {"integer": "bigint"}
_DECIMAL = re.compile(r"numeric\((\d+),(\d+)\)")


@dataclass(frozen=True)
class Server:
    """What is there.

    Attributes:
        schema: Of the target, or where it would be made.
        target: The target, None where there is none.
        plain: Whether the target has nothing that would be lost with it: no other's rights, no
            object that needs it but its own view, no index, rule or policy of somebody's own.
        view: The comment of the target's view, None where there is no view.
        view_kind: The kind of relation that has the view's name.
        ledger: Whether there is the ledger.
        shown_by: Somebody's own views of the target or of its view.
        grants: Statements that give others the rights that they have on the view.
        replicated: Whether every table of the schema is replicated logically, as it is written.
        may_create: Whether the user may make tables in the schema.
        slot_known: Whether a run has published this slot.
        slot_index: Whether an index of the target finds the rows of a slot.
    """

    schema: str
    target: FoundTable | None = None
    plain: bool = False
    view: str | None = None
    view_kind: str | None = None
    ledger: bool = False
    shown_by: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    replicated: bool = False
    may_create: bool = True
    slot_known: bool = False
    slot_index: bool = False


def split_name(name: str) -> tuple[str | None, str]:
    """Split `schema.table` or `table`."""
    schema, point, bare = name.partition(".")
    return (schema, bare) if point else (None, name)


def batch_marker(table: BatchTable) -> str:
    """Write the comment by which a table says to whom it belongs."""
    return f"sluice etl {table.pipeline} {table.mode}"


def key_columns(table: BatchTable) -> tuple[str, ...]:
    """Name the columns by which the mode tells rows apart."""
    return table.key if table.mode in KEYED_MODES else ()


def unique_columns(table: BatchTable) -> tuple[str, ...]:
    """Name the columns of the target's unique index; none for the modes without a key."""
    return (*table.key, "_valid_from") if table.mode == "scd2" else key_columns(table)


def listed(names: tuple[str, ...] | list[str], of: str = "") -> str:
    """Write column names one after the other."""
    return ", ".join(f"{of}{quoted(name)}" for name in names)


def system_columns(table: BatchTable) -> dict[str, tuple[str, str]]:
    """Give the columns that a mode adds: type, and the value of this run's rows as SQL."""
    run = {"_run": ("bigint", str(table.run))}
    if table.mode in ("append", "replace"):
        return {"_slot": ("text", literal(table.slot))} | run
    if table.mode == "scd2":
        return {
            "_valid_from": (_INSTANT, _valid_from(table)),
            "_valid_to": (_INSTANT, "NULL"),
            "_is_current": ("boolean", "true"),
            "_repeats": ("boolean", "false"),
        } | run
    return run


def _valid_from(table: BatchTable) -> str:
    moment = _EPOCH + dt.timedelta(microseconds=table.moment_us)
    planned = f"timestamptz {literal(moment.isoformat())}"
    if table.cursor is None:
        return planned
    cursor = quoted(table.cursor)
    if column_of(table, table.cursor).type.base == "date":
        cursor = f"{cursor}::timestamp AT TIME ZONE 'UTC'"
    return f"coalesce({cursor}, {planned})"


def expected_columns(table: BatchTable) -> dict[str, tuple[str, bool]]:
    """Map every column to (type, nullable), as the table is made where there is none."""
    key = key_columns(table)
    visible = {
        column.name: (column_type(column.type), column.type.nullable and column.name not in key)
        for column in table.columns
    }
    own = {name: (kind, name == "_valid_to") for name, (kind, _) in system_columns(table).items()}
    return visible | own


def create_ledger(schema: str) -> str:
    """Write the statement that makes the record of publications."""
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(schema)}.{LEDGER} (target text NOT NULL, pipeline "
        "text NOT NULL, slot text NOT NULL, run bigint NOT NULL, run_id text NOT NULL, row_count "
        "bigint NOT NULL, published_at timestamptz NOT NULL DEFAULT now(), "
        "PRIMARY KEY (target, pipeline, slot))"
    )


def create_target(table: BatchTable, schema: str) -> str:
    """Write the statement that makes the table."""
    columns = [
        f"{quoted(name)} {kind}{'' if nullable else ' NOT NULL'}"
        for name, (kind, nullable) in expected_columns(table).items()
    ]
    return f"CREATE TABLE {target_name(table, schema)} ({', '.join(columns)})"


def create_key(table: BatchTable, schema: str) -> list[str]:
    """Write what tells keys apart."""
    name, key = target_name(table, schema), unique_columns(table)
    return [f"ALTER TABLE {name} ADD PRIMARY KEY ({listed(key)})"] if key else []


def create_slot_index(table: BatchTable, server: Server) -> list[str]:
    """Write what finds the rows of a slot, which lie together, once there is more than one slot."""
    if unique_columns(table) or not table.slot or server.slot_known or server.slot_index:
        return []
    name = target_name(table, server.schema)
    return [f"CREATE INDEX ON {name} USING brin (_slot) WITH (autosummarize = on)"]


def mark_target(table: BatchTable, schema: str) -> str:
    """Write the statement that says to which pipeline the table belongs."""
    name = target_name(table, schema)
    return f"COMMENT ON TABLE {name} IS {literal(batch_marker(table))}"


def target_name(table: BatchTable, schema: str) -> str:
    """Write the target's name as SQL."""
    return f"{quoted(schema)}.{quoted(split_name(table.name)[1])}"


def view_name(table: BatchTable, schema: str) -> str:
    """Write the name of the target's view as SQL."""
    return f"{quoted(schema)}.{quoted(split_name(table.name)[1] + '_final')}"


def alterations(table: BatchTable, found: FoundTable, schema: str) -> tuple[list[str], list[str]]:
    """List what an existing table needs: column types to widen, and other statements."""
    name = target_name(table, schema)
    wanted = expected_columns(table)
    own = {"_run": "-1", "_slot": "''"}
    widened, added = [], []
    for column, (kind, nullable) in wanted.items():
        have = found.columns.get(column)
        if have is None:
            default = f" NOT NULL DEFAULT {own[column]}" if column in own else ""
            added.append(f"ALTER TABLE {name} ADD COLUMN {quoted(column)} {kind}{default}")
        elif not holds(have[0], kind):
            to = widened_to(have[0], kind)
            widened.append(f"ALTER TABLE {name} ALTER COLUMN {quoted(column)} TYPE {to}")
        if have is not None and nullable and have[1]:
            added.append(f"ALTER TABLE {name} ALTER COLUMN {quoted(column)} DROP NOT NULL")
    added += [
        f"ALTER TABLE {name} ALTER COLUMN {quoted(column)} DROP NOT NULL"
        for column, (_, not_null, has_default) in found.columns.items()
        if column not in wanted and not_null and not has_default
    ]
    return widened, added


def holds(have: str, kind: str) -> bool:
    """Tell whether a column of type `have` keeps every value of `kind` exactly."""
    wider = {
        "timestamp(3) with time zone": ("timestamp with time zone", "timestamp(6) with time zone"),
        "timestamp(6) with time zone": ("timestamp with time zone",),
        "text": ("character varying",),
        "integer": ("bigint",),
    }
    if have == kind or have in wider.get(kind, ()):
        return True
    base, array = kind.removesuffix("[]"), kind.endswith("[]")
    if not _DECIMAL.fullmatch(base) or array != have.endswith("[]"):
        return False
    return have.removesuffix("[]") == "numeric" or widened_to(kind, have) == have


def widened_to(have: str, kind: str) -> str | None:
    """Give the type that keeps every value of both a column's type and a wanted one."""
    if have in _WIDER_WHOLE and _WIDER_WHOLE[have] == kind:
        return kind
    if have == "timestamp(3) with time zone" and kind == _INSTANT:
        return kind
    old, new = _DECIMAL.fullmatch(have), _DECIMAL.fullmatch(kind)
    if old is None or new is None:
        return None
    scale = max(int(old[2]), int(new[2]))
    whole = max(int(old[1]) - int(old[2]), int(new[1]) - int(new[2]))
    return f"numeric({whole + scale},{scale})"


def create_final(table: BatchTable, found: FoundTable | None, schema: str) -> tuple[str, str]:
    """Write the query of the view that readers use, and what its comment is then."""
    wanted = expected_columns(table)
    names = list(wanted if found is None else found.columns | wanted)
    history = ("_valid_from", "_valid_to", "_is_current") if table.mode == "scd2" else ()
    shown = [name for name in names if not name.startswith("_") or name in history]
    query = f"SELECT {listed(shown)} FROM {target_name(table, schema)}"
    query += " WHERE NOT _repeats" if table.mode == "scd2" else ""
    return query, hashlib.sha256(query.encode()).hexdigest()[:16]


def batch_refusals(table: BatchTable, server: Server) -> list[str]:
    """Say every reason why the target cannot hold the promise, each with what to do."""
    bare = split_name(table.name)[1]
    names = [f"{bare}_final", *(column.name for column in table.columns)]
    reasons = [
        f"name `{name}` has {len(name.encode())} bytes, more than {NAME_LIMIT_BYTES}; shorten it"
        for name in names
        if len(name.encode()) > NAME_LIMIT_BYTES
    ]
    if not server.may_create:
        reasons.append(
            "the user may not make tables there, in which rows are staged; `GRANT USAGE, CREATE ON "
            f"SCHEMA {quoted(server.schema)} TO` the user"
        )
    if server.view_kind not in (None, "v"):
        reasons.append(f"`{bare}_final` is no view; choose another name for the table")
    elif server.view_kind is not None and server.target is None:
        reasons.append(f"`{bare}_final` is there without `{bare}`; drop it")
    if server.target is None:
        return reasons
    reasons += _table_refusals(table, server.target, server.schema)
    if not reasons and server.shown_by and alterations(table, server.target, server.schema)[0]:
        reasons.append(
            f"the type of a column gets wider, which PostgreSQL does not do below a view: drop "
            f"{', '.join(server.shown_by)}, and make it again after the run"
        )
    return reasons


def _table_refusals(table: BatchTable, found: FoundTable, schema: str) -> list[str]:
    if found.kind not in ("r", "p"):
        return [f"it is no table (relation kind `{found.kind}`); choose another table name"]
    reasons = []
    mine = batch_marker(table)
    if found.comment != mine and (found.comment or found.has_rows):
        held = f"comment is {found.comment!r}" if found.comment else "it holds rows"
        reasons.append(
            f"it is of another pipeline, mode or owner: {held}, expected {mine!r}; choose another "
            f"table name, or `{mark_target(table, schema)}` if all of its rows are this pipeline's"
        )
    key = unique_columns(table)
    if key and frozenset(key) not in found.unique_keys:
        reasons.append(
            f"no unique index on ({', '.join(key)}); `CREATE UNIQUE INDEX ON "
            f"{target_name(table, schema)} ({listed(key)})`"
        )
    if key:
        reasons += [
            f"unique index on ({', '.join(sorted(other))}) refuses rows of other keys; drop it"
            for other in found.unique_keys
            if not other >= frozenset(key)
        ]
    reasons += [f"trigger `{name}` may change or drop rows; drop it" for name in found.triggers]
    return reasons + _column_refusals(table, found)


def _column_refusals(table: BatchTable, found: FoundTable) -> list[str]:
    reasons = []
    for name, (kind, _) in expected_columns(table).items():
        have = found.columns.get(name)
        if have is None:
            if name in key_columns(table) or (name.startswith("_") and name not in _ADDABLE):
                reasons.append(f"column `{name}` is missing; make the table anew")
        elif not holds(have[0], kind) and not widened_to(have[0], kind):
            reasons.append(
                f"column `{name}` is {have[0]}, expected {kind}; cast it in the steps, or make "
                "the table anew"
            )
    return reasons


_ADDABLE = ("_run", "_slot")
