"""A stream's table in ClickHouse: its statements, and why an existing one is refused."""

import re
from dataclasses import dataclass

from activities.ports import FlushChunk, RetiredEvents, RetiredRows, SinkTable
from connectors.sink_rows import marker
from contracts.field_type import FieldType

EARLIEST_MS = -2_208_988_800_000
LATEST_MS = 10_413_791_999_999
"""1900-01-01 and the last millisecond of 2299, between which DateTime64(3) and Date32 are right."""

_TYPES = {
    "string": "String",
    "json": "String",
    "uuid": "UUID",
    "int32": "Int32",
    "int64": "Int64",
    "float64": "Float64",
    "bool": "Bool",
    "timestamp": "DateTime64(3, 'UTC')",
    "timestamp_ms": "DateTime64(3, 'UTC')",
    "date": "Date32",
}

_CLEAN_UP_SETTINGS = {
    "clean_deleted_rows": "Never",
    "allow_experimental_replacing_merge_with_cleanup": "0",
    "enable_replacing_merge_with_cleanup_for_min_age_to_force_merge": "0",
}
"""Settings that let a merge remove tombstones, and the value at which it does not."""

_DELETING_MERGE = re.compile(r"\b(WHERE|GROUP BY|SET)\b", re.IGNORECASE)
_MOVING = re.compile(r"\b(TO DISK|TO VOLUME|RECOMPRESS)\b", re.IGNORECASE)


def quoted(name: str) -> str:
    """Quote an identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """Quote a string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def column_type(field_type: FieldType) -> str:
    """Name the column type of a field; lists are never nullable as a whole in ClickHouse."""
    if field_type.base == "list" and field_type.element is not None:
        return f"Array({column_type(field_type.element)})"
    if field_type.base == "decimal":
        plain = f"Decimal({field_type.precision}, {field_type.scale})"
    elif field_type.base == "timestamp" and field_type.precision is not None:
        plain = f"DateTime64({field_type.precision}, 'UTC')"
    else:
        plain = _TYPES[field_type.base]
    return f"Nullable({plain})" if field_type.nullable else plain


def expected_columns(table: SinkTable) -> dict[str, str]:
    """List every column with its type."""
    visible = {column.name: column_type(column.type) for column in table.columns}
    return visible | {"_key": "String", "_version": "UInt64", "_deleted": "UInt8"}


def create_table(table: SinkTable) -> str:
    """Write the statement that makes the table, without PARTITION BY: a flush is one part."""
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in expected_columns(table).items())
    order = ", ".join(quoted(name) for name in (*table.identity, "_key"))
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(table.name)} ({columns}) "
        f"ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY ({order}) "
        f"COMMENT {literal(marker(table.stream))}"
    )


def create_view(table: SinkTable) -> str:
    """Write the statement that makes the view that readers use.

    FINAL is right without further settings: the partition key, if any, is a function of the
    identity, so versions of
    one row never lie in two partitions.
    """
    columns = ", ".join(quoted(column.name) for column in table.columns)
    return (
        f"CREATE OR REPLACE VIEW {quoted(table.name + '_final')} AS "
        f"SELECT {columns} FROM {quoted(table.name)} FINAL WHERE _deleted = 0"
    )


def retire_rows(table: SinkTable, chunk: FlushChunk, rows: RetiredRows | RetiredEvents) -> str:
    """Write the statement that inserts tombstones over what older epochs left.

    What FINAL shows is the last version of each row, so a row that the new epoch has replaced, or
    that is a tombstone already, is not among them.
    """
    names = [quoted(name) for name in expected_columns(table)]
    values = [*names[:-2], str(chunk.version), "1"]
    since, before = rows.versions(chunk.epoch)
    meant = _events(rows) if isinstance(rows, RetiredEvents) else _windows(table, rows)
    conditions = [meant, f"_version >= {since}", f"_version < {before}", "_deleted = 0"]
    return (
        f"INSERT INTO {quoted(table.name)} ({', '.join(names)}) SELECT {', '.join(values)} "
        f"FROM {quoted(table.name)} FINAL WHERE {' AND '.join(conditions)}"
    )


def _windows(table: SinkTable, rows: RetiredRows) -> str:
    start, end = quoted(table.identity[0]), quoted("window_end")
    return (
        f"{start} >= {_instant(rows.floor_ms)} AND {start} < {_instant(rows.until_ms)} "
        f"AND {end} > {_instant(rows.after_ms)} AND {end} <= {_instant(rows.until_ms)}"
    )


def _events(rows: RetiredEvents) -> str:
    """Look the span of a row's partition up; of partitions with several, each once."""
    rounds: list[dict[int, tuple[int, int]]] = []
    for number, start, stop in rows.spans:
        free = next((one for one in rounds if number not in one), None)
        if free is None:
            rounds.append(free := {})
        free[number] = (start, stop)
    return f"({' OR '.join(_within(one) for one in rounds)})"


def _within(spans: dict[int, tuple[int, int]]) -> str:
    numbers = f"[{', '.join(str(number) for number in spans)}]"
    starts = f"[{', '.join(f'toInt64({start})' for start, _ in spans.values())}]"
    stops = f"[{', '.join(f'toInt64({stop})' for _, stop in spans.values())}]"
    return (
        f"(has({numbers}, _partition) AND _offset >= {starts}[indexOf({numbers}, _partition)] "
        f"AND _offset < {stops}[indexOf({numbers}, _partition)])"
    )


