"""Named policies of retries and timeouts; every activity is called with one of them.

Attempts are bounded so that the workflow hears of trouble, shows it, and asks again by itself; only
errors that the tree in `common.errors` calls final end the asking.
"""

from dataclasses import dataclass
from datetime import timedelta

from temporalio.common import RetryPolicy

from common.errors import non_retryable_types


@dataclass(frozen=True)
class Policy:
    """How long an activity may take, and how it is retried before the workflow is told."""

    start_to_close: timedelta
    heartbeat: timedelta | None
    retry: RetryPolicy


def _retry(attempts: int, first_s: float = 0.2, most_s: float = 5.0) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=timedelta(seconds=first_s),
        backoff_coefficient=2.0,
        maximum_interval=timedelta(seconds=most_s),
        maximum_attempts=attempts,
        non_retryable_error_types=non_retryable_types(),
    )


COMPUTE = Policy(timedelta(minutes=10), timedelta(seconds=6), _retry(6))
"""Heavy and pure: a lost worker is noticed within seconds and the same input given to another."""

SINK_WRITE = Policy(timedelta(minutes=10), timedelta(seconds=10), _retry(6))
"""A write under a name; twice is once."""

BOOKKEEPING = Policy(timedelta(seconds=60), timedelta(seconds=15), _retry(6))
"""Opening, saving and releasing: short calls to the store, the log and the sinks."""

LONG_POLL = Policy(timedelta(seconds=60), timedelta(seconds=15), _retry(3))
"""Waiting for new records."""

READING = (COMPUTE, LONG_POLL)
"""Work that reads the log, and may fail because it cannot be reached."""

PREPARE = Policy(timedelta(minutes=10), timedelta(seconds=15), _retry(6))
"""Looking at sources and targets of a batch, and its bookkeeping."""

CHUNK = Policy(timedelta(minutes=10), timedelta(seconds=10), _retry(6))
"""One chunk of a batch through one stage."""

SNAPSHOT = Policy(timedelta(hours=12), timedelta(seconds=10), _retry(6))
"""All chunks of a batch at one moment; a lost worker loses the moment."""

AUDIT = Policy(timedelta(hours=1), timedelta(seconds=10), _retry(6))
"""The gate over a whole batch."""

PUBLISH = Policy(timedelta(hours=1), timedelta(seconds=10), _retry(6))
"""What readers see of a batch, in one target; twice is once."""

ALERT = Policy(timedelta(seconds=30), timedelta(seconds=15), _retry(300, 1.0, 300.0))
"""Telling people: for about a day, beside everything else, and without an event of history."""

LOST_ROUNDS = 3
"""Work whose attempts lost their workers in so many rounds in a row is taken for the reason."""

TROUBLE_PAUSE = timedelta(seconds=2)
TROUBLE_PAUSE_LONGEST = timedelta(seconds=30)
"""Between rounds of attempts the workflow waits from the one up to the other, doubling."""
