"""What PostgreSQL's catalog says of a table that is there."""

import asyncpg

from connectors.postgres_table import FoundTable


async def look_up(connection: asyncpg.Connection, relation_name: str) -> FoundTable | None:
    """Read what the catalog says of a relation, named as SQL does; None where there is none."""
    relation = await connection.fetchrow(
        "SELECT c.oid, c.relkind::text AS kind, obj_description(c.oid, 'pg_class') AS comment "
        "FROM pg_class c WHERE c.oid = to_regclass($1)",
        relation_name,
    )
    if relation is None:
        return None
    columns = await connection.fetch(
        "SELECT attname, format_type(atttypid, atttypmod) AS kind, attnotnull, "
        "(atthasdef OR attidentity <> '' OR attgenerated <> '') AS has_default "
        "FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        relation["oid"],
    )
    keys = await connection.fetch(
        "SELECT array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid "
        "AND a.attnum = ANY (i.indkey::int2[])) AS names FROM pg_index i "
        "WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND "
        "i.indexprs IS NULL",
        relation["oid"],
    )
    triggers = await connection.fetch(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal AND tgname NOT "
        "LIKE 'ts\\_%'",
        relation["oid"],
    )
    is_table = relation["kind"] in ("r", "p")
    has_rows = is_table and await connection.fetchval(
        f"SELECT EXISTS (SELECT 1 FROM {relation_name})"
    )
    return FoundTable(
        kind=relation["kind"],
        comment=relation["comment"],
        has_rows=bool(has_rows),
        columns={
            row["attname"]: (row["kind"], row["attnotnull"], row["has_default"]) for row in columns
        },
        unique_keys=[frozenset(row["names"]) for row in keys],
        triggers=[row["tgname"] for row in triggers],
    )
