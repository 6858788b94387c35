"""A batch's table in ClickHouse: how each mode lays it out, and why an existing one is refused."""

import hashlib
import re
from dataclasses import dataclass

from activities.etl_ports import BatchTable
from connectors.batch_rows import column_of
from connectors.clickhouse_table import column_type, literal, quoted
from pipelines.etl import KEYED_MODES

LEDGER = "sluice_batches"
CREATE_LEDGER = (
    f"CREATE TABLE IF NOT EXISTS {LEDGER} (pipeline String, target String, slot String, "
    "run UInt64, run_id String, row_count UInt64, "
    "published_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')) "
    "ENGINE = ReplacingMergeTree(run) ORDER BY (target, pipeline, slot)"
)

_LATEST_RUN = 2**64 - 1
_NULL_SHIFT = 2**127 + 1
"""Added to a cursor of at most 38 digits, it leaves 0 for null."""


@dataclass(frozen=True)
class FoundBatchTable:
    """What the server says of an existing table.

    Attributes:
        columns: Column to type, in order.
        plain: Whether it has no secondary index, projection or constraint.
    """

    engine: str
    engine_full: str
    sorting_key: str
    primary_key: str
    partition_key: str
    comment: str
    row_count: int
    plain: bool
    columns: dict[str, str]


def batch_marker(table: BatchTable) -> str:
    """Write the comment by which a table says to whom it belongs."""
    return f"sluice etl {table.pipeline} {table.mode}"


def system_columns(table: BatchTable) -> dict[str, tuple[str, str]]:
    """Give the columns that a mode adds: type, and the value of this run's rows as SQL."""
    run = {"_run": ("UInt64", str(table.run))}
    if table.mode in ("append", "replace"):
        return {"_slot": ("String", literal(table.slot))} | run
    if table.mode == "merge":
        return run | {"_version": ("UInt256", _version(table))}
    if table.mode == "insert_only":
        return run | {"_version": ("UInt64", str(_LATEST_RUN - table.run))}
    return {"_valid_from": ("DateTime64(6, 'UTC')", _valid_from(table))} | run


def _version(table: BatchTable) -> str:
    """Pack (cursor, run) so that a greater number is a newer row; a null cursor is the oldest."""
    run = f"toUInt256({table.run})"
    if table.cursor is None:
        return run
    kind, name = column_of(table, table.cursor).type, quoted(table.cursor)
    if kind.base == "decimal":
        digits = f"toInt256('1{'0' * (kind.scale or 0)}')"
        whole = f"toInt256(CAST({name}, 'Nullable(Decimal(76, {kind.scale or 0}))') * {digits})"
    elif kind.base in ("timestamp", "timestamp_ms"):
        whole = f"toInt256(toUnixTimestamp64Micro(toDateTime64({name}, 6, 'UTC')))"
    else:
        whole = f"toInt256({name})"
    place = f"toUInt256(ifNull({whole} + toInt256('{_NULL_SHIFT}'), toInt256(0)))"
    return f"bitShiftLeft({place}, 64) + {run}"


def _valid_from(table: BatchTable) -> str:
    moment = f"fromUnixTimestamp64Micro(toInt64({table.moment_us}), 'UTC')"
    if table.cursor is None:
        return moment
    return f"ifNull(toDateTime64({quoted(table.cursor)}, 6, 'UTC'), {moment})"


def expected_types(table: BatchTable) -> dict[str, str]:
    """List every column with its type, as the table is made where there is none."""
    key = table.key if table.mode in KEYED_MODES else ()
    visible = {column.name: column_type(column.type) for column in table.columns}
    visible |= {name: _plain(visible[name]) for name in key}
    return visible | {name: kind for name, (kind, _) in system_columns(table).items()}


def _plain(kind: str) -> str:
    found = re.fullmatch(r"(?:LowCardinality\((.*)\)|(.*))", kind)
    inner = (found.group(1) or found.group(2)) if found else kind
    nullable = re.fullmatch(r"Nullable\((.*)\)", inner)
    return nullable.group(1) if nullable else inner


def resulting_types(table: BatchTable, found: FoundBatchTable | None) -> dict[str, str]:
    """List the columns of the target as they are after publication, in order.

    A column that an existing table lacks is nullable, for the rows that never had it.
    """
    wanted = expected_types(table)
    if found is None:
        return wanted
    return found.columns | {
        name: _evolved(kind) for name, kind in wanted.items() if name not in found.columns
    }


def _evolved(kind: str) -> str:
    return kind if kind.startswith(("Nullable(", "Array(")) else f"Nullable({kind})"


def order_key(table: BatchTable) -> str:
    """Name the expressions of the order key."""
    names = [*table.key] if table.mode in KEYED_MODES else []
    if table.mode == "scd2":
        names.append("_valid_from")
    return ", ".join(quoted(name) for name in names)


def engine(table: BatchTable) -> str:
    """Name the engine of a mode."""
    if table.mode in ("append", "replace"):
        return "MergeTree"
    return f"ReplacingMergeTree({'_run' if table.mode == 'scd2' else '_version'})"


def create_target(table: BatchTable) -> str:
    """Write the statement that makes the table."""
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in expected_types(table).items())
    partition = "PARTITION BY _slot " if table.mode in ("append", "replace") else ""
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(table.name)} ({columns}) ENGINE = {engine(table)} "
        f"{partition}ORDER BY ({order_key(table)}) COMMENT {literal(batch_marker(table))}"
    )


