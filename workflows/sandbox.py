"""The workflow sandbox: on, with pure packages passed through, so that a start is quick."""

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

PASSED_THROUGH = (
    "activities",
    "annotated_types",
    "batch",
    "common",
    "contracts",
    "numpy",
    "pipelines",
    "polars",
    "pyarrow",
    "pydantic",
    "pydantic_core",
    "sqlglot",
    "streaming",
)
"""An architecture test keeps clocks, I/O and randomness out of ours among these."""


def sandboxed_runner() -> SandboxedWorkflowRunner:
    """Give the runner that workers and replayers share."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    return SandboxedWorkflowRunner(restrictions=restrictions)
