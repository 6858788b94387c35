"""What a run fixes before its first row: schema, types, tables; the same for a dry run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from activities.etl_history import RunRecord
from activities.etl_io import PinnedRun, Release
from activities.etl_ports import BatchSource, BatchTarget, TargetPlan
from activities.etl_table import batch_table
from batch.chunk import CursorWindow, SourceShape
from batch.clean_plan import typed, types_after
from batch.report import ReportBuilder
from batch.schema_change import decide
from common.duration import format_time
from common.errors import FatalError, SinkRefusedError, SourceRefusedError
from pipelines.conversion import nullable
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec, Target
from pipelines.etl_source import FileSource, PostgresSource

SourceOpener = Callable[[EtlSpec, DataInterval | None], BatchSource]
TargetOpener = Callable[[Target], BatchTarget]


@dataclass
class Prepared:
    """A run that could begin.

    Attributes:
        plans: What each target would do, by its name.
    """

    run: PinnedRun
    plans: dict[str, TargetPlan] = field(default_factory=dict)


async def pin(
    spec: EtlSpec,
    source: BatchSource,
    last: RunRecord | None,
    *,
    run: int,
    owner: str,
    now_us: int,
    interval: DataInterval | None,
    release: Release | None = None,
) -> PinnedRun:
    """Look at the source and decide what is read, and as what.

    Args:
        spec: The pipeline.
        source: Its source.
        last: The run that was published last; for a release, the run whose rows are released.
        run: Number of the run.
        owner: The workflow run that claimed it.
        now_us: Time of the workflow.
        interval: Data interval.
        release: Which rows are let through.

    Raises:
        SourceRefusedError: The source has other columns than the pipeline can take.
        PipelineSpecError: A step does not fit the columns.
    """
    shape = await source.describe()
    before = declared(spec) or (last.columns if last is not None else None)
    decision = decide(shape.columns, before, spec.on_schema_change, spec.name)
    _require_promised(spec, decision.columns)
    types = types_after(spec, decision.columns)
    if spec.report is not None:
        ReportBuilder.of(spec.report, typed(types))  # what cannot be told later is refused now
    return PinnedRun(
        spec=spec,
        run=run,
        owner=owner,
        slot=_slot(run, interval, last if release is not None else None),
        moment_us=interval.end_us if interval is not None else now_us,
        source=shape,
        decision=decision,
        types=types,
        window=last.window
        if release is not None and last is not None
        else window_of(spec, shape, interval, last),
        interval=interval,
        release=release,
    )


def _require_promised(spec: EtlSpec, columns: Mapping[str, str]) -> None:
    """Refuse a source without columns that the contract promises; their rules would pass unseen."""
    promised = [] if spec.contract is None else [one.name for one in spec.contract.fields]
    lost = [name for name in promised if name not in columns]
    if spec.contract is not None and lost:
        raise SourceRefusedError(
            f"source of `{spec.name}`: expected columns {', '.join(lost)}, as contract "
            f"`{spec.contract.name}` {spec.contract.version} promises, got "
            f"{', '.join(columns)}; bring them back, or publish another contract"
        )


def declared(spec: EtlSpec) -> dict[str, str]:
    """Give the columns that the file declares, or the contract of a source without types."""
    parquet = isinstance(spec.source, FileSource) and spec.source.format == "parquet"
    typed = isinstance(spec.source, PostgresSource) or parquet
    if spec.fields or spec.contract is None or typed:
        return spec.fields
    return {name: str(nullable(kind)) for name, kind in spec.contract.types.items()}


def _slot(run: int, interval: DataInterval | None, released: RunRecord | None) -> str:
    if released is not None:
        return released.slot
    return interval.label if interval is not None else f"run-{run:06d}"


def window_of(
    spec: EtlSpec, shape: SourceShape, interval: DataInterval | None, last: RunRecord | None
) -> CursorWindow:
    """Give the cursor's values that a run wants: those of the interval, or all since the last run.

    Raises:
        SourceRefusedError: There is no such column.
    """
    if not isinstance(spec.source, PostgresSource) or spec.source.cursor is None:
        return CursorWindow()
    if spec.source.cursor not in shape.columns:
        raise SourceRefusedError(
            f"source of `{spec.name}`: expected the cursor's column `{spec.source.cursor}`, got "
            f"{', '.join(shape.columns)}; correct `source.postgres.cursor`"
        )
    if interval is not None:
        return CursorWindow(start=_moment(interval.start_us), end=_moment(interval.end_us))
    if last is None or last.window.end is None:
        return CursorWindow()
    return CursorWindow(start=last.window.end, start_open=last.window.end_closed)


def _moment(value_us: int) -> str:
    return format_time(value_us // 1000)


async def preflight(run: PinnedRun, open_target: TargetOpener) -> dict[str, TargetPlan]:
    """Ask every target what it would do; all reasons against it in one message.

    Raises:
        SinkRefusedError: At least one cannot hold the promise.
    """
    plans: dict[str, TargetPlan] = {}
    reasons: list[str] = []
    for target in run.spec.targets:
        try:
            plans[target.name] = await open_target(target).preflight(batch_table(run, target))
        except FatalError as error:
            reasons.append(str(error))
    if reasons:
        raise SinkRefusedError("; ".join(reasons))
    return plans


def reading(run: PinnedRun) -> SourceShape:
    """Give the columns that are read, in the types in which they come."""
    decision = run.decision
    names = [name for name in run.source.columns if name in decision.columns]
    wanted = [*names, *decision.surplus]
    return run.source.model_copy(
        update={"columns": {name: run.source.columns[name] for name in wanted}}
    )
