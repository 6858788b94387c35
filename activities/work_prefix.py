"""Where an activity puts its working objects."""

from temporalio import activity

from common.names import epoch_prefix, run_prefix
from streaming.state import RangeTask


def work_prefix(pipeline: str, epoch: int) -> str:
    """Give the prefix for the objects of the run that this activity works for."""
    run_id = activity.info().workflow_run_id
    return run_prefix(pipeline, epoch, run_id) if run_id else epoch_prefix(pipeline, epoch)


def range_prefix(pipeline: str, task: RangeTask) -> str:
    """Give the prefix for the objects that a range comes to."""
    span = task.span
    folder = work_prefix(pipeline, task.epoch)
    return f"{folder}/range-{span.partition}-{span.start}-{span.stop}"
