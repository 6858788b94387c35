"""One chDB engine over a directory: a connection per request or session, work in threads.

Connections of one engine are independent (database, settings, temporary tables) and run at the same
time; opening one costs about a millisecond. All methods of `EngineCall` block and belong into a
thread.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from chdb import ChdbError
from chdb.state.sqlitelike import Connection, StreamingInserter

from devstack.clickhouse_error import ClickHouseError, from_engine, refusal
from devstack.clickhouse_query import Statement, StatementKind

# Formats without a header or footer: what the engine streams in pieces is then one document.
STREAMED_FORMATS = frozenset(
    {
        "native",
        "tabseparated",
        "tsv",
        "tabseparatedraw",
        "tsvraw",
        "csv",
        "jsoneachrow",
        "ndjson",
        "jsonlines",
        "jsoncompacteachrow",
        "rowbinary",
        "null",
    }
)
_PIECE_BYTES = 1 << 20


@dataclass
class Counts:
    """What a statement read and wrote, for the summary header."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0


def quote(text: str) -> str:
    """Write a string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quote_name(name: str) -> str:
    """Write an identifier."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


class Engine:
    """Holds the engine open as long as it lives; the last connection's end would stop it."""

    def __init__(self, data_dir: Path) -> None:
        """Open or create the data directory.

        Raises:
            RuntimeError: If another process has it open, or it cannot be written.
        """
        self._path = str(data_dir)
        self._root = Connection(self._path)
        self.version, self.timezone = (
            self._root.query("SELECT version(), timezone()", "TabSeparated")
            .bytes()
            .decode()
            .strip()
            .split("\t")
        )

    def connect(self) -> Connection:
        """Open an independent connection in the database `default`."""
        return Connection(self._path)

    def close(self) -> None:
        """Stop the engine."""
        self._root.close()


class EngineCall:
    """One request's work on one connection; a session's database and settings are restored."""

    def __init__(self, connection: Connection, *, keep: bool) -> None:
        """Take the connection; `keep` says that it is a session's and outlives the request."""
        self._connection = connection
        self._keep = keep
        self._undo: list[str] = []
        self._inserter: StreamingInserter | None = None
        self.counts = Counts()

    def prepare(
        self, database: str | None, settings: Mapping[str, str], parameters: Mapping[str, str]
    ) -> None:
        """Apply what holds for this request only.

        Raises:
            ClickHouseError: If the database or a setting is unknown, or a value is of the wrong
            type.
        """
        if database:
            if self._keep:
                before = self._value("SELECT currentDatabase()")
                self._undo.append(f"USE {quote_name(before)}")
            self._run(f"USE {quote_name(database)}")
        if settings:
            if self._keep:
                self._undo.extend(self._undo_settings(settings))
            self._run("SET " + ", ".join(f"{k} = {quote(v)}" for k, v in settings.items()))
        for name, value in parameters.items():
            self._run(f"SET param_{name} = {quote(value)}")

    def pieces(self, statement: Statement, default_format: str) -> Generator[bytes, None, None]:
        """Run a statement that carries no data; yield its result in pieces.

        Raises:
            ClickHouseError: If the engine refuses it or fails, also after some pieces.
        """
        output = statement.format or default_format
        try:
            if statement.kind is StatementKind.SELECT and output.lower() in STREAMED_FORMATS:
                yield from self._stream(statement.text, default_format)
                return
            result = self._connection.query(statement.text, default_format)
        except (ChdbError, RuntimeError) as error:
            raise from_engine(error) from error
        self.counts.read_rows = result.rows_read()
        self.counts.read_bytes = result.bytes_read()
        self.counts.written_rows = result.rows_written()
        self.counts.written_bytes = result.bytes_written()
        body = result.bytes()
        for start in range(0, len(body), _PIECE_BYTES):
            yield body[start : start + _PIECE_BYTES]

    def _stream(self, text: str, output: str) -> Iterator[bytes]:
        with self._connection.send_query(text, output) as stream:
            for piece in stream:
                self.counts.read_rows += piece.rows_read()
                self.counts.read_bytes += piece.bytes_read()
                yield piece.bytes()

    def start_insert(self, statement: Statement) -> None:
        """Begin an insert whose data follows.

        Raises:
            ClickHouseError: If the table or a column is unknown.
        """
        try:
            self._inserter = self._connection.send_insert(
                statement.text, statement.format or "Values"
            )
        except RuntimeError as error:
            raise from_engine(error) from error

    def append(self, data: bytes) -> None:
        """Hand over one piece of the insert's data.

        Raises:
            ClickHouseError: If the engine cannot read or store it.
        """
        if self._inserter is None:
            raise refusal(49, "LOGICAL_ERROR", "no insert is open")
        try:
            self._inserter.append(data)  # type: ignore[no-untyped-call]  # chdb has no types
        except RuntimeError as error:
            # The reason of a parse error comes with the end of the insert, not with the piece.
            self.finish_insert()
            raise from_engine(error) from error

    def finish_insert(self) -> None:
        """Commit the insert.

        Raises:
            ClickHouseError: If the engine cannot read or store the data.
        """
        if self._inserter is None:
            raise refusal(49, "LOGICAL_ERROR", "no insert is open")
        inserter, self._inserter = self._inserter, None
        try:
            result = inserter.finish()
        except RuntimeError as error:
            raise from_engine(error) from error
        self.counts.written_rows = result.rows_written
        self.counts.written_bytes = result.bytes_written

    def close(self) -> bool:
        """End the request: abort an unfinished insert, then close or restore the connection.

        Returns:
            Whether a kept connection is as the request found it; if not, the session must be
            dropped.
        """
        if self._inserter is not None:
            inserter, self._inserter = self._inserter, None
            try:
                inserter.cancel()  # type: ignore[no-untyped-call]  # chdb has no types
            except RuntimeError:
                self._connection.close()
                return False
        if not self._keep:
            self._connection.close()
            return True
        try:
            for statement in reversed(self._undo):
                self._run(statement)
        except ClickHouseError:
            return False
        return True

    def forget_database(self) -> None:
        """Let a `USE` of this request last for the session."""
        self._undo = [statement for statement in self._undo if not statement.startswith("USE ")]

    def _undo_settings(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            changed = self._value(
                "SELECT concat('=', value) FROM system.settings "
                f"WHERE name = {quote(name)} AND changed"
            )
            yield f"SET {name} = {quote(changed[1:]) if changed else 'DEFAULT'}"

    def _value(self, sql: str) -> str:
        try:
            result = self._connection.query(sql, "TabSeparatedRaw")
        except (ChdbError, RuntimeError) as error:
            raise from_engine(error) from error
        return bytes(result.bytes()).decode().rstrip("\n")

    def _run(self, sql: str) -> None:
        self._value(sql)
