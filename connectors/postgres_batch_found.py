"""What PostgreSQL has of a batch: its target, the ledger of runs, and tables of staging."""

from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg

from activities.etl_ports import BatchTable
from common.errors import SinkRefusedError
from connectors.postgres_batch_staging import rows_name, written_name
from connectors.postgres_batch_table import (
    LEDGER,
    Server,
    batch_marker,
    expected_columns,
    split_name,
    target_name,
    unique_columns,
)
from connectors.postgres_found import look_up
from connectors.postgres_table import FoundTable, quoted

_NOT_PLAIN = """
SELECT c.relacl IS NOT NULL OR c.relrowsecurity OR c.relkind <> 'r' OR c.relhassubclass
    OR c.reloptions IS NOT NULL OR c.relispartition OR c.relowner <> r.oid
    OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
        AND NOT attisdropped AND (attacl IS NOT NULL OR atthasdef))
    OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid)
    OR EXISTS (SELECT FROM pg_description WHERE objoid = c.oid AND objsubid > 0)
    OR EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND contype NOT IN ('p', 'n'))
    OR EXISTS (SELECT FROM pg_constraint WHERE confrelid = c.oid)
    OR EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)
    OR EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = c.oid)
    OR EXISTS (SELECT FROM pg_publication_rel WHERE prrelid = c.oid)
    OR EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND NOT indisprimary)
    OR EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid
        WHERE d.refobjid = c.oid AND d.classid = 'pg_rewrite'::regclass
        AND w.ev_class IS DISTINCT FROM to_regclass($2))
    OR EXISTS (SELECT FROM pg_depend d WHERE d.refobjid IN (c.oid, c.reltype)
        AND d.deptype = 'n' AND d.classid NOT IN ('pg_rewrite'::regclass))
FROM pg_class c, pg_roles r WHERE c.oid = to_regclass($1) AND r.rolname = current_user
"""
"""Whether something would be lost with a table, but for its view and primary key."""

_SHOWN_BY = """
SELECT DISTINCT w.ev_class::regclass::text AS name FROM pg_depend d JOIN pg_rewrite w
    ON w.oid = d.objid WHERE d.classid = 'pg_rewrite'::regclass
    AND d.refobjid IN (to_regclass($1), to_regclass($2))
    AND w.ev_class IS DISTINCT FROM to_regclass($2) ORDER BY 1
"""
_GRANTS = """
SELECT format('GRANT %s ON %s TO %s', a.privilege_type, $1::text,
    CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) AS text
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass($1) AND a.grantee <> c.relowner
ORDER BY 1
"""
_SLOT_INDEX = """
SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
    AND a.attnum = i.indkey[0] WHERE i.indrelid = to_regclass($1) AND a.attname = '_slot')
"""


async def schema_of(connection: asyncpg.Connection, table: BatchTable) -> str:
    """Name the schema of the target.

    Raises:
        SinkRefusedError: There is no such schema.
    """
    schema, _ = split_name(table.name)
    if schema is None:
        found: str | None = await connection.fetchval("SELECT current_schema()")
    else:
        found = await connection.fetchval(
            "SELECT nspname::text FROM pg_namespace WHERE nspname = $1", schema
        )
    if found is None:
        raise SinkRefusedError(
            f"table `{table.name}`: expected schema `{schema or 'public'}`, got none; `CREATE "
            f"SCHEMA {quoted(schema or 'public')}`"
        )
    return found


async def look_at(connection: asyncpg.Connection, table: BatchTable, schema: str) -> Server:
    """Look at the target, its view and the ledger."""
    bare = split_name(table.name)[1]
    name, view = target_name(table, schema), f"{quoted(schema)}.{quoted(f'{bare}_final')}"
    target = await look_up(connection, name)
    views = await connection.fetch(
        "SELECT relkind::text AS kind, obj_description(oid, 'pg_class') AS comment FROM pg_class "
        "WHERE oid = to_regclass($1)",
        view,
    )
    ledger = await connection.fetchval(
        "SELECT to_regclass($1) IS NOT NULL", f"{quoted(schema)}.{LEDGER}"
    )
    may_create = await connection.fetchval(
        "SELECT has_schema_privilege($1, 'USAGE') AND has_schema_privilege($1, 'CREATE')",
        schema,
    )
    plain = target is not None and _ours(table, target)
    reads = bool(ledger and may_create)
    return Server(
        schema=schema,
        target=target,
        plain=plain and not await connection.fetchval(_NOT_PLAIN, name, view),
        view=(views[0]["comment"] or "") if views else None,
        view_kind=views[0]["kind"] if views else None,
        ledger=bool(ledger),
        shown_by=tuple(row["name"] for row in await connection.fetch(_SHOWN_BY, name, view)),
        grants=tuple(row["text"] for row in await connection.fetch(_GRANTS, view)),
        replicated=await _is_replicated(connection, schema),
        may_create=bool(may_create),
        slot_known=reads and await published_run(connection, table, schema) >= 0,
        slot_index=bool(await connection.fetchval(_SLOT_INDEX, name)),
    )


