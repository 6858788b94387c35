"""Where a batch's rows wait in PostgreSQL: two tables for each run, beside the target.

One holds the rows of every attempt at a chunk, each with the attempt's number, and may be unlogged.
The other is always logged and says how many rows each finished attempt has: so a publication
notices rows that a crash of the server took.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

from activities.etl_ports import BatchTable
from connectors.postgres_batch_table import key_columns, system_columns
from connectors.postgres_table import column_type, quoted

ATTEMPT = "_attempt"

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


def attempts_name(table: BatchTable) -> str:
    """Name the table of finished attempts; the run may stage as long as it is there."""
    return f"{run_prefix(table)}done"


def older(names: Iterable[str], run: int) -> list[str]:
    """Keep the names of staging of runs before one."""
    found = ((name, _RUN.search(name)) for name in names)
    return [name for name, match in found if match and int(match.group(1)) < run]


def attempt_number(chunk: int, token: str) -> int:
    """Give an attempt at a chunk its number: 63 bits of a hash, so that no two meet."""
    return int(_short(16, str(chunk), token), 16) >> 1


def attempt_numbers(tokens: Mapping[int, str]) -> list[int]:
    """Give the numbers of the attempts that count."""
    return [attempt_number(chunk, token) for chunk, token in tokens.items()]


def staged_kinds(table: BatchTable) -> list[str]:
    """List the column types of the rows as they are staged, the attempt last."""
    return [*(column_type(column.type) for column in table.columns), "bigint"]


def create_rows(table: BatchTable, schema: str, *, logged: bool) -> str:
    """Write the statement that makes the table of rows, with the target's columns."""
    key = key_columns(table)
    columns = [
        f"{quoted(column.name)} {column_type(column.type)}"
        + ("" if column.type.nullable and column.name not in key else " NOT NULL")
        for column in table.columns
    ]
    return (
        f"CREATE {'' if logged else 'UNLOGGED '}TABLE IF NOT EXISTS "
        f"{quoted(schema)}.{quoted(rows_name(table))} "
        f"({', '.join(columns)}, {ATTEMPT} bigint NOT NULL)"
    )


def create_attempts(table: BatchTable, schema: str) -> str:
    """Write the statement that makes the table of finished attempts."""
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(schema)}.{quoted(attempts_name(table))} "
        "(attempt bigint PRIMARY KEY, row_count bigint NOT NULL)"
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
    changes = [f"DROP COLUMN {ATTEMPT}"]
    changes += [
        f"ADD COLUMN {quoted(column)} {kind} NOT NULL DEFAULT {value}"
        for column, (kind, value) in own.items()
    ]
    forget = [f"ALTER COLUMN {quoted(column)} DROP DEFAULT" for column in own]
    return [
        f"ALTER TABLE {name} {', '.join(changes)}",
        f"ALTER TABLE {name} {', '.join(forget)}",
    ]
