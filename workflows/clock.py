"""The clock of a workflow: recorded, the same in every replay."""

from temporalio import workflow


def now_ms() -> int:
    """Give workflow time in milliseconds since the epoch."""
    return workflow.time_ns() // 1_000_000
