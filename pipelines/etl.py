"""The typed specification of an ETL pipeline, after its YAML was checked."""

import hashlib
from typing import Literal

from common.payloads import Model, Ref
from contracts.contract import Contract
from pipelines.etl_source import Source
from pipelines.report import ReportSpec
from pipelines.transform import Step

Severity = Literal["block", "quarantine", "warn"]
WriteMode = Literal["append", "replace", "merge", "insert_only", "scd2"]
TargetKind = Literal["clickhouse", "postgres", "timescaledb", "lake"]
SchemaMode = Literal["evolve", "freeze", "discard_row", "discard_value"]
CheckName = Literal[
    "not_null", "unique", "range", "length", "pattern", "enum", "row", "referential", "freshness",
    "volume", "metric", "reconciliation", "sql",
]  # fmt: skip

KEYED_MODES = frozenset({"merge", "insert_only", "scd2"})
"""Write modes that tell rows apart by a key."""
PLAIN_MODES = frozenset({"append", "replace"})
"""Write modes that do not."""

TIME_TYPES = ("timestamp", "timestamp_ms", "date")
ORDERED_TYPES = (*TIME_TYPES, "int32", "int64", "decimal")
KEY_TYPES = (*ORDERED_TYPES, "string", "uuid", "bool")
"""Types of columns that a target's rows can be dated, compared and told apart by."""

MOST_CHUNK_ROWS = 5_000_000
MOST_CHUNKS_AT_ONCE = 64


class Aggregation(Model):
    """Rows grouped over the whole interval.

    Attributes:
        group_by: Columns of the key; none makes one row.
        columns: New columns with their aggregate expressions.
    """

    group_by: list[str] = []
    columns: dict[str, str]


class EtlStep(Step):
    """One step of a batch; exactly one of its parts is given.

    Attributes:
        select: The columns that stay, in this order.
        drop: Columns that go.
        rename: Old names with their new ones.
        cast: Columns with their new types; a value that does not fit is quarantined.
        aggregate: Rows that stand for groups.
    """

    select: list[str] = []
    drop: list[str] = []
    rename: dict[str, str] = {}
    cast: dict[str, str] = {}
    aggregate: Aggregation | None = None


class Reference(Model):
    """A column that holds every value that another column may have.

    Attributes:
        field: The column.
        file: A `.csv` or `.parquet` file that has it, from the folder of the pipeline's file.
        connection, table: A table of PostgreSQL that has it, where it is no file.
        content: Content of the file, pinned when the pipeline's file was read.
    """

    field: str
    file: str | None = None
    connection: str | None = None
    table: str | None = None
    content: Ref | None = None


class Check(Model):
    """One check of the gate.

    Attributes:
        check: What is checked.
        severity: What happens when it fails.
        fields: Columns it is about.
        min, max: Bounds as text, inclusive: of values (`range`), characters (`length`), rows
            (`volume`), or a metric's value.
        pattern: Regular expression that a whole value must match.
        values: Allowed values, as text.
        expression: Row condition (`row`), aggregate condition (`sql`), or aggregate (`metric`).
        reference: Where all values are (`referential`).
        against_runs: How many past runs a `volume` or `metric` is compared with.
        within_sigma: How many standard deviations from their mean it may be.
        within_ms: How old the newest value may be at the end of the interval (`freshness`).
        tolerance_rows: How far counts may be apart (`reconciliation`).
    """

    check: CheckName
    severity: Severity = "block"
    fields: list[str] = []
    min: str | None = None
    max: str | None = None
    pattern: str | None = None
    values: list[str] = []
    expression: str | None = None
    reference: Reference | None = None
    against_runs: int | None = None
    within_sigma: float | None = None
    within_ms: int | None = None
    tolerance_rows: int = 0

    @property
    def name(self) -> str:
        """Name the check in reports, such as `range(amount)`."""
        about = ", ".join(self.fields) or self.expression or ""
        return f"{self.check}({about})" if about else self.check


class Target(Model):
    """One target of a batch.

    Attributes:
        kind: What the target is.
        connection: Name in `[connections]`; None is the service of that kind in the settings.
        table: Table, `schema.table` in PostgreSQL, or path of the lake.
        mode: How rows get into it.
        key: Columns that tell rows apart, where the mode needs them.
        partition_by: Column by whose day the lake's files are put in folders; for TimescaleDB the
            column of time.
    """

    kind: TargetKind
    connection: str | None = None
    table: str
    mode: WriteMode = "append"
    key: list[str] = []
    partition_by: str | None = None

    @property
    def name(self) -> str:
        """Name the target within its pipeline."""
        place = f"{self.kind}({self.connection})" if self.connection else self.kind
        return f"{place}:{self.table}"


class BatchLimits(Model):
    """Bounds of work in flight; none of them changes a result.

    Attributes:
        parallelism: Chunks in flight.
        chunk_rows: About how many rows a chunk has.
    """

    parallelism: int = 8
    chunk_rows: int = 250_000


class EtlSpec(Model):
    """An ETL pipeline as its file declares it; defaults filled in.

    Attributes:
        interval_ms: Length of a data interval; None runs over everything, or from the cursor on.
        timezone: Zone by whose wall intervals are cut.
        fields: Declared columns of the source with their types; empty takes what the source says.
        contract: The data contract of the source's rows, as it was when the file was read.
        on_schema_change: What happens when the source has other columns than it had.
        quality_threshold: Score, from 0 to 100, below which an alert is raised; None never.
        report: The report that is written after the last target, as it was when the file was read.
        base_dir: Folder of the pipeline's file, from which paths of files are taken.
    """

    kind: Literal["etl"] = "etl"
    name: str
    description: str = ""
    owner: str = ""
    interval_ms: int | None = None
    timezone: str = "UTC"
    source: Source
    fields: dict[str, str] = {}
    contract: Contract | None = None
    on_schema_change: SchemaMode = "evolve"
    transform: list[EtlStep] = []
    gate: list[Check] = []
    quality_threshold: float | None = None
    targets: list[Target]
    report: ReportSpec | None = None
    limits: BatchLimits = BatchLimits()
    base_dir: str = ""

    def result_hash(self) -> str:
        """Hash what changes results: all but what is operational."""
        operational = {"description", "owner", "limits", "base_dir", "report"}
        content = self.model_dump_json(exclude=operational)
        return hashlib.sha256(content.encode()).hexdigest()[:16]
