"""The stream workflow: order and durability of ranges, merges, windows and flushes."""

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from activities import stream_io
from common.errors import FatalError, UsageError
from common.names import STREAM_COMPUTE_QUEUE
from streaming import early, loss, progress, quiet, raw_flush, tuning, watermark
from streaming.completeness import note_completeness
from streaming.loss import LogSurvey
from streaming.merge_step import combine_inline
from streaming.plan import compile_stream
from streaming.planner import Limits, caught_up, limits_of, plan_ranges
from streaming.raw_retirement import retire_passed
from streaming.report import stream_status
from streaming.retirement import retire
from streaming.rewind import forget_results
from streaming.room import seen_inline_bytes, seen_tables
from streaming.state import Mode, RangeTask, StreamState, decode_state
from streaming.status import Outcome, RewindTo, Rewound, StreamResult, StreamStatus
from streaming.tuning import Operation, TuningChange
from workflows import clock, policies
from workflows.alert import keep_alerts
from workflows.beside import Beside
from workflows.ending import end_stream
from workflows.garbage import GarbageRelease, leave_to_sweep
from workflows.insistence import Insistence
from workflows.key_combine import combine_outside, may_cut
from workflows.opening import open_stream
from workflows.reading import Reading
from workflows.rewind import Rewinding
from workflows.search_attribute import StateAttribute
from workflows.side_output import pump, side_outputs
from workflows.sink_pump import write_flushes
from workflows.stream_input import STREAM_WORKFLOW, StreamInput
from workflows.watch import POLL_MS, watch_log

HISTORY_BYTES = 8_000_000
ROLL_GRACE = timedelta(seconds=10)

_ENDING = ("draining", "stopping")


