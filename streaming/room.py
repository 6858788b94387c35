"""Room in what a stream sends and receives: no payload of it is above `PAYLOAD_BYTES`."""

from common.errors import UsageError
from pipelines.stream import StreamSpec

PAYLOAD_BYTES = 256 * 1024
"""What the Web UI, the history and a workflow step take without ado; the server's limit is 2 MB."""

MOST_PARTITIONS = 5_000
MOST_DEDUPLICATED = 128
"""Partitions of a stream, and of one that drops duplicates: each has references to seen keys."""


def require_partitions(spec: StreamSpec, count: int) -> None:
    """Raise `UsageError` when a topic has more partitions than a state can hold."""
    most = MOST_PARTITIONS if spec.deduplicate is None else MOST_DEDUPLICATED
    if count > most:
        kind = "a topic" if spec.deduplicate is None else "a topic to drop duplicates in"
        raise UsageError(
            f"stream `{spec.name}`: expected {kind} of at most {most:,} partitions, got "
            f"`{spec.topic}` with {count:,}, whose state would not fit; split the topic, or read "
            "one with fewer partitions"
        )
