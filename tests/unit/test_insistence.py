"""What needs a person, and what is asked again."""

import pytest
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    RetryState,
    TimeoutError,  # noqa: A004 - Temporal's
    TimeoutType,
)

from workflows import policies
from workflows.insistence import reason_to_pause


def failed(cause: BaseException) -> ActivityError:
    error = ActivityError(
        "failed", scheduled_event_id=1, started_event_id=2, identity="", activity_type="a",
        activity_id="1", retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    )  # fmt: skip
    error.__cause__ = cause
    return error


LOST = failed(
    TimeoutError("activity timed out", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[])
)


def test_lost_workers_are_waited_for_until_the_work_itself_must_be_the_reason() -> None:
    reasons = [
        reason_to_pause(LOST, policies.COMPUTE, lost, fatal_ends=False)
        for lost in range(1, policies.LOST_ROUNDS + 1)
    ]
    assert reasons[:-1] == [None, None]
    assert reasons[-1] is not None
    assert "no worker finished it in 18 attempts" in reasons[-1]


def test_a_long_poll_never_needs_a_person_for_a_lost_worker() -> None:
    assert reason_to_pause(LOST, policies.LONG_POLL, 99, fatal_ends=False) is None


def test_a_final_error_needs_one_at_once_and_trouble_never_does() -> None:
    final = failed(ApplicationError("no column", type="SinkRefusedError"))
    trouble = failed(ApplicationError("away", type="ServiceUnavailableError"))
    assert "no column" in (reason_to_pause(final, policies.SINK_WRITE, 0, fatal_ends=False) or "")
    assert reason_to_pause(trouble, policies.SINK_WRITE, 0, fatal_ends=False) is None
    with pytest.raises(ApplicationError, match="no column"):
        reason_to_pause(final, policies.SINK_WRITE, 0, fatal_ends=True)