@workflow.defn(name=STREAM_WORKFLOW)
class StreamWorkflow:
    """Consume a log in pinned ranges, hold window state, flush what has ended.

    One loop changes the state; tasks beside it only wait for activities and hand over what came.
    """

    @workflow.init
    def __init__(self, task: StreamInput) -> None:
        self._task = task
        self._plan = compile_stream(task.spec)
        self._operating = task.spec
        self._state: StreamState | None = None
        self._results: dict[tuple[int, int], progress.RangeResult] = {}
        self._beside = Beside(self._failed)
        self._reading = Reading()
        self._combining = False
        self._cut_ms: int | None = None  # when a rest that is too small for a range is cut
        self._garbage = GarbageRelease()
        self._insist = Insistence(self._pause, self._look_anew)
        self._rewinding = Rewinding(task.spec, self._plan.windowing, self._insist)
        self._attribute = StateAttribute(task.spec.name, task.spec.kind)
        self._changed = True
        self._accepts_loss = False
        self._rolling = False
        self._bounded = False
        self._early: list[tuple[Mode, str]] = []
        self._failure: BaseException | None = None
        self._outcome: Outcome | None = None

    # --- signals and queries -----------------------------------------------------------------

    @workflow.signal
    def pause(self) -> None:
        """Plan nothing more; what is in flight is merged and flushed."""
        self._set_mode("paused", "paused by request")

    @workflow.signal
    def resume(self) -> None:
        """Go on exactly where the stream stopped, after observing the ends of the log again."""
        self._insist.resume()
        self._set_mode("running", "")

    @workflow.signal
    def accept_loss(self) -> None:
        """Go on without what the log no longer has; without a loss it is `resume`."""
        self._accepts_loss = True
        if self._state is not None:
            self._beside.spawn(self._give_up_lost)

    @workflow.signal
    def drain(self) -> None:
        """Take in no more, finish and flush what is planned, save the state and end."""
        self._set_mode("draining", "draining by request")

    @workflow.signal
    def stop(self) -> None:
        """Give back what is in flight, save the state and end."""
        self._set_mode("stopping", "stopping by request")

    @workflow.update
    async def rewind(self, to: RewindTo) -> Rewound:
        """Compute again from a time or offsets on, in a new epoch; paused stays paused."""
        return await self._rewinding.run(self._opened(), to, self._give_back)

    @rewind.validator
    def check_rewind(self, to: RewindTo) -> None:
        """Refuse a rewind that cannot be."""
        self._rewinding.check(self._state, to, rolling=self._rolling)

    @workflow.update
    async def configure(self, change: TuningChange) -> Operation:
        """Change operational options from the next range on."""
        await workflow.wait_condition(lambda: self._state is not None)
        state = self._opened()
        state.tuning = tuning.changed(state.tuning, change)
        self._operating = tuning.tuned(self._task.spec, state.tuning)
        self._changed = True
        return tuning.operation(self._task.spec, state.tuning)

    @configure.validator
    def _check_change(self, change: TuningChange) -> None:
        if (reason := tuning.refusal(change)) is not None:
            raise ApplicationError(reason, type=UsageError.__name__, non_retryable=True)

    @workflow.query
    def status(self) -> StreamStatus:
        """Tell where the stream stands and why."""
        windows = self._plan.windowing
        status = stream_status(
            self._task.spec, windows, self._state, self._insist.trouble, clock.now_ms()
        )
        return status.model_copy(update={"state": self._outcome}) if self._outcome else status

    def _set_mode(self, mode: Mode, reason: str) -> None:
        """Take what a person wants; before there is a state to note it in, keep it for then."""
        state = self._state
        if state is None:
            self._early.append((mode, reason))
            return
        if state.mode == "paused" and mode == "running":
            watermark.forget_observations(state)
        if state.mode not in _ENDING or mode == "stopping":
            state.mode, state.reason = mode, reason
        self._changed = True

    def _pause(self, reason: str) -> None:
        """Pause because going on needs a person; a stream that ends stays on its way."""
        state = self._opened()
        if state.mode == "running":
            state.mode, state.reason = "paused", reason
        self._changed = True

    def _look_anew(self) -> None:
        """Take nothing for idle or quiet because of what was seen before an outage."""
        if self._state is not None:
            watermark.forget_observations(self._state)

    # --- the loop ----------------------------------------------------------------------------

    @workflow.run
    async def run(self, task: StreamInput) -> StreamResult:
        """Run until the log's pinned end, a drain or a stop; for ever otherwise."""
        if task.carried is not None:
            self._state = decode_state(task.carried)
        else:
            self._state = await open_stream(task, self._insist)
        self._operating = tuning.tuned(task.spec, self._state.tuning)
        for mode, reason in self._early:  # signals are handled before the first line of a run
            self._set_mode(mode, reason)
        if self._insist.cancelled:
            self._set_mode("stopping", "cancelled")
        try:
            self._begin(self._state)
            await self._loop(self._state)
        except asyncio.CancelledError:
            self._set_mode("stopping", "cancelled")
        self._rewinding.closed = True
        await self._quiesce()
        if self._rewinding.busy:
            await workflow.wait_condition(lambda: not self._rewinding.busy)
        return await self._end(self._state)

    def _begin(self, state: StreamState) -> None:
        self._bounded = self._garbage.bounded = workflow.patched("bounded-payloads")
        watermark.take_up(state, clock.now_ms())
        self._read(state.planned)
        for sink in self._task.spec.sinks:
            self._beside.spawn(
                write_flushes, sink, self._task.spec, state, self._insist, self._notice
            )
        for name in side_outputs(self._task.spec):
            self._beside.spawn(pump, name, self._task.spec, state, self._insist, self._notice)
        self._reading.add(self._beside.spawn(self._watch))
        keep_alerts(state, self._insist, self._beside.spawn)
        if self._accepts_loss or state.accepting_loss:
            self._beside.spawn(self._give_up_lost)

    def _read(self, planned: list[RangeTask]) -> None:
        for task in (task for task in planned if not task.waits):
            self._reading.add(self._beside.compute(self._aggregate, [task]))

    def _give_back(self) -> None:
        """Throw away what is computed for an epoch that ends; the loop plans anew."""
        self._beside.cancel_computing()
        forget_results(self._opened(), self._results)
        self._combining = False
        self._changed = True

    async def _loop(self, state: StreamState) -> None:
        while True:
            spec = self._operating
            self._changed = False
            if self._failure is not None:
                raise self._failure
            self._attribute.show(state.mode)
            progress.merge_next(state, spec, self._results, clock.now_ms())
            if not self._combining and not self._rolling:
                self._fire(state)
            if state.mode == "stopping" or (not self._combining and progress.is_finished(state)):
                return
            wake_ms = None
            if not self._rolling:
                self._read(raw_flush.due_rests(state))
            if state.mode == "running" and not self._rolling:
                plan = plan_ranges(state, spec, self._limits(), clock.now_ms())
                wake_ms = plan.wake_ms
                for batch in plan.batches:
                    self._reading.add(self._beside.compute(self._aggregate, batch))
            self._cut_ms = wake_ms
            if self._garbage.due(state):
                self._beside.spawn(self._garbage.release, state, self._insist)
            if self._history_is_long() and not (self._rewinding.busy or self._insist.was_reset):
                await self._continue_as_new(state)
            early_ms = None if self._combining else early.due_ms(state, spec)
            await self._until_changed(wake_ms, early_ms)

    def _fire(self, state: StreamState) -> None:
        """Merge what windows are due for; else take back what older epochs wrote for them."""
        spec, windows = self._operating, self._plan.windowing
        if not spec.raw:
            note_completeness(state, windows)
        now, draining = early.wanted(state, spec, clock.now_ms()), state.mode == "draining"
        if combine := progress.next_combine(
            state, spec, windows, draining=draining, early=now, may_cut=may_cut,
            bounded=self._bounded,
        ):  # fmt: skip
            self._combining = True
            self._beside.compute(self._combine, combine)
        elif spec.raw:
            retire_passed(state, lambda: workflow.patched("one-retirement-at-a-time"))
        else:
            retire(state, windows)

    async def _until_changed(self, *wake_ms: int | None) -> None:
        timeout = None
        if times := [at for at in wake_ms if at is not None]:
            timeout = timedelta(milliseconds=max(1, min(times) - clock.now_ms()))
        try:
            await workflow.wait_condition(lambda: self._changed, timeout=timeout)
        except TimeoutError:
            return

    # --- work beside the loop ----------------------------------------------------------------

    def _limits(self) -> Limits:
        return limits_of(self._operating, bounded=self._bounded)

    def _opened(self) -> StreamState:
        if self._state is None:
            raise ApplicationError("stream state is used before it was opened")
        return self._state

    def _failed(self, error: BaseException) -> None:
        """Let the loop raise what went wrong beside it."""
        self._failure = error
        self._changed = True

    async def _aggregate(self, batch: list[RangeTask]) -> None:
        state = self._opened()
        names = ", ".join(str(task.span) for task in batch)
        asked_ms, abandoned = clock.now_ms(), self._reading.turn()
        work = stream_io.AggregateInput(
            spec=self._task.spec, topic_id=state.topic_id, tasks=batch, may_cut=True,
            seen_inline_bytes=seen_inline_bytes(state), seen_tables=seen_tables(state),
        )  # fmt: skip
        deed = "stream.deliver_ranges" if self._task.spec.raw else "stream.aggregate_ranges"
        result = await self._insist.run(
            f"ranges {names}", deed, work, stream_io.AggregateResult,
            policies.COMPUTE, queue=STREAM_COMPUTE_QUEUE, abandoned=abandoned,
        )  # fmt: skip
        if abandoned():
            return
        for item in result.results:
            if item.epoch != state.epoch:
                return
            self._results[item.span.partition, item.span.start] = item
            self._observe(item.ends, asked_ms)

    async def _combine(self, task: progress.CombineTask) -> None:
        state = self._opened()
        epoch = state.epoch
        if task.inline:
            result = await self._combine_inline(task)
        else:
            result = await combine_outside(self._task.spec, epoch, task, self._insist)
        if state.epoch != epoch:
            return
        progress.take_combined(state, task, result)
        self._combining = False
        self._changed = True

    async def _combine_inline(self, task: progress.CombineTask) -> progress.CombineResult:
        while True:
            try:
                return combine_inline(self._plan, task)
            except FatalError as error:
                await self._insist.pause_for("combine", str(error))

    def _notice(self) -> None:
        """Let the loop look at the state again."""
        self._changed = True

    async def _watch(self) -> None:
        state, event_time = self._opened(), self._task.spec.event_time

        def wanted() -> bool:
            return not self._rolling and caught_up(state, self._limits())

        def rests() -> bool:
            return not self._rolling and (self._cut_ms or 0) - clock.now_ms() > POLL_MS

        await watch_log(
            state, event_time, self._insist, wanted, rests, self._observe, self._reading.turn()
        )

    async def _give_up_lost(self) -> None:
        """Look at the log, drop what is gone, and read from there."""
        state = self._opened()
        state.accepting_loss = True  # also for the next run, should this one end meanwhile
        work = stream_io.SurveyInput(topic=state.topic)
        survey = await self._insist.run(
            "looking at the log", "stream.survey_log", work, LogSurvey, policies.BOOKKEEPING
        )
        self._reading.give_up()
        self._insist.trouble.clear()
        lost = loss.accept_loss(state, self._task.spec, self._results, survey, clock.now_ms())
        workflow.logger.warning("%d offsets are given up", lost)
        state.accepting_loss = False
        self._read(state.planned)
        self._reading.add(self._beside.spawn(self._watch))
        self.resume()

    def _observe(self, ends: dict[int, int], asked_ms: int) -> None:
        state, event_time = self._opened(), self._task.spec.event_time
        watermark.add_partitions(state, ends)
        watermark.observe_ends(state, event_time, ends, asked_ms, clock.now_ms())
        quiet.observe_quiet(state, event_time, ends, asked_ms)
        watermark.advance(state, event_time)
        self._changed = True

    # --- ends --------------------------------------------------------------------------------

    async def _quiesce(self) -> None:
        """Cancel what still runs; all of it is pinned and can be done again."""
        self._insist.given_up = True
        await self._beside.cancel()
        self._insist.given_up = False

    async def _continue_as_new(self, state: StreamState) -> None:
        """Hand the state to a new run, the one place where it is carried over."""
        self._rolling = True
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._insist.busy == 0 and not self._combining, timeout=ROLL_GRACE
            )
        progress.merge_next(state, self._task.spec, self._results, clock.now_ms())
        await self._quiesce()
        leave_to_sweep(state)
        carried = {"carried": state.encode(), "until": None, "rewind": None}
        workflow.continue_as_new(self._task.model_copy(update=carried))

    def _history_is_long(self) -> bool:
        info = workflow.info()
        events, size = info.get_current_history_length(), info.get_current_history_size()
        return events > self._task.history_events or size > HISTORY_BYTES

    async def _end(self, state: StreamState) -> StreamResult:
        result = await end_stream(state, self._insist)
        self._outcome = result.state
        self._attribute.show(result.state)
        return result
