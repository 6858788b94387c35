"""Where a batch's rows wait in PostgreSQL: two tables for each run, beside the target.

One holds the rows of every attempt at a chunk. The other notes, for each transaction that wrote
some, its number, the attempt and how many they are; it is written in the same transaction, so that
what it says is there, and nothing else. PostgreSQL keeps the number of a transaction in each row
that it wrote (`xmin`), which tells the rows of one attempt from those of another without a column.

Both may be unlogged, and only together: a crash of the server then takes both.
"""

import hashlib
import re
from collections.abc import Iterable

from activities.etl_ports import BatchTable
from connectors.postgres_batch_table import key_columns, system_columns
from connectors.postgres_table import column_type, quoted

_RUN = re.compile(r"_(\d{19})_")


def _short(length: int, *parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]


def slot_prefix(table: BatchTable) -> str:
    """Begin the names of staging of every run of this pipeline, target and slot."""
    return f"sluice_stage_{_short(10, table.pipeline, table.name, table.slot)}_"


def run_prefix(table: BatchTable) -> str:
    """Begin the names of staging of this run; with an ending it has at most 63 bytes."""
    return f"{slot_prefix(table)}{table.run:019d}_{_short(8, table.run_id)}_"


def rows_name(table: BatchTable) -> str:
    """Name the table of rows."""
    return f"{run_prefix(table)}rows"


def written_name(table: BatchTable) -> str:
    """Name the table of what was written; the run may stage as long as it is there."""
    return f"{run_prefix(table)}written"


def older(names: Iterable[str], run: int) -> list[str]:
    """Keep the names of staging of runs before one."""
    found = ((name, _RUN.search(name)) for name in names)
    return [name for name, match in found if match and int(match.group(1)) < run]


def attempt_number(chunk: int, token: str) -> int:
    """Give an attempt at a chunk its number: 63 bits of a hash, so that no two meet."""
    return int(_short(16, str(chunk), token), 16) >> 1


def staged_kinds(table: BatchTable) -> list[str]:
    """List the column types of the rows as they are staged."""
    return [column_type(column.type) for column in table.columns]


def create_staging(table: BatchTable, schema: str, *, logged: bool) -> list[str]:
    """Write the statements that make both tables, that of rows with the target's columns."""
    create = f"CREATE {'' if logged else 'UNLOGGED '}TABLE IF NOT EXISTS {quoted(schema)}."
    return [
        create + f"{quoted(rows_name(table))} ({_columns(table)})",
        create + f"{quoted(written_name(table))} "
        "(mark xid8 NOT NULL, attempt bigint NOT NULL, row_count bigint NOT NULL, "
        "ended boolean NOT NULL)",
    ]


def create_rows(table: BatchTable, schema: str) -> str:
    """Write the statement that makes another table of rows, for those that nobody will want."""
    name = f"{quoted(schema)}.{quoted(rows_name(table))}"
    return f"CREATE UNLOGGED TABLE {name} ({_columns(table)})"


def _columns(table: BatchTable) -> str:
    key = key_columns(table)
    return ", ".join(
        f"{quoted(column.name)} {column_type(column.type)}"
        + ("" if column.type.nullable and column.name not in key else " NOT NULL")
        for column in table.columns
    )


def note_written(
    table: BatchTable, schema: str, attempt: int, count: str, *, ended: bool = False
) -> str:
    """Write the statement that notes rows of an attempt, in the transaction that writes them.

    Args:
        table: The target.
        schema: Of both tables.
        attempt: Its number.
        count: How many rows, as SQL.
        ended: Whether these are the attempt's last rows.
    """
    return (
        f"INSERT INTO {quoted(schema)}.{quoted(written_name(table))} "
        f"(mark, attempt, row_count, ended) SELECT pg_current_xact_id(), {attempt}, {count}, "
        f"{'true' if ended else 'false'}"
    )


def adoption(table: BatchTable, schema: str) -> list[str]:
    """Write the statements that turn the table of rows, which holds no others, into the target.

    The values of a constant column with a default take no room in the rows that are there.

    Args:
        table: The target, whose columns of its own are the same in every row.
        schema: Of both.
    """
    name = f"{quoted(schema)}.{quoted(rows_name(table))}"
    own = system_columns(table)
    added = [
        f"ADD COLUMN {quoted(column)} {kind} NOT NULL DEFAULT {value}"
        for column, (kind, value) in own.items()
    ]
    forget = [f"ALTER COLUMN {quoted(column)} DROP DEFAULT" for column in own]
    return [
        f"ALTER TABLE {name} {', '.join(added)}",
        f"ALTER TABLE {name} {', '.join(forget)}",
    ]
