"""Inputs and results of the stream activities, apart so that workflows need no I/O code."""

from common.payloads import Model, Ref
from pipelines.stream import SinkSpec, StreamSpec
from streaming.chunk_span import ChunkSpan
from streaming.offset_map import OffsetMap
from streaming.progress import CombineTask, RangeResult
from streaming.segment import KeySpan
from streaming.side_output import SideBatch
from streaming.state import Flush, RangeTask
from streaming.status import RewindTo, StreamFrom, StreamUntil


class Work(Model):
    """What every activity of a stream is given.

    Attributes:
        run_id: Run that the workflow's history began as; see `activities.own_run`.
    """

    run_id: str = ""


class OpenInput(Work):
    """Resume a stream from its saved state or claim a new epoch.

    Attributes:
        owner: First run id of the workflow's chain.
        rewind: Where the saved state is turned back to before the run goes on.
        accept_loss: Whether a saved state goes on without what the log no longer has.
    """

    spec: StreamSpec
    owner: str
    fresh: bool
    begin: StreamFrom
    until: StreamUntil | None
    now_ms: int
    rewind: RewindTo | None = None
    accept_loss: bool = False


class OpenResult(Model):
    """The state to go on from, encoded, and what the sinks had to say."""

    state: str
    notes: list[str] = []


class ClaimInput(Work):
    """An epoch that a running stream wants for a rewind.

    Attributes:
        owner: First run id of the workflow's chain.
        epoch: The epoch that it is in.
        times: Times around which it needs to know where windows begin, in milliseconds since the
            epoch; none unless they follow a time zone.
    """

    spec: StreamSpec
    topic_id: str
    owner: str
    epoch: int
    times: list[int] = []


class ClaimResult(Model):
    """What a rewind needs to know.

    Attributes:
        epoch: The epoch that was claimed.
        starts: First offset per partition.
        run_id: The run that it is for.
        bounds: Start and end of the windows around the times that were asked for.
    """

    epoch: int
    starts: OffsetMap
    run_id: str = ""
    bounds: list[int] = []


class AggregateInput(Work):
    """Ranges to aggregate, each pinned with all that its result depends on.

    Attributes:
        seen_inline_bytes: A table of seen keys above this size travels by reference.
        seen_tables: Tables at most that hold the seen keys of a partition.
        may_cut: Whether a range of a raw stream ends early, rather than in more tables than are
            counted for it.
    """

    spec: StreamSpec
    topic_id: str
    tasks: list[RangeTask]
    seen_inline_bytes: int = 2_048
    seen_tables: int = 64
    may_cut: bool = False


class AggregateResult(Model):
    """One result per range, in the order of the tasks."""

    results: list[RangeResult]


class CombineInput(Work):
    """Segments to merge."""

    spec: StreamSpec
    epoch: int
    task: CombineTask


class KeyCombineInput(Work):
    """A span of key ranges to merge, of the segments that hold some of it."""

    spec: StreamSpec
    epoch: int
    task: CombineTask
    keys: KeySpan


class WaitInput(Work):
    """Offsets beyond which there is news, and how long to wait for it.

    Attributes:
        others: Whether a partition that is not in `cursors` is news; to a bounded run it is not.
    """

    topic: str
    topic_id: str
    cursors: OffsetMap
    timeout_ms: int
    others: bool = True


class WaitResult(Model):
    """Last stable offset per partition."""

    ends: OffsetMap


class SurveyInput(Work):
    """The topic to look at."""

    topic: str


class WriteFlushInput(Work):
    """One frozen flush for one sink.

    Attributes:
        chunks: Those to write; None writes all of them.
    """

    spec: StreamSpec
    epoch: int
    sink: SinkSpec
    flush: Flush
    chunks: ChunkSpan | None = None


class PublishInput(Work):
    """What one sink is to tell its readers."""

    spec: StreamSpec
    epoch: int
    sink: SinkSpec
    flush_seq: int
    complete_ms: int


class RefreshInput(Work):
    """A sink whose committed version is to be committed again.

    Attributes:
        flush_seq: Last flush that the sink has; one that has a later one is left alone.
    """

    spec: StreamSpec
    epoch: int
    sink: SinkSpec
    flush_seq: int


class SideOutputInput(Work):
    """Frozen records of a side output, delivered in one write under the last one's sequence.

    Attributes:
        topic: Topic that the records came from.
        to: Topic that late events go to; dead letters have one by rule.
        table: Table that late events go to instead.
    """

    pipeline: str
    topic: str
    epoch: int
    batch: list[SideBatch]
    to: str = ""
    table: SinkSpec | None = None


class SaveInput(Work):
    """A state to keep beyond the workflow's retention."""

    pipeline: str
    epoch: int
    owner: str
    state: str


class ReleaseInput(Work):
    """Objects that nothing needs any more."""

    refs: list[Ref]


class Done(Model):
    """An activity that has nothing to tell but that it is done."""

    count: int = 0
