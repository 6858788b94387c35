"""ClickHouse as a target of batches: staged in tables of their own, published by one statement."""

from collections.abc import AsyncIterator, Mapping

import pyarrow as pa
from clickhouse_connect.driver.asyncclient import AsyncClient

from activities.etl_ports import BatchTable, Published, TargetPlan
from common.errors import RetryableError, SinkRefusedError
from connectors.batch_rows import HISTORY, check_batch_table, conform_batch, staging_gone
from connectors.clickhouse_batch_found import (
    Server,
    columns_of,
    drop_table,
    look_up,
    note_run,
    published_run,
    row_counts,
    slot_count,
    tables_like,
)
from connectors.clickhouse_batch_table import (
    CREATE_LEDGER,
    add_columns,
    batch_marker,
    batch_refusals,
    create_final,
    create_like,
    create_target,
)
from connectors.clickhouse_client import ClickHouseConnection
from connectors.clickhouse_error import translated
from connectors.clickhouse_publish import Publication
from connectors.clickhouse_staging import (
    anchor_name,
    attempt_name,
    attempt_names,
    older,
    run_prefix,
    slot_prefix,
)
from connectors.clickhouse_table import literal, quoted
from connectors.clickhouse_value import check_times, instants, shown
from pipelines.etl import KEYED_MODES

_INSERT_BYTES = 64 << 20
_INSERT_SETTINGS = {
    "async_insert": 0,
    "input_format_null_as_default": 0,
    "input_format_defaults_for_omitted_fields": 1,
}
ANSWER_S = 3_600
"""How long a statement over a whole table may take."""
_MANY_SLOTS = 5_000


