"""TimescaleDB as a sink: the plain PostgreSQL path plus hypertable, retention and compression."""

import asyncpg

from activities.ports import SinkTable
from connectors.postgres import PREPARE_LOCK, PostgresSink
from connectors.postgres_error import is_outage
from connectors.postgres_table import literal, quoted

_NO_EXTENSION = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.UndefinedFileError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)
"""What a server says that will not load the extension; anything else may pass and must not settle
the table's kind.
"""

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


def chunk_interval_ms(table: SinkTable) -> int:
    """Choose the time span of a chunk: a twelfth of the retention, 1 hour to 7 days."""
    wanted = [7 * _DAY_MS]
    if table.retention_ms is not None:
        wanted.append(table.retention_ms // 12)
    if table.compress_after_ms is not None:
        wanted.append(table.compress_after_ms)
    return max(min(wanted), _HOUR_MS)


class TimescaleSink(PostgresSink):
    """A `FlushSink` over a hypertable on the table's time.

    Where the extension is missing, or the identity has no time, a plain table stands in;
    `Preflight.notes` says so.
    """

    service = "TimescaleDB"

    async def _before(self, connection: asyncpg.Connection) -> list[str]:
        """Load the extension; PostgreSQL without it goes on as plain PostgreSQL."""
        return await load_extension(connection)

    async def _shape(self, connection: asyncpg.Connection, table: SinkTable) -> list[str]:
        """Turn the new table into a hypertable."""
        time = _time_column(table)
        schema = await extension_schema(connection)
        if schema is None:
            return []
        if time is None:
            return [
                f"TimescaleDB table `{table.name}` has no time in its identity: it is a plain table"
            ]
        await connection.execute(
            f"SELECT {schema}.create_hypertable({literal(quoted(table.name))}::regclass, "
            f"{schema}.by_range({literal(time)}, "
            f"INTERVAL '{chunk_interval_ms(table)} milliseconds'), create_default_indexes => false)"
        )
        return []

    async def _after(self, connection: asyncpg.Connection, table: SinkTable) -> list[str]:
        """Set retention and compression; a policy that the server refuses is a note."""
        time = _time_column(table)
        schema = await extension_schema(connection)
        if time is None or schema is None or not await _is_hypertable(connection, table.name):
            return await super()._after(connection, table)
        relation = f"{literal(quoted(table.name))}::regclass"
        notes = []
        if table.retention_ms is not None:
            notes += await _attempt(
                connection,
                f"retention of `{table.name}`",
                [
                    f"SELECT {schema}.remove_retention_policy({relation}, if_exists => true)",
                    f"SELECT {schema}.add_retention_policy({relation}, INTERVAL "
                    f"'{table.retention_ms} milliseconds')",
                ],
            )
        if table.compress_after_ms is not None:
            notes += await _attempt(
                connection,
                f"compression of `{table.name}`",
                [
                    f"ALTER TABLE {quoted(table.name)} SET (timescaledb.compress, "
                    f"{_compression(table, time)})",
                    f"SELECT {schema}.remove_compression_policy({relation}, if_exists => true)",
                    f"SELECT {schema}.add_compression_policy({relation}, INTERVAL "
                    f"'{table.compress_after_ms} milliseconds')",
                ],
            )
        return notes


async def load_extension(connection: asyncpg.Connection) -> list[str]:
    """Load the extension where it can be; gives what somebody should know otherwise."""
    if not await connection.fetchval(
        "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"
    ):
        return [
            "TimescaleDB extension is not there: a plain PostgreSQL table stands in for "
            "the hypertable"
        ]
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", PREPARE_LOCK)
            if await extension_schema(connection) is None:
                # The script of the embedded build leaves its own search path behind.
                path = await connection.fetchval("SELECT current_setting('search_path')")
                await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
                await connection.execute("SELECT set_config('search_path', $1, false)", path)
    except _NO_EXTENSION as error:
        return [
            f"TimescaleDB extension cannot be loaded ({error}): a plain PostgreSQL table stands in"
        ]
    return []


def _time_column(table: SinkTable) -> str | None:
    """Name the column that cuts the table; a unique key of a hypertable must have it."""
    return table.time if table.time in table.identity else None


def _compression(table: SinkTable, time: str) -> str:
    """Say what lies together in a compressed chunk; rows of one key, where keys come again."""
    order = f"{quoted(time)} DESC"
    if table.recurring_key:
        return (
            "timescaledb.compress_segmentby = '_key', "
            f"timescaledb.compress_orderby = {literal(order)}"
        )
    return f"timescaledb.compress_orderby = {literal(f'{order}, _key')}"


async def extension_schema(connection: asyncpg.Connection) -> str | None:
    """Name the schema of the extension's functions; None where it is not loaded."""
    schema: str | None = await connection.fetchval(
        "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = "
        "e.extnamespace "
        "WHERE e.extname = 'timescaledb'"
    )
    return schema


async def _is_hypertable(connection: asyncpg.Connection, name: str) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM timescaledb_information.hypertables h "
            "JOIN pg_class c ON c.oid = to_regclass($1) JOIN pg_namespace n ON n.oid = "
            "c.relnamespace "
            "WHERE h.hypertable_name = c.relname AND h.hypertable_schema = n.nspname",
            quoted(name),
        )
    )


async def _attempt(connection: asyncpg.Connection, what: str, statements: list[str]) -> list[str]:
    """Run housekeeping in a transaction of its own, and say what the server refused."""
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
    except asyncpg.PostgresError as error:
        if is_outage(error):
            raise
        return [f"TimescaleDB: {what} is not set up: {str(error).splitlines()[0]}"]
    return []
