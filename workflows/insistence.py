"""Activities that run until they succeed: trouble is shown and outlasted, a final error pauses."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio import exceptions, workflow
from temporalio.exceptions import ActivityError, ApplicationError

from common.errors import non_retryable_types
from common.names import STREAM_QUEUE
from common.payloads import Model
from workflows import policies
from workflows.policies import Policy

R = TypeVar("R", bound=Model)

_FINAL = frozenset(non_retryable_types())


class Insistence:
    """What one workflow insists on.

    Attributes:
        trouble: What is retried or has paused the workflow, by what was attempted.
        busy: Activities under way, long polls left out.
        given_up: Whether what runs is being cancelled. An activity that ends in the same step as
            its cancellation swallows it, so whoever goes on after one has to look here.
    """

    def __init__(self, on_pause: Callable[[str], None]) -> None:
        self._on_pause = on_pause
        self._resumes = 0
        self.trouble: dict[str, str] = {}
        self.busy = 0
        self.given_up = False

    def resume(self) -> None:
        """Let everything that waits for a person try again."""
        self._resumes += 1

    async def run(
        self,
        what: str,
        name: str,
        work: Model,
        result_type: type[R],
        policy: Policy,
        *,
        queue: str = STREAM_QUEUE,
        fatal_ends: bool = False,
    ) -> R:
        """Run an activity until it succeeds, always with the same input.

        Args:
            what: What is attempted, in the words of the status.
            name: Type name of the activity.
            work: Its input.
            result_type: Its result.
            policy: Time-outs and retries of one round.
            queue: Task queue.
            fatal_ends: Whether a final error ends the workflow instead of pausing it.

        Raises:
            ApplicationError: A final error, if `fatal_ends`.
            CancelledError: The workflow gave it up.
        """
        polls = policy is policies.LONG_POLL
        rest = policies.TROUBLE_PAUSE
        while True:
            self.busy += not polls
            try:
                result = await _attempt(name, work, result_type, policy, queue)
            except ActivityError as error:
                if self.given_up or exceptions.is_cancelled_exception(error):
                    raise asyncio.CancelledError from error
                reason = _reason_to_pause(error, policy, fatal_ends=fatal_ends)
                if reason is not None:
                    await self.pause_for(what, reason)
                else:
                    self.trouble[what] = str(error.cause or error)
                    await self._shown(what, workflow.sleep(rest))
                    rest = min(rest * 2, policies.TROUBLE_PAUSE_LONGEST)
            else:
                self.trouble.pop(what, None)
                return result
            finally:
                self.busy -= not polls

    async def pause_for(self, what: str, reason: str) -> None:
        """Pause with a reason, and come back when somebody resumes."""
        resumes = self._resumes
        self.trouble[what] = reason
        self._on_pause(f"{what}: {reason}")
        workflow.logger.error("stream paused: %s: %s", what, reason)
        await self._shown(what, workflow.wait_condition(lambda: self._resumes > resumes))
        self.trouble.pop(what, None)

    async def once(self, name: str, work: Model, result_type: type[R], policy: Policy) -> R:
        """Run an activity for one round of attempts.

        Raises:
            ActivityError: It failed.
        """
        return await _attempt(name, work, result_type, policy, STREAM_QUEUE)

    async def _shown(self, what: str, wait: Awaitable[None]) -> None:
        """Wait while trouble is shown; it goes when its work is thrown away."""
        try:
            await wait
        except asyncio.CancelledError:
            if not self.given_up:
                self.trouble.pop(what, None)
            raise


async def _attempt(name: str, work: Model, result_type: type[R], policy: Policy, queue: str) -> R:
    result: R = await workflow.execute_activity(
        name,
        work,
        result_type=result_type,
        task_queue=queue,
        start_to_close_timeout=policy.start_to_close,
        heartbeat_timeout=policy.heartbeat,
        retry_policy=policy.retry,
    )
    return result


def _reason_to_pause(error: ActivityError, policy: Policy, *, fatal_ends: bool) -> str | None:
    """Say why going on needs a person; None when waiting may help."""
    cause = error.cause or error
    if isinstance(cause, ApplicationError) and (cause.non_retryable or cause.type in _FINAL):
        if fatal_ends:
            raise ApplicationError(str(cause), type=cause.type, non_retryable=True) from error
        return str(cause)
    polls = policy is policies.LONG_POLL
    if isinstance(cause, exceptions.TimeoutError) and not fatal_ends and not polls:
        lost = f"no worker finished it in {policy.retry.maximum_attempts} attempts"
        return f"{lost}, the last one: {cause}"
    return None
