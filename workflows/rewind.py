"""Rewinds of a running or paused stream, one after the other."""

import asyncio
from collections.abc import Callable

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities import stream_io
from common.errors import SluiceError
from pipelines.stream import StreamSpec
from streaming.rewind import (
    Rewind,
    apply_rewind,
    plan_rewind,
    require_room,
    times_to_look_up,
)
from streaming.state import StreamState
from streaming.status import RewindTo, Rewound
from streaming.window import Windowing
from workflows import clock, policies
from workflows.insistence import Insistence
from workflows.stream_input import REWIND_LATER


class Rewinding:
    """Rewinds of one stream.

    The epoch is claimed while the stream goes on. Everything else is one step without a wait in
    between, so a crash finds the stream either before the rewind or after it.

    Attributes:
        busy: Rewinds asked for and not answered.
        closed: Whether the run ends and takes no more.
    """

    def __init__(self, spec: StreamSpec, windows: Windowing, insist: Insistence) -> None:
        self._spec = spec
        self._windows = windows
        self._insist = insist
        self._turn = asyncio.Lock()
        self.busy = 0
        self.closed = False

    def check(self, state: StreamState | None, to: RewindTo, *, rolling: bool) -> None:
        """Refuse what cannot be done, before anything is.

        Raises:
            ApplicationError: The stream ends, is about to be ready, or cannot go back to there.
        """
        if state is None or rolling:
            raise _refusal(
                f"stream `{self._spec.name}`: expected to be at rest between two runs for a "
                "moment only; ask again",
                REWIND_LATER,
            )
        self._require_running(state)
        if self._windows.zone is None:
            rewind = self._plan(state, to, stream_io.ClaimResult(epoch=0, starts={}))
            self._require_room(state, rewind)
        else:  # where its days begin is told with the claim
            self._times(state, to)

    async def run(self, state: StreamState, to: RewindTo, give_back: Callable[[], None]) -> Rewound:
        """Go back.

        Args:
            state: The stream's state, changed in place.
            to: Where to.
            give_back: Throws away what older epochs have in flight.

        Raises:
            ApplicationError: It cannot be done; the stream goes on as it was.
        """
        self.busy += 1
        try:
            async with self._turn:
                return await self._run(state, to, give_back)
        finally:
            self.busy -= 1

    async def _run(
        self, state: StreamState, to: RewindTo, give_back: Callable[[], None]
    ) -> Rewound:
        work = stream_io.ClaimInput(
            spec=self._spec,
            topic_id=state.topic_id,
            owner=workflow.info().first_execution_run_id,
            epoch=state.epoch,
            times=self._times(state, to),
        )
        try:
            claimed = await self._insist.once(
                "stream.claim_epoch", work, stream_io.ClaimResult, policies.BOOKKEEPING
            )
        except ActivityError as error:
            cause = error.cause or error
            kind = cause.type if isinstance(cause, ApplicationError) else None
            raise _refusal(f"rewind: {cause}; the stream goes on as it was", kind) from error
        self._require_running(state)
        rewind = self._plan(state, to, claimed)
        with_room = workflow.patched("room-for-rewinds")
        if with_room:
            self._require_room(state, rewind)
        self._insist.adopt_run(claimed.run_id)
        give_back()
        now_ms = clock.now_ms()
        apply_rewind(state, self._windows, rewind, claimed.epoch, now_ms, lambda: with_room)
        return Rewound(
            epoch=claimed.epoch,
            floor_ms=rewind.floor_ms,
            offsets=rewind.offsets,
            rows_from=rewind.rows_from if self._spec.raw else {},
        )

    def _times(self, state: StreamState, to: RewindTo) -> list[int]:
        try:
            return times_to_look_up(state, self._spec, self._windows, to)
        except SluiceError as error:
            raise _refusal(str(error), type(error).__name__) from error

    def _plan(self, state: StreamState, to: RewindTo, claimed: stream_io.ClaimResult) -> Rewind:
        starts, bounds = claimed.starts, claimed.bounds
        try:
            return plan_rewind(state, self._spec, self._windows, to, starts, bounds)
        except SluiceError as error:
            raise _refusal(str(error), type(error).__name__) from error

    def _require_room(self, state: StreamState, rewind: Rewind) -> None:
        try:
            require_room(state, self._spec, rewind)
        except SluiceError as error:
            raise _refusal(str(error), type(error).__name__) from error

    def _require_running(self, state: StreamState) -> None:
        if self.closed or state.mode not in ("running", "paused"):
            raise _refusal(
                f"stream `{self._spec.name}`: expected a running or paused one to rewind, got one "
                "that ends; once it has, `sluice stream start --rewind-to` goes back",
                "UsageError",
            )


def _refusal(text: str, kind: str | None) -> ApplicationError:
    return ApplicationError(text, type=kind, non_retryable=True)
