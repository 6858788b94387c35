"""Names that must never drift apart: workflow ids, task queues, object keys."""

STREAM_QUEUE = "stream"
STREAM_COMPUTE_QUEUE = "stream-compute"
ETL_QUEUE = "etl"
ETL_COMPUTE_QUEUE = "etl-compute"


def stream_workflow_id(pipeline: str) -> str:
    """Name the workflow of a stream."""
    return f"stream/{pipeline}"


def etl_workflow_id(pipeline: str, label: str = "latest") -> str:
    """Name the workflow of a run; the label is the start of its data interval."""
    return f"etl/{pipeline}/{label}"


def etl_prefix(pipeline: str) -> str:
    """Give the prefix, in the object store and in the lake, of everything of an ETL pipeline."""
    return f"etl/{pipeline}"


def etl_run_prefix(pipeline: str, run: int) -> str:
    """Give the prefix, in the object store and in the lake, of everything of one run."""
    return f"{etl_prefix(pipeline)}/runs/{run:06d}"


def dataset_prefix(dataset: str) -> str:
    """Give the object store's prefix of what is announced of a dataset."""
    return f"datasets/{dataset}"


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
INTERVAL_ATTRIBUTE = "SluiceInterval"
SEARCH_ATTRIBUTES = (PIPELINE_ATTRIBUTE, KIND_ATTRIBUTE, STATE_ATTRIBUTE, INTERVAL_ATTRIBUTE)
"""Keywords that workers register with the namespace, so that the Web UI can filter by them."""
