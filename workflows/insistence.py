"""Activities that run until they succeed: trouble is shown and outlasted, a final error pauses."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio import exceptions, workflow
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ActivityCancellationType

from common.errors import non_retryable_types
from common.names import STREAM_QUEUE
from common.payloads import Model
from workflows import policies
from workflows.policies import Policy

R = TypeVar("R", bound=Model)

_FINAL = frozenset(non_retryable_types())


class Insistence:
    """What one workflow insists on.

    With `sees_out`, work that is given up is waited for until it no longer runs anywhere, and what
    it gives is thrown away: whoever undoes it afterwards has nobody beside him who still writes.

    Attributes:
        trouble: What is retried or has paused the workflow, by what was attempted.
        busy: Activities under way, long polls left out.
        given_up: Whether what runs is being cancelled. An activity that ends in the same step as
            its cancellation swallows it, so whoever goes on after one has to look here.
        cancelled: Whether the workflow was cancelled before it had a state.
        on_need: Called with what waits for a person, and why.
        on_resume: Called when somebody resumes.
    """

    def __init__(
        self,
        on_pause: Callable[[str], None],
        on_outage: Callable[[], None] = lambda: None,
        queue: str = STREAM_QUEUE,
        *,
        sees_out: bool = False,
    ) -> None:
        self._on_pause, self._on_outage, self._queue = on_pause, on_outage, queue
        self._sees_out = sees_out
        self._resumes = 0
        self._began_as = workflow.info().original_execution_run_id
        self.trouble: dict[str, str] = {}
        self.busy = 0
        self.given_up = False
        self.cancelled = False
        self.on_need: Callable[[str, str], None] = lambda _what, _reason: None
        self.on_resume: Callable[[], None] = lambda: None

    @property
    def was_reset(self) -> bool:
        """Whether this run is a copy that a reset made; a next run would not show it any more."""
        return workflow.info().run_id != self._began_as

    def adopt_run(self, run_id: str) -> None:
        """Let a run that was reset write again, under an epoch that it claimed for itself."""
        self._began_as = run_id or self._began_as

    def resume(self) -> None:
        """Let everything that waits for a person try again."""
        self._resumes += 1
        self.on_resume()

    @property
    def resumed(self) -> bool:
        """Whether somebody resumed this run."""
        return self._resumes > 0

    async def run(
        self,
        what: str,
        name: str,
        work: Model,
        result_type: type[R],
        policy: Policy,
        *,
        queue: str | None = None,
        fatal_ends: bool = False,
        abandoned: Callable[[], bool] = lambda: False,
    ) -> R:
        """Run an activity until it succeeds, always with the same input.

        Args:
            what: What is attempted, in the words of the status.
            name: Type name of the activity.
            work: Its input.
            result_type: Its result.
            policy: Time-outs and retries of one round.
            queue: Task queue; None is the workflow's own.
            fatal_ends: Whether a final error ends the workflow instead of pausing it.
            abandoned: Whether this work alone is being cancelled, as `given_up` is for all.

        Raises:
            ApplicationError: A final error, if `fatal_ends`.
            CancelledError: The workflow gave it up.
        """
        if "run_id" in type(work).model_fields:
            work = work.model_copy(update={"run_id": self._began_as})
        polls = policy is policies.LONG_POLL
        rest, lost = policies.TROUBLE_PAUSE, 0
        while True:
            self.busy += not polls
            try:
                result = await self._attempt(name, work, result_type, policy, queue)
            except ActivityError as error:
                if self.given_up or abandoned() or exceptions.is_cancelled_exception(error):
                    raise asyncio.CancelledError from error
                lost = lost + 1 if isinstance(error.cause, exceptions.TimeoutError) else 0
                if lost and not workflow.patched("ask-again-for-lost-workers"):
                    lost = policies.LOST_ROUNDS
                reason = reason_to_pause(error, policy, lost, fatal_ends=fatal_ends)
                if reason is not None:
                    lost = 0
                    await self.pause_for(what, reason)
                else:
                    self.trouble[what] = str(error.cause or error)
                    reads = policy in policies.READING
                    if reads and workflow.patched("look-anew-after-outage"):
                        self._on_outage()
                    await self._shown(what, workflow.sleep(rest))
                    rest = min(rest * 2, policies.TROUBLE_PAUSE_LONGEST)
            else:
                if self._sees_out and self.given_up:
                    raise asyncio.CancelledError
                self.trouble.pop(what, None)
                return result
            finally:
                self.busy -= not polls

    async def pause_for(self, what: str, reason: str) -> None:
        """Pause with a reason, and come back when somebody resumes."""
        resumes = self._resumes
        self.trouble[what] = reason
        self._on_pause(f"{what}: {reason}")
        workflow.logger.error("paused: %s: %s", what, reason)
        self.on_need(what, reason)
        await self._shown(what, workflow.wait_condition(lambda: self._resumes > resumes))
        self.trouble.pop(what, None)

    async def once(self, name: str, work: Model, result_type: type[R], policy: Policy) -> R:
        """Run an activity for one round of attempts.

        Raises:
            ActivityError: It failed.
        """
        return await self._attempt(name, work, result_type, policy)

    async def _shown(self, what: str, wait: Awaitable[None]) -> None:
        """Wait while trouble is shown; it goes when its work is thrown away."""
        try:
            await wait
        except asyncio.CancelledError:
            if not self.given_up:
                self.trouble.pop(what, None)
            raise

    async def _attempt(
        self, name: str, work: Model, result_type: type[R], policy: Policy, queue: str | None = None
    ) -> R:
        kind = ActivityCancellationType
        result: R = await workflow.execute_activity(
            name,
            work,
            result_type=result_type,
            task_queue=queue or self._queue,
            start_to_close_timeout=policy.start_to_close,
            heartbeat_timeout=policy.heartbeat,
            retry_policy=policy.retry,
            cancellation_type=kind.WAIT_CANCELLATION_COMPLETED
            if self._sees_out
            else kind.TRY_CANCEL,
        )
        return result


def reason_to_pause(
    error: ActivityError, policy: Policy, lost: int, *, fatal_ends: bool
) -> str | None:
    """Say why going on needs a person; None when waiting may help.

    Workers that are lost come back; only work that has cost round after round of them needs one.

    Args:
        error: What ended the last round of attempts.
        policy: Of the work.
        lost: Rounds in a row, this one included, whose last attempt lost its worker.
        fatal_ends: Whether a final error is raised instead.

    Raises:
        ApplicationError: A final error, if `fatal_ends`.
    """
    cause = error.cause or error
    if isinstance(cause, ApplicationError) and (cause.non_retryable or cause.type in _FINAL):
        if fatal_ends:
            raise ApplicationError(cause.message, type=cause.type, non_retryable=True) from error
        return str(cause)
    polls = policy is policies.LONG_POLL
    if isinstance(cause, exceptions.TimeoutError) and not fatal_ends and not polls:
        if lost < policies.LOST_ROUNDS:
            return None
        attempts = policy.retry.maximum_attempts * lost
        return f"no worker finished it in {attempts} attempts, the last one: {cause}"
    return None