def _instant(time_ms: int) -> str:
    """Write a time within what DateTime64(3) holds."""
    return f"fromUnixTimestamp64Milli({min(max(time_ms, EARLIEST_MS), LATEST_MS)}, 'UTC')"


@dataclass(frozen=True)
class FoundTable:
    """What the server says of an existing table.

    Attributes:
        engine_full: Engine with arguments, keys, TTL and settings.
        create_query: The whole statement, as the server would write it.
        columns: Column to (type, part of the partition key, part of the sorting key).
        defaults: Clean-up settings of the server that the table inherits.
    """

    engine: str
    engine_full: str
    create_query: str
    sorting_key: str
    comment: str
    row_count: int
    columns: dict[str, tuple[str, bool, bool]]
    defaults: dict[str, str]

    @property
    def replicated(self) -> bool:
        """Whether inserts must reach a quorum of replicas."""
        return self.engine.startswith("Replicated")

    @property
    def time_to_live(self) -> str:
        """The TTL clause of the table, empty if none."""
        found = re.search(r"\bTTL (.*?)(?= SETTINGS |$)", self.engine_full)
        return found.group(1) if found else ""


def refusals(table: SinkTable, found: FoundTable) -> list[str]:
    """Say every reason why the table cannot hold the promise, each with how to change it."""
    if not found.engine.endswith("ReplacingMergeTree"):
        return [
            f"engine is {found.engine or 'unknown'}, expected ReplacingMergeTree(_version, "
            "_deleted); "
            "choose another table name or rename the table"
        ]
    return [
        *_owner_refusals(table, found),
        *_engine_refusals(table, found),
        *_column_refusals(table, found),
        *_removal_refusals(table, found),
    ]


def _owner_refusals(table: SinkTable, found: FoundTable) -> list[str]:
    mine = marker(table.stream)
    if found.comment == mine or (not found.comment and not found.row_count):
        return []
    held = (
        f"comment is {found.comment!r}"
        if found.comment
        else f"it holds {found.row_count} rows and no comment"
    )
    return [
        f"it belongs to somebody else: {held}, expected {mine!r}; choose another table name, or "
        f"`ALTER TABLE {quoted(table.name)} MODIFY COMMENT {literal(mine)}` if all of its rows "
        "are this stream's"
    ]


def _engine_refusals(table: SinkTable, found: FoundTable) -> list[str]:
    reasons = []
    arguments = re.match(
        r"\w+\((.*?)\)(?= (?:PARTITION|ORDER|PRIMARY|SAMPLE|TTL|SETTINGS) |$)", found.engine_full
    )
    last_two = [part.strip() for part in arguments.group(1).split(",")][-2:] if arguments else []
    if last_two != ["_version", "_deleted"]:
        reasons.append(
            f"engine is {found.engine_full.split(' ORDER BY')[0]}, expected the arguments "
            "(_version, _deleted); "
            "make the table anew"
        )
    identity = [*table.identity, "_key"]
    keys = [part.strip(" `()") for part in found.sorting_key.split(",")]  # one key may be `(_key)`
    if sorted(keys) != sorted(identity):
        reasons.append(
            f"order key is ({found.sorting_key}), expected ({', '.join(identity)}): another "
            "key keeps several "
            "rows for one identity or merges different ones; make the table anew"
        )
    mutable = [
        name
        for name, (_, partition, _) in found.columns.items()
        if partition and name not in identity
    ]
    if mutable:
        reasons.append(
            f"partition key uses {', '.join(mutable)}, which change from revision to revision; "
            f"partition by a function of {', '.join(table.identity)} or not at all"
        )
    return reasons


def _column_refusals(table: SinkTable, found: FoundTable) -> list[str]:
    reasons = []
    for name, kind in expected_columns(table).items():
        have = found.columns.get(name)
        if have is None:
            reasons.append(
                f"column `{name}` is missing; `ALTER TABLE {quoted(table.name)} ADD COLUMN "
                f"{quoted(name)} {kind}`"
            )
        elif have[0] not in (kind, f"LowCardinality({kind})"):
            reasons.append(f"column `{name}` is {have[0]}, expected {kind}; make the table anew")
    return reasons


def _removal_refusals(table: SinkTable, found: FoundTable) -> list[str]:
    reasons = []
    for name, harmless in _CLEAN_UP_SETTINGS.items():
        own = re.search(rf"\b{name} = '?(\w+)'?", found.engine_full)
        value = own.group(1) if own else found.defaults.get(name, harmless)
        if value not in (harmless, "false"):
            reasons.append(
                f"setting {name} is {value}, which removes tombstones so that a late writer "
                "brings deleted rows back; "
                f"`ALTER TABLE {quoted(table.name)} MODIFY SETTING {name} = {literal(harmless)}`"
            )
    for clause in _split(found.time_to_live):
        used = set(re.findall(r"\w+", clause)) & found.columns.keys()
        by_identity = used <= set(table.identity) and not _DELETING_MERGE.search(clause)
        if not by_identity and not _MOVING.search(clause):
            reasons.append(
                f"TTL `{clause}` removes some versions of a row and not others; "
                f"use {', '.join(table.identity)} alone and no WHERE, or "
                f"`ALTER TABLE {quoted(table.name)} REMOVE TTL`"
            )
    if " TTL " in found.create_query.split(" ENGINE = ", 1)[0]:
        reasons.append("a column has a TTL, which empties values of the last revision; remove it")
    return reasons


def _split(clauses: str) -> list[str]:
    """Split at the commas that stand outside of parentheses."""
    parts, depth = [""], 0
    for letter in clauses:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]
