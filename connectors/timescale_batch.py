"""TimescaleDB as a target of batches: PostgreSQL's path, with hypertables."""

import asyncpg

from activities.etl_ports import BatchTable
from common.errors import SinkRefusedError
from connectors.postgres_batch import PostgresBatchTarget
from connectors.postgres_batch_table import Server, target_name, unique_columns
from connectors.postgres_table import literal
from connectors.timescale import extension_schema, load_extension
from pipelines.etl import KEYED_MODES

_INTERVAL = "7 days"


class TimescaleBatchTarget(PostgresBatchTarget):
    """A `BatchTarget` over a hypertable on `partition_by`; without one it is a plain table.

    Where the extension is missing a plain table stands in; the plan says so.
    """

    service = "TimescaleDB"

    async def _before(self, connection: asyncpg.Connection, table: BatchTable) -> None:
        """Load the extension."""
        if table.partition_by is not None:
            await load_extension(connection)

    async def _shape(
        self, connection: asyncpg.Connection, table: BatchTable, server: Server
    ) -> tuple[list[str], list[str]]:
        """Turn a new table into a hypertable."""
        if table.partition_by is None or server.target is not None:
            return [], []
        _require_time(table, table.partition_by)
        schema = await extension_schema(connection)
        if schema is None:
            known = await connection.fetchval(
                "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"
            )
            if not known:
                return [], [
                    f"TimescaleDB extension is not there: table `{table.name}` is a plain one"
                ]
            schema = "public"
        name = target_name(table, server.schema)
        return [
            f"SELECT {schema}.create_hypertable({literal(name)}::regclass, "
            f"{schema}.by_range({literal(table.partition_by)}, INTERVAL '{_INTERVAL}'), "
            "create_default_indexes => false)"
        ], []


def _require_time(table: BatchTable, time: str) -> None:
    """Refuse a hypertable that could not hold every row, or not tell its keys apart."""
    reasons = []
    if any(column.name == time and column.type.nullable for column in table.columns):
        reasons.append(
            f"`{time}` cuts the hypertable and may be null; declare its type without `?`, or leave "
            "out `partition_by`"
        )
    if table.mode in KEYED_MODES and time not in table.key:
        reasons.append(
            f"key ({', '.join(unique_columns(table))}) does not have `{time}`, without which a "
            "hypertable cannot tell that a key is there once; add it to `key`, or leave out "
            "`partition_by`"
        )
    if reasons:
        raise SinkRefusedError(f"TimescaleDB table `{table.name}`: {'; '.join(reasons)}")
