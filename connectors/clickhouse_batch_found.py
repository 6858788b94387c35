"""What ClickHouse has of a batch: its target, the ledger of runs, and tables of staging."""

from dataclasses import dataclass

from clickhouse_connect.driver.asyncclient import AsyncClient

from activities.etl_ports import BatchTable
from common.errors import SinkRefusedError
from connectors.clickhouse_batch_table import LEDGER, FoundBatchTable
from connectors.clickhouse_table import literal, quoted


@dataclass(frozen=True)
class Server:
    """What is there: the target, the comment of its view, and whether there is the ledger."""

    target: FoundBatchTable | None
    view: str | None
    ledger: bool


async def look_up(client: AsyncClient, table: BatchTable) -> Server:
    """Look at the target, its view and the ledger; a table in place of the view is refused."""
    view = f"{table.name}_final"
    found = await client.query(
        "SELECT name, engine, engine_full, sorting_key, primary_key, partition_key, comment, "
        "ifNull(total_rows, 1), create_table_query FROM system.tables "
        "WHERE database = currentDatabase() AND name IN {names:Array(String)}",
        parameters={"names": [table.name, view, LEDGER]},
    )
    rows = {row[0]: row[1:] for row in found.result_rows}
    if view in rows and rows[view][0] != "View":
        raise SinkRefusedError(
            f"ClickHouse table `{view}`: expected the view of `{table.name}`, got an "
            f"engine {rows[view][0]}; choose another name"
        )
    target = None
    if table.name in rows:
        engine, full, sorting, primary, partition, comment, count, query = rows[table.name]
        head = query.split(" ENGINE = ", 1)[0]
        target = FoundBatchTable(
            engine=engine,
            engine_full=full,
            sorting_key=sorting,
            primary_key=primary,
            partition_key=partition,
            comment=comment,
            row_count=int(count),
            plain=not any(f", {word} " in head for word in ("INDEX", "PROJECTION", "CONSTRAINT")),
            columns=await columns_of(client, table.name),
        )
    return Server(target, rows[view][5] if view in rows else None, LEDGER in rows)


async def columns_of(client: AsyncClient, name: str) -> dict[str, str]:
    """List the columns of a table with their types, in order; none where there is no table."""
    found = await client.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND "
        "table = {name:String} ORDER BY position",
        parameters={"name": name},
    )
    return {str(column): str(kind) for column, kind in found.result_rows}


async def tables_like(client: AsyncClient, prefix: str) -> list[str]:
    """List the tables whose names begin so."""
    found = await client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND "
        "startsWith(name, {prefix:String}) ORDER BY name",
        parameters={"prefix": prefix},
    )
    return [str(name) for (name,) in found.result_rows]


async def row_counts(client: AsyncClient, names: list[str]) -> dict[str, int]:
    """Count the rows of those tables that are there."""
    found = await client.query(
        "SELECT name, total_rows FROM system.tables WHERE database = currentDatabase() AND "
        "name IN {names:Array(String)}",
        parameters={"names": names},
    )
    return {str(name): int(count or 0) for name, count in found.result_rows}


async def slot_count(client: AsyncClient, table: BatchTable) -> int:
    """Count the partitions of a table."""
    found = await client.query(
        "SELECT uniqExact(partition_id) FROM system.parts WHERE active AND "
        "database = currentDatabase() AND table = {name:String}",
        parameters={"name": table.name},
    )
    return int(found.result_rows[0][0])


async def published_run(client: AsyncClient, table: BatchTable) -> int:
    """Read the newest run that published this slot; -1 is none."""
    found = await client.query(
        f"SELECT max(toInt64(run)), count() FROM {LEDGER} WHERE target = {{target:String}} AND "
        "pipeline = {pipeline:String} AND slot = {slot:String}",
        parameters={"target": table.name, "pipeline": table.pipeline, "slot": table.slot},
    )
    run, count = found.result_rows[0]
    return int(run) if count else -1


async def note_run(client: AsyncClient, table: BatchTable, row_count: int) -> None:
    """Note that a run has published its slot."""
    values = ", ".join(literal(x) for x in (table.pipeline, table.name, table.slot))
    await client.command(
        f"INSERT INTO {LEDGER} (pipeline, target, slot, run, run_id, row_count) "
        f"SELECT {values}, {table.run}, {literal(table.run_id)}, {row_count}"
    )


async def drop_table(client: AsyncClient, name: str) -> None:
    """Drop a table; a missing one is no error."""
    await client.command(f"DROP TABLE IF EXISTS {quoted(name)} SYNC")
