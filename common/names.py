"""Names that must never drift apart: workflow ids, task queues, object keys."""

STREAM_QUEUE = "stream"
STREAM_COMPUTE_QUEUE = "stream-compute"


def stream_workflow_id(pipeline: str) -> str:
    """Name the workflow of a stream."""
    return f"stream/{pipeline}"


def stream_prefix(pipeline: str) -> str:
    """Give the object store's prefix under which everything of a stream lives."""
    return f"streams/{pipeline}"


def epoch_prefix(pipeline: str, epoch: int) -> str:
    """Give the prefix of the working objects of one epoch of a stream."""
    return f"{stream_prefix(pipeline)}/e{epoch:06d}"


def run_prefix(pipeline: str, epoch: int, run_id: str) -> str:
    """Give the prefix of the working objects that one run of a stream writes.

    So a closed run's objects can be told from those that may be written at any time.
    """
    return f"{epoch_prefix(pipeline, epoch)}/run-{run_id}"


def dead_letter_topic(topic: str) -> str:
    """Name the topic that takes the dead letters of `topic`."""
    return f"{topic}.dlq"


def dead_letter_writer(pipeline: str, epoch: int) -> str:
    """Name the transactional id, and private group, of a stream's dead letters in one epoch."""
    return f"sluice-{pipeline}-e{epoch}-dead-letters"


def late_event_writer(pipeline: str, epoch: int) -> str:
    """Name the transactional id, and private group, of a stream's late events in one epoch."""
    return f"sluice-{pipeline}-e{epoch}-late-events"


PIPELINE_ATTRIBUTE = "SluicePipeline"
KIND_ATTRIBUTE = "SluiceKind"
STATE_ATTRIBUTE = "SluiceState"
SEARCH_ATTRIBUTES = (PIPELINE_ATTRIBUTE, KIND_ATTRIBUTE, STATE_ATTRIBUTE)
"""Keywords that workers register with the namespace, so that the Web UI can filter by them."""
