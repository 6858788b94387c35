"""What an ETL run finds and leaves behind: tables, objects and files, read past the product."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import asyncpg
import polars as pl

from common.names import etl_workflow_id
from common.settings import Settings
from connectors.batch_targets import clickhouse_settings, open_target
from connectors.clickhouse_client import ClickHouseConnection
from connectors.temporal import connect
from tests.e2e.command import Sluice
from tests.stack_rig import wait_for
from workflows.etl_input import EtlStatus

T = TypeVar("T")

_TABLES = (
    "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables "
    "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') "
    "AND table_schema NOT LIKE '%timescaledb%' ORDER BY 1"
)


def write_etl(sluice: Sluice, name: str, text: str) -> Path:
    """Write a user's own ETL pipeline into the project's folder."""
    path = sluice.settings.project_dir / "pipelines" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"kind: etl\nname: {name}\n{text.lstrip()}")
    return path


async def in_postgres(settings: Settings, act: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Do something over a connection of its own."""
    dsn = settings.postgres.dsn
    connection = await asyncpg.connect(dsn.get_secret_value() if dsn else "")
    try:
        return await act(connection)
    finally:
        await connection.close()


def execute(settings: Settings, *statements: str) -> None:
    """Execute statements in PostgreSQL, each in a transaction of its own."""

    async def act(connection: asyncpg.Connection) -> None:
        for statement in statements:
            await connection.execute(statement)

    asyncio.run(in_postgres(settings, act))


def query(settings: Settings, sql: str) -> list[dict[str, object]]:
    """Read rows of PostgreSQL."""

    async def act(connection: asyncpg.Connection) -> list[dict[str, object]]:
        return [dict(row) for row in await connection.fetch(sql)]

    return asyncio.run(in_postgres(settings, act))


def ask_clickhouse(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    """Read rows of ClickHouse."""

    async def act() -> list[tuple[object, ...]]:
        connection = ClickHouseConnection(clickhouse_settings(None, settings))
        try:
            found = await (await connection.client()).query(sql)
            return [tuple(row) for row in found.result_rows]
        finally:
            await connection.close()

    return asyncio.run(act())


def seen(settings: Settings, kind: str, table: str) -> pl.DataFrame:
    """Give what readers of a target see."""

    async def act() -> pl.DataFrame:
        opened = open_target(kind, None, settings)
        try:
            found = pl.from_arrow(await opened.final_rows(table))
        finally:
            await opened.close()
        assert isinstance(found, pl.DataFrame)
        return found

    return asyncio.run(act())


def status_when(settings: Settings, name: str, condition: Callable[[EtlStatus], bool]) -> EtlStatus:
    """Ask a run without interval where it stands, until that is as wanted."""

    async def act() -> EtlStatus:
        client = await connect(settings.temporal)
        handle = client.get_workflow_handle(etl_workflow_id(name))
        return await wait_for(lambda: handle.query("status", result_type=EtlStatus), condition)

    return asyncio.run(act())


def traces(settings: Settings) -> dict[str, str]:
    """Give everything that is kept anywhere, by name, with a digest of its content.

    Of PostgreSQL also the place and the writer of each row, of ClickHouse the names of its parts.
    """
    found: dict[str, str] = {}
    for folder in ("objects", "lake"):
        root = settings.data_dir / folder
        for path in sorted(root.rglob("*")):
            if path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[f"{folder}/{path.relative_to(root)}"] = digest
    for name, content in asyncio.run(in_postgres(settings, _postgres_tables)).items():
        found[f"postgres {name}"] = content
    for database, table, made in ask_clickhouse(
        settings,
        "SELECT database, name, create_table_query FROM system.tables WHERE database NOT IN "
        "('system', 'information_schema', 'INFORMATION_SCHEMA')",
    ):
        found[f"clickhouse {database}.{table}"] = str(made)
    for database, table, part, rows, hashed in ask_clickhouse(
        settings,
        "SELECT database, table, name, rows, hash_of_all_files FROM system.parts "
        "WHERE active AND database != 'system'",
    ):
        found[f"clickhouse {database}.{table} part {part}"] = f"{rows} {hashed}"
    return found


async def _postgres_tables(connection: asyncpg.Connection) -> dict[str, str]:
    found = {}
    for (table,) in await connection.fetch(_TABLES):
        kind = "SELECT relkind FROM pg_class WHERE oid = $1::regclass"
        view = await connection.fetchval(kind, table) == b"v"
        places = "" if view else "ctid, xmin,"
        rows = f"(SELECT {places} t.* FROM {table} t) r"
        digest = "SELECT count(*), md5(string_agg(r::text, '' ORDER BY r::text)) FROM " + rows
        found[table] = str(tuple(await connection.fetchrow(digest)))
    return found
