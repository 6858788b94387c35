"""The targets of a run, as the connectors take them."""

from activities.etl_io import PinnedRun
from activities.etl_ports import BatchTable
from activities.ports import SinkColumn
from contracts.field_type_parse import parse_field_type
from pipelines.etl import Target
from pipelines.etl_source import PostgresSource


def batch_table(run: PinnedRun, target: Target) -> BatchTable:
    """Describe a target of a run."""
    whole = target.mode == "replace" and run.interval is None
    return BatchTable(
        pipeline=run.spec.name,
        slot="" if whole else run.slot,
        run=run.run,
        run_id=f"{run.run:06d}-{run.owner[:8]}",
        name=target.table,
        columns=tuple(SinkColumn(name, parse_field_type(kind)) for name, kind in run.types.items()),
        mode=target.mode,
        key=tuple(target.key),
        cursor=_cursor(run),
        partition_by=target.partition_by,
        moment_us=run.moment_us,
    )


def _cursor(run: PinnedRun) -> str | None:
    """Name the cursor's column in the target, if the steps left it there."""
    source = run.spec.source
    name = source.cursor if isinstance(source, PostgresSource) else None
    for step in run.spec.transform:
        name = step.rename.get(name, name) if name is not None else None
    return name if name in run.types else None