class ClickHouseBatchTarget:
    """A `BatchTarget` over MergeTree tables of one server.

    `append` and `replace` keep a partition for each slot; `merge`, `insert_only` and `scd2` keep
    every row with its run, and `<table>_final` shows those that count.

    Args:
        connection: Gives a client, whose answers may take `ANSWER_S` seconds; closed with the
            target.
    """

    def __init__(self, connection: ClickHouseConnection) -> None:
        self._connection = connection
        self._address = connection.address

    async def preflight(self, table: BatchTable) -> TargetPlan:
        """Say which statements `publish` will execute; refuse a table that cannot hold the mode."""
        client = await self._connection.client()
        with translated(f"looking at table `{table.name}`", self._address):
            server = await look_up(client, table)
        _require(table, server)
        notes = [
            f"ClickHouse column `{column.name}`: a list that is null is stored as an empty one"
            for column in table.columns
            if column.type.base == "list" and column.type.nullable
        ]
        if server.target and table.mode not in KEYED_MODES:
            with translated(f"looking at table `{table.name}`", self._address):
                slots = await slot_count(client, table)
            if slots >= _MANY_SLOTS:
                notes.append(
                    f"ClickHouse table `{table.name}` has {slots} partitions, one for each "
                    "interval or run; longer intervals, or mode merge, make fewer"
                )
        return TargetPlan(statements=_statements(table, server), notes=notes)

    async def open(self, table: BatchTable) -> None:
        """Drop staging of older runs of this slot, and allow this run to stage."""
        check_batch_table(table)
        client = await self._connection.client()
        with translated(f"opening staging of `{table.name}`", self._address):
            for name in older(await tables_like(client, slot_prefix(table)), table.run):
                await drop_table(client, name)
            comment = f"staging of {table.pipeline}, {table.slot or 'all'}, run {table.run}"
            await client.command(
                f"CREATE TABLE IF NOT EXISTS {quoted(anchor_name(table))} (nothing UInt8) "
                f"ENGINE = MergeTree ORDER BY tuple() COMMENT {literal(comment)}"
            )

    async def stage(
        self, table: BatchTable, chunk: int, token: str, rows: AsyncIterator[pa.RecordBatch]
    ) -> int:
        """Insert the rows of a chunk into a table of this attempt's own, in inserts of 64 MB."""
        client = await self._connection.client()
        name = attempt_name(table, chunk, token)
        count, waiting, size = 0, [], 0
        with translated(f"staging chunk {chunk} of `{table.name}`", self._address):
            await self._require_open(client, table)
            found = (await look_up(client, table)).target
            await client.command(create_like(table, found, name))
            async for batch in rows:
                part = conform_batch(table, batch)
                check_times(table.name, table.columns, part)
                count, size = count + part.num_rows, size + part.nbytes
                waiting.append(part)
                if size >= _INSERT_BYTES:
                    await _insert(client, name, waiting)
                    waiting, size = [], 0
            await _insert(client, name, waiting)
            try:
                await self._require_open(client, table)
            except SinkRefusedError:
                await drop_table(client, name)
                raise
            stored = (await row_counts(client, [name])).get(name)
        if stored != count:
            raise RetryableError(
                f"staging chunk {chunk} of `{table.name}`: expected {count} rows in staging, got "
                f"{stored}; it is staged again"
            )
        return count

    async def staged(self, table: BatchTable, tokens: Mapping[int, str]) -> dict[int, int]:
        """Count the rows of the attempts that are named; one that is gone has none."""
        names = attempt_names(table, tokens)
        client = await self._connection.client()
        with translated(f"counting staging of `{table.name}`", self._address):
            counts = await row_counts(client, list(names.values()))
        return {chunk: counts.get(name, 0) for chunk, name in names.items()}

    async def publish(self, table: BatchTable, tokens: Mapping[int, str]) -> Published:
        """Change the target with one statement, and note it in `sluice_batches`.

        Killed before the note, it is done again, which changes nothing that readers see; what it
        changed is then counted only in part.
        """
        client = await self._connection.client()
        with translated(f"publishing `{table.name}`", self._address):
            server = await look_up(client, table)
            _require(table, server)
            if server.ledger and await published_run(client, table) >= table.run:
                return Published()
            names = attempt_names(table, tokens)
            missing = names.values() - (await row_counts(client, list(names.values()))).keys()
            if missing:
                raise staging_gone(table, f"{len(names)} chunks")
            publication = Publication(client, table, server.target)
            try:
                await publication.gather(list(names.values()))
                changes = await publication.changes()
                for statement in _statements(table, server):
                    await client.command(statement)
                await publication.switch()
                await note_run(client, table, publication.row_count)
            finally:
                await publication.drop()
        return changes

    async def discard(self, table: BatchTable) -> None:
        """Drop the staging of this run; first what allows it to stage."""
        client = await self._connection.client()
        with translated(f"dropping staging of `{table.name}`", self._address):
            await drop_table(client, anchor_name(table))
            for name in await tables_like(client, run_prefix(table)):
                await drop_table(client, name)

    async def final_rows(self, name: str, limit: int | None = None) -> pa.Table:
        """Read `<name>_final`, ordered by all columns; UUIDs come as text."""
        client = await self._connection.client()
        with translated(f"reading `{name}_final`", self._address):
            kinds = {
                column: kind
                for column, kind in (await columns_of(client, f"{name}_final")).items()
                if not column.startswith("_") or column in HISTORY
            }
            if not kinds:
                raise SinkRefusedError(
                    f"view `{name}_final`: expected to exist, got none; it is made when a run "
                    "is published"
                )
            columns = [shown(quoted(column), kind) for column, kind in kinds.items()]
            order = ", ".join(quoted(column) for column in kinds)
            result = await client.query_arrow(
                f"SELECT {', '.join(columns)} FROM {quoted(f'{name}_final')} ORDER BY {order}"
                + (f" LIMIT {int(limit)}" if limit is not None else ""),
                settings={"output_format_arrow_string_as_string": 1},
            )
        return instants(result)

    async def close(self) -> None:
        """Close the connections; the next use opens them again."""
        await self._connection.close()

    async def _require_open(self, client: AsyncClient, table: BatchTable) -> None:
        name = anchor_name(table)
        if name not in await tables_like(client, name):
            raise staging_gone(table, "to be open")


def _require(table: BatchTable, server: Server) -> None:
    check_batch_table(table)
    reasons = batch_refusals(table, server.target) if server.target else []
    if server.view is not None and server.target is None:
        reasons.append(f"`{table.name}_final` is there without `{table.name}`; drop it")
    if reasons:
        raise SinkRefusedError(
            f"ClickHouse table `{table.name}` cannot hold pipeline `{table.pipeline}`, mode "
            f"{table.mode}: {'; '.join(reasons)}"
        )


def _statements(table: BatchTable, server: Server) -> list[str]:
    """List what is executed before the rows are published, in order."""
    statements = [] if server.ledger else [CREATE_LEDGER]
    if server.target is None:
        statements.append(create_target(table))
    else:
        statements += add_columns(table, server.target)
        if not server.target.comment:
            statements.append(
                f"ALTER TABLE {quoted(table.name)} MODIFY COMMENT {literal(batch_marker(table))}"
            )
    view = create_final(table, server.target)
    if server.view is None or not view.endswith(f" COMMENT {literal(server.view)}"):
        statements.append(view)
    return statements


async def _insert(client: AsyncClient, name: str, parts: list[pa.Table]) -> None:
    if sum(part.num_rows for part in parts):
        rows = pa.concat_tables(parts)
        await client.insert_arrow(quoted(name), rows, settings=_INSERT_SETTINGS)
