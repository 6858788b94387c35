"""ClickHouse as a sink of versioned windows."""

from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.asyncclient import AsyncClient

from activities.ports import (
    FlushChunk,
    Preflight,
    Progress,
    RetiredEvents,
    RetiredRows,
    SinkTable,
)
from common.errors import SinkRefusedError
from common.settings import ClickHouseSettings
from connectors.clickhouse_client import ClickHouseConnection
from connectors.clickhouse_error import translated
from connectors.clickhouse_progress import STATEMENTS, tell, told
from connectors.clickhouse_table import (
    FoundTable,
    create_table,
    create_view,
    literal,
    quoted,
    refusals,
    retire_rows,
)
from connectors.clickhouse_value import check_times, instants, shown
from connectors.sink_rows import check_declaration, conform, marker, order_columns

_WRITE_SETTINGS = {
    "async_insert": 0,
    "input_format_null_as_default": 0,
    "input_format_defaults_for_omitted_fields": 1,
    "insert_deduplicate": 1,
}
"""An asynchronous insert may answer before the rows are stored, and a null must not turn into a
zero.
"""


class ClickHouseSink:
    """A `FlushSink` over ReplacingMergeTree(_version, _deleted).

    Versions make a repeated write harmless; the deduplication token only saves work. An older
    epoch is not refused: its versions are lower, so it has no effect on the final view.

    Args:
        settings: Address, database and account; the client connects at the first use and again when
            it must.
    """

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._connection = ClickHouseConnection(settings)
        self._address = self._connection.address
        self._replicated: dict[str, bool] = {}

    async def prepare(self, table: SinkTable) -> Preflight:
        """Create table and view where missing, and refuse a table that cannot hold the promise."""
        check_declaration(table)
        client = await self._connection.client()
        with translated(f"preparing table `{table.name}`", self._address):
            await client.command(create_table(table))
            found = await self._found(client, table.name)
            reasons = refusals(table, found)
            if reasons:
                raise SinkRefusedError(
                    f"ClickHouse table `{table.name}` cannot hold stream `{table.stream}`: "
                    + "; ".join(reasons)
                )
            if not found.comment:
                await client.command(
                    f"ALTER TABLE {quoted(table.name)} MODIFY COMMENT "
                    f"{literal(marker(table.stream))}"
                )
            await client.command(create_view(table))
            for statement in STATEMENTS:
                await client.command(statement)
            highest = await client.query(f"SELECT max(_version) FROM {quoted(table.name)}")
        self._replicated[table.name] = found.replicated
        return Preflight(
            highest_epoch=int(highest.result_rows[0][0]) >> 40, notes=_notes(table, found)
        )

    async def write(self, table: SinkTable, chunk: FlushChunk, rows: pa.Table) -> None:
        """Write one frozen chunk with one insert; nothing of a refused chunk is visible."""
        checked = conform(table, chunk, rows)
        if checked.num_rows:
            await self._insert(table, chunk, checked)
        if chunk.progress is not None:
            await self.publish(table, chunk.progress)

    async def publish(self, table: SinkTable, progress: Progress) -> None:
        """Tell readers how far the stream is, once its rows are in."""
        client = await self._connection.client()
        with translated("writing to `sluice_streams`", self._address):
            await tell(client, table, progress)

    async def refresh(self, table: SinkTable, version: int) -> None:
        """Do nothing: the version is kept with the rows."""

    async def progress(self, table: SinkTable) -> Progress | None:
        """Read the stream's row of `sluice_streams_final`."""
        client = await self._connection.client()
        with translated("reading `sluice_streams_final`", self._address):
            return await told(client, table)

    async def _insert(self, table: SinkTable, chunk: FlushChunk, checked: pa.Table) -> None:
        check_times(table.name, table.columns, checked)
        place = checked.schema.get_field_index("_deleted")
        checked = checked.set_column(place, "_deleted", checked["_deleted"].cast(pa.uint8()))
        token = f"{chunk.stream}/{chunk.epoch}/{chunk.flush_seq}/{chunk.chunk}/{chunk.sha256}"
        settings: dict[str, Any] = _WRITE_SETTINGS | {"insert_deduplication_token": token}
        client = await self._connection.client()
        with translated(f"writing flush {chunk.flush_seq} to `{table.name}`", self._address):
            if await self._is_replicated(client, table.name):
                settings["insert_quorum"] = "auto"
            await client.insert_arrow(quoted(table.name), checked, settings=settings)

    async def retire(
        self, table: SinkTable, chunk: FlushChunk, rows: RetiredRows | RetiredEvents
    ) -> None:
        """Insert tombstones over what is left of older epochs; versions decide, as ever."""
        client = await self._connection.client()
        statement = retire_rows(table, chunk, rows)
        with translated(f"retiring rows of `{table.name}`", self._address):
            settings: dict[str, Any] = {"insert_deduplicate": 0}
            if await self._is_replicated(client, table.name):
                settings |= {"insert_quorum": "auto", "select_sequential_consistency": 1}
            await client.command(statement, settings=settings)

    async def final_rows(
        self, table: str, limit: int | None = None, time: str = "window_start"
    ) -> pa.Table:
        """Read `<table>_final`, newest `time` first, then by position or the rest.

        UUIDs come as text.
        """
        client = await self._connection.client()
        with translated(f"reading `{table}_final`", self._address):
            found = await client.query(
                "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND "
                "table = {name:String} "
                "ORDER BY position",
                parameters={"name": f"{table}_final"},
            )
            kinds = {str(name): str(kind) for name, kind in found.result_rows}
            if not kinds:
                raise SinkRefusedError(
                    f"view `{table}_final`: expected to exist, got none; it is made when the "
                    "stream starts"
                )
            query = _select_final(table, kinds, limit, time)
            result = await client.query_arrow(
                query, settings={"output_format_arrow_string_as_string": 1}
            )
        return instants(result)

    async def close(self) -> None:
        """Close the connections; the next use opens them again."""
        await self._connection.close()

    async def _is_replicated(self, client: AsyncClient, name: str) -> bool:
        if name not in self._replicated:
            self._replicated[name] = (await self._found(client, name)).replicated
        return self._replicated[name]

    async def _found(self, client: AsyncClient, name: str) -> FoundTable:
        where = "WHERE database = currentDatabase() AND"
        tables = await client.query(
            "SELECT engine, engine_full, create_table_query, sorting_key, comment, "
            "ifNull(total_rows, 1) "
            f"FROM system.tables {where} name = {{name:String}}",
            parameters={"name": name},
        )
        if not tables.result_rows:
            raise SinkRefusedError(
                f"table `{name}`: expected to exist, got none; start the stream to make it"
            )
        columns = await client.query(
            "SELECT name, type, is_in_partition_key, is_in_sorting_key "
            f"FROM system.columns {where} table = {{name:String}}",
            parameters={"name": name},
        )
        defaults = await client.query(
            "SELECT name, value FROM system.merge_tree_settings WHERE changed AND name LIKE "
            "'%clean%'"
        )
        engine, engine_full, create_query, sorting_key, comment, row_count = tables.result_rows[0]
        return FoundTable(
            engine=engine,
            engine_full=engine_full,
            create_query=create_query,
            sorting_key=sorting_key,
            comment=comment,
            row_count=int(row_count),
            columns={
                column: (kind, bool(part), bool(sort))
                for column, kind, part, sort in columns.result_rows
            },
            defaults={str(setting): str(value) for setting, value in defaults.result_rows},
        )


def _notes(table: SinkTable, found: FoundTable) -> list[str]:
    notes = []
    if found.replicated:
        notes.append(
            f"ClickHouse table `{table.name}` is replicated: writes wait for a quorum "
            "(insert_quorum = auto)"
        )
    if found.time_to_live:
        notes.append(f"ClickHouse table `{table.name}` drops rows by its TTL: {found.time_to_live}")
    if table.retention_ms is not None or table.compress_after_ms is not None:
        notes.append(
            f"ClickHouse table `{table.name}`: retention and compress_after are not applied; "
            "set a TTL on the table"
        )
    return notes


def _select_final(table: str, kinds: dict[str, str], limit: int | None, time: str) -> str:
    """Read the view with UUIDs as text, so that they also sort as text."""
    columns = [shown(quoted(name), kind) for name, kind in kinds.items()]
    order = ", ".join(
        f"{quoted(name)} {'DESC' if down else 'ASC'}"
        for name, down in order_columns(list(kinds), time)
    )
    return f"SELECT {', '.join(columns)} FROM {quoted(table + '_final')} ORDER BY {order}" + (
        f" LIMIT {int(limit)}" if limit is not None else ""
    )
