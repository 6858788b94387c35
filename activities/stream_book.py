"""Open a stream, save its state, release what it no longer needs."""

from temporalio import activity

from activities.alert_record import AlertRecord
from activities.heartbeat import with_heartbeats
from activities.late_table import late_table
from activities.ports import RecordLog, TopicState
from activities.resource import bound
from activities.stream_io import (
    ClaimInput,
    ClaimResult,
    Done,
    OpenInput,
    OpenResult,
    ReleaseInput,
    SaveInput,
    SurveyInput,
)
from activities.stream_record import SavedState, StreamRecord
from activities.stream_sink import SinkOpener, sink_table
from common.errors import OffsetLostError, UsageError
from common.payloads import ObjectStore
from pipelines.stream import StreamSpec
from streaming.floor import look_up
from streaming.loss import LogSurvey, accept_loss
from streaming.plan import compile_stream
from streaming.rewind import apply_rewind, plan_rewind, require_room, times_to_look_up
from streaming.room import require_partitions
from streaming.state import PartitionState, SinkCursor, StreamState, decode_state
from streaming.status import StreamFrom, StreamUntil
from streaming.watermark import forget_observations


class StreamBookActivities:
    """The record of a stream outside Temporal's retention."""

    def __init__(self, log: RecordLog, store: ObjectStore, open_sink: SinkOpener) -> None:
        self._log = log
        self._store = store
        self._open_sink = open_sink

    @activity.defn(name="stream.open")
    @with_heartbeats
    async def open(self, task: OpenInput) -> OpenResult:
        """Prepare the sinks, then go on from the saved state or begin a new epoch.

        The same owner gets the same.
        """
        await bound(compile_stream(task.spec), self._store)  # before anything is claimed
        record = StreamRecord(self._store, task.spec.name)
        topic = await self._log.describe(task.spec.topic)
        require_partitions(task.spec, len(topic.end))
        # Before anything is claimed: a wrong `until` must not cost the saved state.
        stops = await self._stops(task.spec.topic, task.until, topic) if task.until else None
        epoch, notes = await self._prepare(task.spec)
        saved = None if task.fresh else await record.latest()
        if saved is not None and await record.is_last(saved.epoch):
            # First what may refuse it: a state that was taken in vain could not be gone on from.
            state = _resumed(saved, task, topic)
            windows = compile_stream(task.spec).windowing
            rewind = None
            if task.rewind is not None:
                times = times_to_look_up(state, task.spec, windows, task.rewind)
                bounds = look_up(windows, times)
                rewind = plan_rewind(state, task.spec, windows, task.rewind, topic.start, bounds)
                require_room(state, task.spec, rewind)
            await record.take(saved, task.owner)
            if rewind is not None:
                claimed = await _claim(record, task.owner, state.epoch, epoch)
                apply_rewind(state, windows, rewind, claimed, task.now_ms)
        elif task.rewind is not None:
            raise UsageError(
                f"stream `{task.spec.name}`: expected a saved state to rewind, got none; start it "
                "without `--rewind-to`"
            )
        else:
            state = await self._begin(record, task, topic, epoch)
        _pin_end(state, stops, topic)
        state.started_ms = task.now_ms
        state.started_consumed = state.ledger.consumed
        await AlertRecord(self._store).end_all(task.spec.name, task.now_ms)
        return OpenResult(state=state.encode(), notes=notes)

    @activity.defn(name="stream.claim_epoch")
    @with_heartbeats
    async def claim_epoch(self, task: ClaimInput) -> ClaimResult:
        """Claim the epoch of a rewind of a running stream, and see where its topic begins.

        The same owner in the same epoch gets the same one again.
        """
        topic = await self._log.describe(task.spec.topic)
        _require_topic(task.spec.topic, task.topic_id, topic)
        in_sinks, _ = await self._prepare(task.spec)
        record = StreamRecord(self._store, task.spec.name)
        epoch = await _claim(record, task.owner, task.epoch, in_sinks)
        run_id = activity.info().workflow_run_id or ""
        bounds = look_up(compile_stream(task.spec).windowing, task.times)
        return ClaimResult(epoch=epoch, starts=topic.start, run_id=run_id, bounds=bounds)

    async def _prepare(self, spec: StreamSpec) -> tuple[int, list[str]]:
        """Prepare the sinks; gives the highest epoch they know of, and what they had to say."""
        notes: list[str] = []
        epoch = 0
        tables = [(sink, sink_table(spec, sink)) for sink in spec.sinks]
        if spec.late_table is not None:
            tables.append((spec.late_table, late_table(spec.name, spec.late_table)))
        for sink, table in tables:
            preflight = await self._open_sink(sink.kind).prepare(table)
            notes += [f"{sink.name}: {note}" for note in preflight.notes]
            epoch = max(epoch, preflight.highest_epoch)
        return epoch, notes

    async def _begin(
        self, record: StreamRecord, task: OpenInput, topic: TopicState, in_sinks: int
    ) -> StreamState:
        epoch = await record.claim_epoch(task.owner, in_sinks + 1, fresh=task.fresh)
        starts = await self._starts(task.spec.topic, task.begin, topic)
        partitions = {
            n: PartitionState(cursor=start, planned=start, end=max(start, topic.end[n]))
            for n, start in sorted(starts.items())
        }
        return StreamState(
            pipeline=task.spec.name,
            spec_hash=task.spec.result_hash(),
            epoch=epoch,
            topic=task.spec.topic,
            topic_id=topic.topic_id,
            partitions=partitions,
            sinks=[SinkCursor(name=sink.name) for sink in task.spec.sinks],
        )

    async def _starts(self, name: str, begin: StreamFrom, topic: TopicState) -> dict[int, int]:
        if begin.kind == "earliest":
            return dict(topic.start)
        if begin.kind == "latest":
            return dict(topic.end)
        return await self._log.offsets_at(name, begin.time_ms or 0)

    async def _stops(self, name: str, until: StreamUntil, topic: TopicState) -> dict[int, int]:
        if until.kind == "time":
            return await self._log.offsets_at(name, until.time_ms or 0)
        if until.kind == "offsets" and until.offsets:
            unknown = sorted(until.offsets.keys() - topic.end.keys())
            if unknown:
                raise UsageError(
                    f"`--until` of topic `{name}`: expected partitions {sorted(topic.end)}, "
                    f"got {unknown}; name existing ones"
                )
            return {**topic.end, **until.offsets}
        return topic.end

    @activity.defn(name="stream.survey_log")
    @with_heartbeats
    async def survey_log(self, task: SurveyInput) -> LogSurvey:
        """Tell what the log holds now."""
        return _survey(await self._log.describe(task.topic))

    @activity.defn(name="stream.save_state")
    @with_heartbeats
    async def save_state(self, task: SaveInput) -> Done:
        """Keep a state for the next start."""
        record = StreamRecord(self._store, task.pipeline)
        await record.save(task.epoch, task.owner, task.state.encode())
        return Done(count=1)

    @activity.defn(name="stream.release")
    @with_heartbeats
    async def release(self, task: ReleaseInput) -> Done:
        """Delete objects that nothing needs any more."""
        await self._store.delete([ref.key for ref in task.refs])
        return Done(count=len(task.refs))


