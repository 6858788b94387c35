"""Input, status and result of the ETL workflow, so that starters need not import the workflow."""

from typing import Literal

from activities.etl_io import AuditResult, EtlOpened, Release, ReportWritten, TargetResult
from batch.chunk import BatchLedger
from common.payloads import Model
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec

ETL_WORKFLOW = "etl"
"""Type name of the workflow.

Signals: `pause`, `resume`, without arguments. Query: `status`, gives `EtlStatus`. Result:
`EtlResult`. Id: `common.names.etl_workflow_id`.
"""

EtlPhase = Literal[
    "opening", "settling", "planning", "extracting", "auditing", "publishing", "reporting",
    "recording",
]  # fmt: skip
EtlState = Literal["running", "paused", "published", "blocked", "cancelled", "failed"]


class EtlProgress(Model):
    """How far a run is; carried from run to run of a chain.

    Attributes:
        opened: None before the run has a number.
        chunk_count: None before the input was cut.
        done: Chunks of which every stage before the audit is done, below `next_chunk`.
        grouped_count: Chunks after a step that groups all rows; None without one.
        extracted_rows: Rows that have landed.
    """

    opened: EtlOpened | None = None
    chunk_count: int | None = None
    row_estimate: int = 0
    next_chunk: int = 0
    grouped_count: int | None = None
    done: int = 0
    extracted_rows: int = 0
    ledger: BatchLedger = BatchLedger()
    started_us: int = 0


class EtlInput(Model):
    """Run a pipeline over one data interval.

    Attributes:
        interval: None runs over everything, or from where the cursor stands.
        release: Rows of an earlier run of the same interval that are let through.
        forget_releases: Whether rows that earlier releases let through are rejected again.
        history_events: Length of history after which the workflow continues as a new run.
        carried: Progress of the previous run of a chain; set by continue-as-new only.
    """

    spec: EtlSpec
    interval: DataInterval | None = None
    release: Release | None = None
    forget_releases: bool = False
    history_events: int = 8_000
    carried: EtlProgress | None = None


class EtlStatus(Model):
    """Where a run stands, and why."""

    pipeline: str
    state: EtlState
    phase: EtlPhase
    reason: str = ""
    run: int = 0
    slot: str = ""
    chunks_done: int = 0
    chunk_count: int | None = None
    rows: int = 0
    row_estimate: int = 0
    started_us: int = 0
    now_us: int = 0
    ledger: BatchLedger = BatchLedger()
    published: list[TargetResult] = []


class EtlResult(Model):
    """How a run ended.

    Attributes:
        state: `published` or `blocked`; what was cancelled or failed has no result.
        written: The report that the pipeline names.
    """

    state: EtlState
    run: int
    slot: str
    ledger: BatchLedger = BatchLedger()
    audit: AuditResult = AuditResult(outcome="passed")
    published: list[TargetResult] = []
    changes: list[str] = []
    elapsed_us: int = 0
    written: ReportWritten = ReportWritten()
