"""Alerts: what waits for a person is recorded and told, and the stream never waits for that."""

import asyncio
from collections.abc import Callable

from temporalio import exceptions, workflow
from temporalio.exceptions import ActivityError

from activities.alert_io import EndInput, RaiseInput
from activities.stream_io import Done
from streaming.alert import Alert, alert_id
from streaming.state import StreamState
from workflows import clock, policies
from workflows.insistence import Insistence

Spawn = Callable[..., asyncio.Task[None]]


def keep_alerts(state: StreamState, insist: Insistence, spawn: Spawn) -> None:
    """Raise an alert for each pause that needs a person, and end it when somebody resumes.

    Args:
        state: The stream's state; holds what is not yet recorded or told.
        insist: Says when a person is needed, and when one came.
        spawn: Starts work beside the loop, which is cancelled with the run.
    """
    alerts = _Alerts(state, insist, spawn)
    insist.on_need, insist.on_resume = alerts.open, alerts.end
    alerts.go_on()
    if insist.resumed:  # before this run had a state
        alerts.end()


class _Alerts:
    def __init__(self, state: StreamState, insist: Insistence, spawn: Spawn) -> None:
        self._state = state
        self._insist = insist
        self._spawn = spawn

    def go_on(self) -> None:
        """Take up what the run before this one did not get done."""
        for alert in self._state.alerts:
            if not alert.closed:
                self._spawn(self._keep, alert)
            if alert.posts:
                self._spawn(self._post, alert)

    def open(self, what: str, reason: str) -> None:
        """Raise an alert, unless one is open that says the same."""
        state = self._state
        if any(alert.covers(what, reason) for alert in state.alerts):
            return
        if not workflow.patched("alerts"):
            return
        state.alert_seq += 1
        now_ms = clock.now_ms()
        # A reset repeats the names of what was raised before its point, so that it can end them.
        run_id = workflow.info().original_execution_run_id
        name = alert_id(state.pipeline, now_ms, run_id, state.alert_seq)
        alert = Alert(name=name, what=what, reason=reason, raised_ms=now_ms)
        state.alerts.append(alert)
        self._spawn(self._keep, alert)

    def end(self) -> None:
        """End all that are open: somebody was here, and what still fails raises a new one."""
        for alert in self._state.alerts:
            if alert.ended_ms is None:
                alert.ended_ms = clock.now_ms()

    async def _keep(self, alert: Alert) -> None:
        """Record an alert and its end."""
        if not alert.written:
            done = await self._attempt("alert.raise", self._told(alert))
            alert.written = True
            if done is not None and done.count:
                alert.posts = True
                self._spawn(self._post, alert)
        await workflow.wait_condition(lambda: alert.ended_ms is not None)
        await self._attempt("alert.end", EndInput(name=alert.name, ended_ms=alert.ended_ms or 0))
        alert.closed = True
        self._forget(alert)

    async def _post(self, alert: Alert) -> None:
        await self._attempt("alert.post", self._told(alert))
        alert.posts = False
        self._forget(alert)

    async def _attempt(self, name: str, work: RaiseInput | EndInput) -> Done | None:
        """Try for as long as the policy says; None when it was in vain, which is logged only."""
        try:
            done = await self._insist.once(name, work, Done, policies.ALERT)
        except ActivityError as error:
            if self._insist.given_up or exceptions.is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            workflow.logger.error("%s of %s is given up: %s", name, work.name, error.cause or error)
            return None
        if self._insist.given_up:  # its end swallowed the cancellation; the next run repeats it
            raise asyncio.CancelledError
        return done

    def _told(self, alert: Alert) -> RaiseInput:
        return RaiseInput(
            name=alert.name,
            pipeline=self._state.pipeline,
            what=alert.what,
            reason=alert.reason,
            raised_ms=alert.raised_ms,
        )

    def _forget(self, alert: Alert) -> None:
        if alert.closed and not alert.posts:
            self._state.alerts.remove(alert)