def _pin_end(state: StreamState, stops: dict[int, int] | None, topic: TopicState) -> None:
    for number, partition in state.partitions.items():
        partition.end = max(partition.cursor, topic.end.get(number, partition.cursor))
        partition.until = None
        if stops is not None:
            partition.until = max(partition.cursor, stops.get(number, partition.cursor))


def _survey(topic: TopicState) -> LogSurvey:
    return LogSurvey(topic_id=topic.topic_id, start=topic.start, end=topic.end)


def _resumed(saved: SavedState, task: OpenInput, topic: TopicState) -> StreamState:
    state, spec = decode_state(saved.content), task.spec
    if state.spec_hash != spec.result_hash():
        raise UsageError(
            f"stream `{spec.name}`: expected the specification that its saved state was computed "
            "with, got one that gives other results (own functions and reference files are part of "
            "it); start with `--fresh` to compute everything again, or undo the change"
        )
    if task.accept_loss:
        for partition in state.partitions.values():
            partition.until = None  # where the last run ended
        accept_loss(state, spec, {}, _survey(topic), task.now_ms)
    _require_topic(spec.topic, state.topic_id, topic)
    state.mode, state.reason = "running", ""
    forget_observations(state)
    state.alerts = []
    for number in topic.end.keys() - state.partitions.keys():
        start = topic.start[number]
        state.partitions[number] = PartitionState(cursor=start, planned=start, end=start)
    return state


def _require_topic(name: str, topic_id: str, topic: TopicState) -> None:
    if topic_id != topic.topic_id:
        raise OffsetLostError(
            f"topic `{name}`: expected the topic with id {topic_id}, "
            f"got {topic.topic_id}; it was deleted and made anew; go on with the new "
            "one with `--accept-loss`, or compute everything from it with `--fresh`"
        )


async def _claim(record: StreamRecord, owner: str, epoch: int, in_sinks: int) -> int:
    """Claim the epoch of a rewind that leaves `epoch`."""
    claimant = f"{owner}/rewind-{epoch}"
    return await record.claim_epoch(
        claimant, max(in_sinks, epoch) + 1, fresh=True, rewound_from=epoch
    )
