"""What goes into the activities of batches, and what comes out."""

from batch.chunk import BatchLedger, Chunk, CursorWindow, SourceShape
from batch.gate_report import Verdict
from batch.schema_change import SchemaDecision
from common.names import etl_run_prefix
from common.payloads import Model, Ref
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec


class Release(Model):
    """Rows of an earlier run that are let through, though a check rejected them.

    The interval is loaded again; rows that are word by word the same as released ones pass the
    checks that rejected those.

    Attributes:
        run: The earlier run, whose quarantine they are in.
        contents: SHA-256 of the rows' contents in the quarantine, as JSON by reference.
        row_count: How many they are.
    """

    run: int
    contents: Ref
    row_count: int


class EtlOpenInput(Model):
    """Open a run; the same owner gets the same one.

    Attributes:
        forget_releases: Whether rows that earlier releases let through are rejected again.
    """

    spec: EtlSpec
    owner: str
    now_us: int
    interval: DataInterval | None = None
    release: Release | None = None
    forget_releases: bool = False


class PinnedRun(Model):
    """What a run fixed before its first row.

    Attributes:
        run: Number, growing over all runs of the pipeline.
        owner: The workflow run that claimed the number.
        slot: Label of the interval, or of the run.
        moment_us: End of the interval, or when the run was opened.
        source: What the source said of itself.
        schema: Which columns are read; `schema_decision` in JSON.
        types: Columns after the last step, with their types.
        window: Which rows of the cursor's column are wanted.
        let_through: All rejected rows that pass: those of `release`, or of earlier releases.
        references: Values that `referential` checks allow, by the place of the check.
    """

    spec: EtlSpec
    run: int
    owner: str
    slot: str
    moment_us: int
    source: SourceShape
    decision: SchemaDecision
    types: dict[str, str]
    window: CursorWindow = CursorWindow()
    interval: DataInterval | None = None
    release: Release | None = None
    let_through: Release | None = None
    references: dict[int, Ref] = {}

    @property
    def prefix(self) -> str:
        """Where everything of the run is, in the object store and in the lake."""
        return etl_run_prefix(self.spec.name, self.run)


class EtlOpened(Model):
    """A run that may begin.

    Attributes:
        run: Its number.
        window: Which rows of the cursor's column are wanted.
        targets: Names of the targets, in order.
        keyed: Whether some key must be unique over the whole batch.
        drops: Whether rows whose key repeats are taken out, so that staging has to wait.
        grouped: Whether a step needs all chunks at once.
        notes: Facts for people.
    """

    run: int
    slot: str
    window: CursorWindow
    targets: list[str]
    keyed: bool = False
    drops: bool = False
    grouped: bool = False
    changes: list[str] = []
    notes: list[str] = []


class RunName(Model):
    """Which run."""

    pipeline: str
    run: int


class SettleInput(Model):
    """Fix the end of what a run reads."""

    name: RunName
    window: CursorWindow
    open_transactions: list[str] | None = None


class PlanInput(Model):
    """Cut what a run reads into chunks."""

    name: RunName
    window: CursorWindow


class ChunkPlan(Model):
    """The chunks of a run, as they are kept."""

    window: CursorWindow
    chunks: list[Chunk]
    attempt: str = ""


class EtlPlanned(Model):
    """How many chunks there are, and about how many rows."""

    chunk_count: int
    row_estimate: int = 0


class ChunkInput(Model):
    """Do something with one chunk."""

    name: RunName
    chunk: int


class StageInput(Model):
    """Write one chunk into the staging of one target."""

    name: RunName
    chunk: int
    target: int


class StagedChunk(Model):
    """A chunk in the staging of one target, and which attempt at it counts."""

    number: int
    token: str
    rows: int


class ChunkCounts(Model):
    """What a stage did with a chunk."""

    rows: int = 0
    rejected: int = 0
    ledger: BatchLedger = BatchLedger()


class TargetInput(Model):
    """Do something with one target."""

    name: RunName
    target: int
    chunk_count: int


class TargetResult(Model):
    """What a publication changed; the counts are those of `Published`."""

    target: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    written: int = 0


class AuditInput(Model):
    """Look at a whole batch."""

    name: RunName
    chunk_count: int
    ledger: BatchLedger = BatchLedger()


class Grouped(Model):
    """What became of all chunks in a step that groups their rows.

    Attributes:
        chunk_count: Chunks of groups.
        ledger: Of the run; rows that went into a group count as grouped.
    """

    chunk_count: int
    ledger: BatchLedger


class AuditResult(Model):
    """Whether a batch may be published.

    Attributes:
        outcome: `passed`, `warned` or `blocked`.
        passed, warned, failed: Counts of checks.
        lines: What failed, one line each.
        dropped: Records that the checks of the whole batch sent to quarantine.
        dropped_rows: Clean rows that were made of them.
        alert: What people are told, since the score fell below the threshold; empty is nothing.
    """

    outcome: Verdict
    passed: int = 0
    warned: int = 0
    failed: int = 0
    score: float = 100.0
    lines: list[str] = []
    dropped: int = 0
    dropped_rows: int = 0
    alert: str = ""


class DroppedRows(Model):
    """Rows of a chunk that a check of the whole batch sent to quarantine.

    Attributes:
        records: Their records, by `_row`.
        rows: How many clean rows were made of these.
        quarantine: The records as they were extracted.
    """

    records: list[int]
    rows: int
    quarantine: Ref | None = None


class Evidence(Model):
    """What the gate leaves behind.

    Attributes:
        quarantine: Rejected rows, Parquet of `batch.quarantine`.
        report: The report as JSON.
        metrics: What later runs are compared with.
    """

    quarantine: list[Ref] = []
    report: Ref | None = None
    metrics: dict[str, float] = {}


class ReportInput(Model):
    """Write the report of a run.

    Attributes:
        now_us: When it is written.
    """

    name: RunName
    now_us: int


class ReportWritten(Model):
    """The report of a run.

    Attributes:
        page: As HTML in the lake; None where the pipeline names no report.
    """

    page: Ref | None = None


class FinishInput(Model):
    """Record a run that ended, and clean up after it."""

    name: RunName
    chunk_count: int
    published: list[TargetResult]
    audit: AuditResult
    ledger: BatchLedger
    started_us: int
    now_us: int
    report: ReportWritten = ReportWritten()


class DiscardInput(Model):
    """Leave no trace of a run.

    Attributes:
        owner: The workflow run whose run it is, for one that ended before it had a number.
    """

    name: RunName
    owner: str


class Nothing(Model):
    """An answer without content."""