def create_like(table: BatchTable, found: FoundBatchTable | None, name: str) -> str:
    """Write the statement that makes a table of the target's structure for staging.

    It never merges rows of one key, so that repetitions can be counted.
    """
    system = system_columns(table)
    columns = ", ".join(
        f"{quoted(column)} {kind}" + (f" DEFAULT {system[column][1]}" if column in system else "")
        for column, kind in resulting_types(table, found).items()
    )
    order = order_key(table) if found is None else found.sorting_key
    primary = ""
    if found is not None and found.primary_key != found.sorting_key:
        primary = f"PRIMARY KEY ({found.primary_key}) "
    partition = "PARTITION BY _slot " if table.mode in ("append", "replace") else ""
    return (
        f"CREATE OR REPLACE TABLE {quoted(name)} ({columns}) ENGINE = MergeTree {partition}"
        f"{primary}ORDER BY ({order}) SETTINGS allow_nullable_key = 1"
    )


def add_columns(table: BatchTable, found: FoundBatchTable) -> list[str]:
    """Write a statement for each column that an existing table lacks."""
    return [
        f"ALTER TABLE {quoted(table.name)} ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}"
        for name, kind in resulting_types(table, found).items()
        if name not in found.columns
    ]


def visible_columns(table: BatchTable, found: FoundBatchTable | None) -> list[str]:
    """List the columns that readers see, in order, without those of the history."""
    return [name for name in resulting_types(table, found) if not name.startswith("_")]


def create_final(table: BatchTable, found: FoundBatchTable | None) -> str:
    """Write the statement that makes the view that readers use; its comment is its hash."""
    names = visible_columns(table, found)
    columns = ", ".join(quoted(name) for name in names)
    source = quoted(table.name)
    if table.mode == "scd2":
        query = _history(table, names)
    elif table.mode in KEYED_MODES:
        query = f"SELECT {columns} FROM {source} FINAL"
    else:
        query = f"SELECT {columns} FROM {source}"
    return (
        f"CREATE OR REPLACE VIEW {quoted(table.name + '_final')} AS {query} "
        f"COMMENT {literal(hashlib.sha256(query.encode()).hexdigest()[:16])}"
    )


def _history(table: BatchTable, names: list[str]) -> str:
    """Date each version by its successor; a version like the one before it is left out."""
    columns = ", ".join(quoted(name) for name in (*names, "_valid_from"))
    keys = ", ".join(quoted(name) for name in table.key)
    window = (
        f"(PARTITION BY {keys} ORDER BY _valid_from "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)"
    )
    told = [quoted(name) for name in names if name not in (*table.key, table.cursor)]
    return (
        f"SELECT {columns}, leadInFrame(toNullable(_valid_from)) OVER {window} AS _valid_to, "
        "CAST(_valid_to IS NULL, 'Bool') AS _is_current "
        f"FROM (SELECT {columns}, row_number() OVER {window} AS _place, "
        f"toString(tuple({', '.join(told)})) AS _content, "
        f"lagInFrame(_content) OVER {window} AS _before FROM {quoted(table.name)} FINAL) "
        "WHERE _place = 1 OR _content != _before"
    )


def batch_refusals(table: BatchTable, found: FoundBatchTable) -> list[str]:
    """Say every reason why an existing table cannot hold the promise, each with what to do."""
    reasons = _owner_refusals(table, found)
    wanted = engine(table)
    if found.engine_full.split(" ")[0] != wanted:
        reasons.append(
            f"engine is {found.engine_full.split(' ')[0]}, expected {wanted} on one server for "
            f"mode {table.mode}; choose another table name"
        )
    keys = [part.strip(" `()") for part in found.sorting_key.split(",")]
    order = [*table.key, *(["_valid_from"] if table.mode == "scd2" else [])]
    if table.mode in KEYED_MODES and sorted(keys) != sorted(order):
        reasons.append(
            f"order key is ({found.sorting_key}), expected ({', '.join(order)}), by which rows "
            "are told apart; make the table anew"
        )
    partition = "_slot" if table.mode in ("append", "replace") else ""
    if found.partition_key.strip("`()") != partition:
        reasons.append(
            f"partition key is ({found.partition_key}), expected ({partition}): a publication "
            "changes one partition at once; make the table anew"
        )
    if not found.plain:
        reasons.append(
            "it has an index, a projection or a constraint, which staging does not have; drop them"
        )
    return reasons + _column_refusals(table, found)


def _owner_refusals(table: BatchTable, found: FoundBatchTable) -> list[str]:
    mine = batch_marker(table)
    if found.comment == mine or (not found.comment and not found.row_count):
        return []
    held = f"comment is {found.comment!r}" if found.comment else f"it holds {found.row_count} rows"
    return [
        f"it is of another pipeline, mode or owner: {held}, expected {mine!r}; choose another "
        "table name or drop it"
    ]


def _column_refusals(table: BatchTable, found: FoundBatchTable) -> list[str]:
    reasons = []
    wanted = expected_types(table)
    for name, kind in wanted.items():
        have = found.columns.get(name)
        if have is None:
            if name.startswith("_"):
                reasons.append(f"column `{name}` is missing; make the table anew")
        elif _plain(have) == _plain(kind) != kind and "Nullable(" not in have:
            reasons.append(
                f"column `{name}` is {have}, expected {kind}; `ALTER TABLE {quoted(table.name)} "
                f"MODIFY COLUMN {quoted(name)} {kind}`"
            )
        elif _plain(have) != _plain(kind):
            reasons.append(
                f"column `{name}` is {have}, expected {kind}; cast it in the steps, or make the "
                "table anew"
            )
    reasons += [
        f"column `{name}` is {have} and the batch does not have it; `ALTER TABLE "
        f"{quoted(table.name)} MODIFY COLUMN {quoted(name)} {_evolved(have)}`"
        for name, have in found.columns.items()
        if name not in wanted and not have.startswith("Array(") and "Nullable(" not in have
    ]
    return reasons
