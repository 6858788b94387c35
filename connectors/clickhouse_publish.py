"""One publication into ClickHouse: gathered and checked beside the target, switched by a statement.

    attempts ── hard links ──▸ a table of the target's structure ── keys checked there
                                   │ ALTER TABLE … REPLACE PARTITION    append, replace
                                   └ ALTER TABLE … ATTACH PARTITION     merge, insert_only, scd2

The statement needs the gathered table, so one that comes after cleaning up changes nothing.
"""

from clickhouse_connect.driver.asyncclient import AsyncClient

from activities.etl_ports import BatchTable, Published
from connectors.batch_rows import repeated_keys
from connectors.clickhouse_batch_table import FoundBatchTable, create_like
from connectors.clickhouse_staging import publication_name
from connectors.clickhouse_table import literal, quoted
from pipelines.etl import KEYED_MODES


class Publication:
    """One attempt at publishing a run; what it makes, it drops.

    Args:
        table: The target.
        found: The target as it is, None where there is none.
    """

    def __init__(
        self, client: AsyncClient, table: BatchTable, found: FoundBatchTable | None
    ) -> None:
        self._client = client
        self._table = table
        self._found = found
        self._made: list[str] = []
        self._rows = ""
        self.row_count = 0
        self._partition = "tuple()" if table.mode in KEYED_MODES else literal(table.slot)

    async def gather(self, attempts: list[str]) -> None:
        """Link the rows of all attempts into one table, and check their keys.

        Raises:
            ContractViolationError: A key occurs twice.
        """
        self._rows = await self._make()
        for attempt in attempts:
            await self._client.command(
                f"ALTER TABLE {quoted(self._rows)} ATTACH PARTITION {self._partition} "
                f"FROM {quoted(attempt)}"
            )
        if self._table.mode in KEYED_MODES:
            await self._check_keys()
        if self._table.mode == "insert_only" and self._found is not None:
            await self._leave_out_known()
        self.row_count = await self._count(f"SELECT count() FROM {quoted(self._rows)}")

    async def changes(self) -> Published:
        """Count what the switch will change."""
        if self._found is None or self._table.mode == "insert_only":
            return Published(inserted=self.row_count)
        if self._table.mode in ("append", "replace"):
            before = await self._count(
                f"SELECT count() FROM {quoted(self._table.name)} "
                f"WHERE _slot = {literal(self._table.slot)}"
            )
            return Published(inserted=self.row_count, deleted=before)
        scd2 = self._table.mode == "scd2"
        version = "_run" if scd2 else "_version"
        names = [quoted(name) for name in self._table.key] + ["_valid_from"] * scd2
        keys = ", ".join(names)
        counted = await self._client.query(
            f"SELECT count(), countIf(old.{version} < new.{version}) FROM "
            f"(SELECT {keys}, {version} FROM {quoted(self._table.name)} FINAL WHERE ({keys}) IN "
            f"(SELECT {keys} FROM {quoted(self._rows)})) AS old INNER JOIN "
            f"(SELECT {keys}, {version} FROM {quoted(self._rows)}) AS new USING ({keys})"
        )
        known, updated = counted.result_rows[0]
        return Published(inserted=self.row_count - int(known), updated=int(updated))

    async def switch(self) -> None:
        """Let readers see the rows, with one statement.

        An empty publication takes the slot's partition away; `ATTACH` of nothing stands before it,
        as it fails when the gathered table is gone.
        """
        source = f"{self._partition} FROM {quoted(self._rows)}"
        if self._table.mode in KEYED_MODES:
            change = f"ATTACH PARTITION {source}"
        elif self.row_count:
            change = f"REPLACE PARTITION {source}"
        else:
            change = f"ATTACH PARTITION {source}, DROP PARTITION {self._partition}"
        await self._client.command(f"ALTER TABLE {quoted(self._table.name)} {change}")

    async def drop(self) -> None:
        """Drop what the attempt made."""
        for name in self._made:
            await self._client.command(f"DROP TABLE IF EXISTS {quoted(name)} SYNC")

    async def _make(self) -> str:
        name = publication_name(self._table)
        self._made.append(name)
        await self._client.command(create_like(self._table, self._found, name))
        return name

    async def _check_keys(self) -> None:
        keys = ", ".join(quoted(name) for name in self._table.key)
        repetitions = await self._count(
            f"SELECT count() FROM (SELECT 1 FROM {quoted(self._rows)} GROUP BY {keys} "
            "HAVING count() > 1) SETTINGS optimize_aggregation_in_order = 1"
        )
        if repetitions:
            raise repeated_keys(self._table, repetitions)

    async def _leave_out_known(self) -> None:
        """Keep the rows whose keys the target does not have."""
        keys = ", ".join(quoted(name) for name in self._table.key)
        rows, self._rows = self._rows, await self._make()
        columns = await self._client.query(
            "SELECT name FROM system.columns WHERE database = currentDatabase() AND "
            "table = {name:String} ORDER BY position",
            parameters={"name": rows},
        )
        names = ", ".join(quoted(str(name)) for (name,) in columns.result_rows)
        await self._client.command(
            f"INSERT INTO {quoted(self._rows)} ({names}) SELECT {names} FROM {quoted(rows)} "
            f"WHERE ({keys}) NOT IN (SELECT {keys} FROM {quoted(self._table.name)} "
            f"WHERE ({keys}) IN (SELECT {keys} FROM {quoted(rows)}))"
        )

    async def _count(self, query: str) -> int:
        result = await self._client.query(query)
        return int(result.result_rows[0][0])
