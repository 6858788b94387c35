"""One publication into PostgreSQL, within one transaction.

attempts ── table of rows ── keys checked ──▸ INSERT … SELECT, by the mode
└ becomes the target itself where that is new or replaced as a whole
"""

from collections.abc import Mapping, Sequence

import asyncpg

from activities.etl_ports import BatchTable, Published
from common.errors import SinkRefusedError
from connectors.batch_rows import repeated_keys
from connectors.postgres_batch_found import Written, note_run, whole_attempts, written
from connectors.postgres_batch_staging import adoption, attempt_number, create_rows, rows_name
from connectors.postgres_batch_table import (
    Server,
    listed,
    split_name,
    system_columns,
    target_name,
    unique_columns,
    view_name,
)
from connectors.postgres_table import quoted
from pipelines.etl import KEYED_MODES

_LOCK_MS = 2_000
"""How long a publication waits for each lock before it copies the rows instead."""

_WORK_MEMORY = "64MB"
"""For sorts and hash tables of a publication; the server's default is made for small queries."""


class Publication:
    """One attempt at publishing a run.

    Args:
        connection: In the transaction of the publication.
        table: The target.
        server: What is there.
        tokens: The attempts that count, by chunk.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        table: BatchTable,
        server: Server,
        tokens: Mapping[int, str],
    ) -> None:
        self._connection = connection
        self._table = table
        self._server = server
        self._attempts = {attempt_number(chunk, token) for chunk, token in tokens.items()}
        self._rows = f"{quoted(server.schema)}.{quoted(rows_name(table))}"
        self._target = target_name(table, server.schema)
        self._written: list[Written] = []
        self.row_count = 0

    async def check(self, *, adopted: bool) -> None:
        """Look which rows there are, and for keys that occur twice.

        Args:
            adopted: The table of rows is this attempt's own and becomes the target, whose index
                finds such keys.

        Raises:
            ContractViolationError: A key occurs twice.
            SinkRefusedError: Rows that were staged are gone; publishing again would not help.
        """
        await self._connection.execute(f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
        self._written = await written(self._connection, self._table, self._server.schema)
        counts = whole_attempts(self._written)
        there = self._attempts & counts.keys()
        if there != self._attempts:
            raise self._lost(f"{len(self._attempts)} chunks", str(len(there)))
        self.row_count = sum(counts[attempt] for attempt in there)
        if self._table.mode in KEYED_MODES and not adopted:
            found, repeated = await self._keys()
            self._require_all(found)
            if repeated:
                raise repeated_keys(self._table, repeated)

    def _lost(self, expected: str, found: str) -> SinkRefusedError:
        return SinkRefusedError(
            f"staging of `{self._table.name}`: expected {expected}, got {found}, as after a crash "
            "of the server; start the run again"
        )

    def _require_all(self, found: int) -> None:
        if found != self.row_count:
            raise self._lost(f"{self.row_count} rows", str(found))

    @property
    def _is_chosen(self) -> str:
        """Tell the rows of the attempts that count, by the transactions that wrote them."""
        marks = [str(one.mark) for one in self._written if one.attempt in self._attempts]
        return f"xmin = ANY('{{{','.join(marks)}}}'::xid[])"

    @property
    def _chosen(self) -> str:
        return f"{self._rows} WHERE {self._is_chosen}"

    async def _keys(self) -> tuple[int, int]:
        """Count the rows, and the keys that occur twice."""
        found = await self._connection.fetchrow(
            "SELECT coalesce(sum(n), 0)::bigint AS rows, count(*) FILTER (WHERE n > 1) AS "
            f"repeated FROM (SELECT count(*) AS n FROM {self._chosen} "
            f"GROUP BY {listed(self._table.key)}) AS counted"
        )
        return found["rows"], found["repeated"]

    async def take_over(self) -> bool:
        """Take staging and the target for itself, so that the one can become the other.

        The view is locked first, as by its readers. False where a late attempt is still writing, or
        a reader takes long: readers that come meanwhile would wait behind this.
        """
        view = view_name(self._table, self._server.schema)
        held = [view, self._target] if self._server.view is not None else [self._target]
        names = [*held, self._rows] if self._server.target is not None else [self._rows]
        try:
            async with self._connection.transaction():
                await self._connection.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
                for name in names:
                    await self._connection.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
                await self._connection.execute("SET LOCAL lock_timeout TO DEFAULT")
        except asyncpg.LockNotAvailableError:
            return False
        return True

    async def adopt(self, indexes: Sequence[str]) -> Published:
        """Make the table of rows the target; an earlier one is dropped.

        Staging is there again afterwards, empty, for attempts that come late.

        Args:
            indexes: Statements that index the target, and show it to readers.

        Raises:
            ContractViolationError: A key occurs twice.
        """
        try:
            async with self._connection.transaction():
                published = await self._adopted()
                for statement in indexes:
                    await self._connection.execute(statement)
        except asyncpg.UniqueViolationError:
            _, repeated = await self._keys()
            raise repeated_keys(self._table, repeated) from None
        return published

    async def _adopted(self) -> Published:
        if any(one.attempt not in self._attempts for one in self._written):
            await self._connection.execute(f"DELETE FROM {self._rows} WHERE NOT {self._is_chosen}")
        for statement in adoption(self._table, self._server.schema):
            await self._connection.execute(statement)
        bare = split_name(self._table.name)[1]
        deleted = 0
        if self._server.target is not None:
            deleted = await self._connection.fetchval(f"SELECT count(*) FROM {self._target}")
            await self._connection.execute(
                f"ALTER TABLE {self._target} RENAME TO {quoted(self._before)}"
            )
        await self._connection.execute(f"ALTER TABLE {self._rows} RENAME TO {quoted(bare)}")
        await self._connection.execute(create_rows(self._table, self._server.schema))
        return Published(inserted=self.row_count, deleted=deleted)

    @property
    def _before(self) -> str:
        return rows_name(self._table).removesuffix("rows") + "last"

    async def drop_before(self) -> None:
        """Drop the target that was replaced, once no view shows it any more."""
        await self._connection.execute(
            f"DROP TABLE IF EXISTS {quoted(self._server.schema)}.{quoted(self._before)}"
        )

    async def insert(self) -> Published:
        """Bring the rows into the target, as the mode says."""
        mode, target = self._table.mode, self._server.target
        deleted = 0
        if target is not None and mode in ("append", "replace"):
            whole = mode == "replace" and not self._table.slot
            slot = system_columns(self._table)["_slot"][1]
            deleted = _count(
                await self._connection.execute(
                    f"DELETE FROM {self._target}" + ("" if whole else f" WHERE _slot = {slot}")
                )
            )
        if target is None or mode in ("append", "replace"):
            self._require_all(_count(await self._connection.execute(self._insertion())))
            return Published(inserted=self.row_count, deleted=deleted)
        await self._connection.execute(f"ANALYZE {self._rows}")
        if mode == "insert_only":
            done = await self._connection.execute(f"{self._insertion()} ON CONFLICT DO NOTHING")
            return Published(inserted=_count(done))
        result = await self._upsert()
        if mode == "scd2":
            await self._connection.execute(self._chain())
        return result

    async def note(self) -> None:
        """Note that the run is published."""
        await note_run(self._connection, self._table, self._server.schema, self.row_count)

    def _insertion(self) -> str:
        names = [column.name for column in self._table.columns]
        own = system_columns(self._table)
        values = ", ".join(value for _, value in own.values())
        return (
            f"INSERT INTO {self._target} AS kept ({listed([*names, *own])}) "
            f"SELECT {listed(names)}, {values} FROM {self._chosen}"
        )

    async def _upsert(self) -> Published:
        key = unique_columns(self._table)
        names = [column.name for column in self._table.columns if column.name not in key]
        changes = ", ".join(
            f"{quoted(name)} = excluded.{quoted(name)}" for name in (*names, "_run")
        )
        found = await self._connection.fetchrow(
            f"WITH done AS ({self._insertion()} ON CONFLICT ({listed(key)}) DO UPDATE SET "
            f"{changes} WHERE {self._newer()} RETURNING xmax = 0 AS fresh) "
            "SELECT count(*) FILTER (WHERE fresh) AS inserted, "
            "count(*) FILTER (WHERE NOT fresh) AS updated FROM done"
        )
        return Published(inserted=found["inserted"], updated=found["updated"])

    def _newer(self) -> str:
        """Say when a row replaces another: its (cursor, run) is not less, null is the oldest."""
        runs = "excluded._run >= kept._run"
        if self._table.cursor is None or self._table.mode == "scd2":
            return runs
        cursor = quoted(self._table.cursor)
        return (
            f"(excluded.{cursor} > kept.{cursor} "
            f"OR excluded.{cursor} IS NOT NULL AND kept.{cursor} IS NULL "
            f"OR excluded.{cursor} IS NOT DISTINCT FROM kept.{cursor} AND {runs})"
        )

    def _chain(self) -> str:
        """Write the statement that dates the versions of the keys that came, where they change."""
        key = self._table.key
        found = self._server.target.columns if self._server.target else {}
        names = dict.fromkeys([*found, *(column.name for column in self._table.columns)])
        told = [
            name
            for name in names
            if not name.startswith("_") and name not in (*key, self._table.cursor)
        ]
        same = f"ROW({listed(told, 'v.')})"
        repeats = f"{same} IS NOT DISTINCT FROM lag({same}) OVER line" if told else "true"
        touched = f"({listed(key, 'v.')}) IN (SELECT {listed(key)} FROM {self._chosen})"
        marked = (
            f"SELECT {listed(key, 'v.')}, v._valid_from, v._valid_to AS _ended, "
            "v._repeats AS _repeated, "
            f"row_number() OVER line > 1 AND {repeats} AS _repeats "
            f"FROM {self._target} AS v WHERE {touched} "
            f"WINDOW line AS (PARTITION BY {listed(key, 'v.')} ORDER BY v._valid_from)"
        )
        laid = (
            "SELECT *, CASE WHEN NOT _repeats THEN lead(_valid_from) OVER (PARTITION BY "
            f"{listed(key)}, _repeats ORDER BY _valid_from) END AS _valid_to FROM ({marked}) AS one"
        )
        place = (*key, "_valid_from")
        return (
            f"UPDATE {self._target} AS kept SET _valid_to = changed._valid_to, "
            "_is_current = NOT changed._repeats AND changed._valid_to IS NULL, "
            f"_repeats = changed._repeats FROM (SELECT * FROM ({laid}) AS two WHERE "
            "(_ended, _repeated) IS DISTINCT FROM (_valid_to, _repeats)) AS changed "
            f"WHERE ({listed(place, 'kept.')}) = ({listed(place, 'changed.')})"
        )


def _count(status: str) -> int:
    return int(status.rsplit(" ", 1)[-1])