async def _is_replicated(connection: asyncpg.Connection, schema: str) -> bool:
    statement = "SELECT EXISTS (SELECT FROM pg_publication WHERE puballtables)"
    if connection.get_server_version().major >= 15:
        statement += (
            " OR EXISTS (SELECT FROM pg_publication_namespace JOIN pg_namespace n "
            "ON n.oid = pnnspid WHERE n.nspname = $1)"
        )
        return bool(await connection.fetchval(statement, schema))
    return bool(await connection.fetchval(statement))


def _ours(table: BatchTable, found: FoundTable) -> bool:
    """Tell whether a table is as this batch would make it."""
    key = unique_columns(table)
    return (
        found.comment == batch_marker(table)
        and {name: (kind, not null) for name, (kind, null, _) in found.columns.items()}
        == expected_columns(table)
        and found.unique_keys == ([frozenset(key)] if key else [])
    )


async def tables_like(connection: asyncpg.Connection, schema: str, prefix: str) -> list[str]:
    """List the tables of a schema whose names begin so."""
    found = await connection.fetch(
        "SELECT c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = "
        "c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r' AND starts_with(c.relname, $2) "
        "ORDER BY 1",
        schema,
        prefix,
    )
    return [str(row["name"]) for row in found]


async def is_open(connection: asyncpg.Connection, table: BatchTable, schema: str) -> bool:
    """Tell whether the run may stage."""
    name = written_name(table)
    return name in await tables_like(connection, schema, name)


async def is_logged(connection: asyncpg.Connection, table: BatchTable, schema: str) -> bool:
    """Tell whether the staged rows are in a table that survives a crash of the server."""
    return bool(
        await connection.fetchval(
            "SELECT relpersistence = 'p' FROM pg_class WHERE oid = to_regclass($1)",
            f"{quoted(schema)}.{quoted(rows_name(table))}",
        )
    )


@dataclass(frozen=True)
class Written:
    """What one transaction wrote into staging.

    Attributes:
        mark: Its number, as rows show it.
        attempt: Number of the attempt.
        ended: Whether these are the attempt's last rows.
    """

    mark: int
    attempt: int
    row_count: int
    ended: bool


async def written(connection: asyncpg.Connection, table: BatchTable, schema: str) -> list[Written]:
    """Read what transactions wrote into staging, of every attempt."""
    found = await connection.fetch(
        "SELECT mark::xid::text::bigint AS mark, attempt, row_count, ended "
        f"FROM {quoted(schema)}.{quoted(written_name(table))}"
    )
    return [Written(row["mark"], row["attempt"], row["row_count"], row["ended"]) for row in found]


def whole_attempts(parts: Iterable[Written]) -> dict[int, int]:
    """Count the rows of those attempts that came to their end."""
    counts: dict[int, int] = {}
    ended = set()
    for part in parts:
        counts[part.attempt] = counts.get(part.attempt, 0) + part.row_count
        if part.ended:
            ended.add(part.attempt)
    return {attempt: count for attempt, count in counts.items() if attempt in ended}


async def published_run(connection: asyncpg.Connection, table: BatchTable, schema: str) -> int:
    """Read the newest run that published this slot; -1 is none."""
    run = await connection.fetchval(
        f"SELECT run FROM {quoted(schema)}.{LEDGER} WHERE target = $1 AND pipeline = $2 AND "
        "slot = $3",
        split_name(table.name)[1],
        table.pipeline,
        table.slot,
    )
    return -1 if run is None else int(run)


async def note_run(
    connection: asyncpg.Connection, table: BatchTable, schema: str, row_count: int
) -> None:
    """Note that a run has published its slot."""
    await connection.execute(
        f"INSERT INTO {quoted(schema)}.{LEDGER} (target, pipeline, slot, run, run_id, row_count) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (target, pipeline, slot) DO UPDATE SET "
        "run = excluded.run, run_id = excluded.run_id, row_count = excluded.row_count, "
        "published_at = now()",
        split_name(table.name)[1],
        table.pipeline,
        table.slot,
        table.run,
        table.run_id,
        row_count,
    )
