"""Work of a run that `temporal workflow reset` brought back is refused.

What such a run decides from its reset point on contradicts what was written after that point, under
the same epoch and flush numbers. Its first event names the run it was copied from, and the workflow
puts that into the input of every activity; the activity knows which run it works for.
"""

from temporalio import activity

from common.errors import RunResetError


def refuse_reset_run(task: object) -> None:
    """Refuse work of a run that was reset.

    Raises:
        RunResetError: The run is not the one that its history began as.
    """
    began_as = getattr(task, "run_id", "")
    runs_as = activity.info().workflow_run_id
    if began_as and began_as != runs_as:
        raise RunResetError(
            f"workflow `{activity.info().workflow_id}`: expected run {began_as}, got {runs_as}: it "
            "was reset, and what it computes from there contradicts what was already written; "
            "nothing more is written; rewind the stream to before that, or stop it and start it "
            "with `--fresh`"
        )
