"""`sales-1m` and `stages`: a bounded run of the shipped pipeline over millions of events."""

import asyncio
import os
import time
from dataclasses import dataclass, field, replace

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle

from activities.stream_io import AggregateResult
from benchmarks.bench_stack import BenchStack
from benchmarks.history import ActivitySpan, activity_spans, busy_seconds, stage_seconds, sums
from benchmarks.line import Line, emit, median, say
from benchmarks.machine import Usage, watched
from benchmarks.options import Options
from common.names import STREAM_QUEUE, stream_workflow_id
from common.settings import Settings
from connectors.kafka import KafkaLog
from connectors.sinks import open_sink
from connectors.temporal import connect
from devstack.sample.sales import SalesShape
from pipelines.load import find_pipeline, load_stream
from pipelines.stream import POSITION, StreamSpec
from starter.generate_write import write_sales
from streaming.status import StreamResult, StreamUntil
from workflows.stream_input import STREAM_WORKFLOW, StreamInput

RANGES = "stream.aggregate_ranges"
PATIENCE_S = 300.0
NEWEST_ROWS = 10_000
"""Rows of a raw stream's final view that are read again."""


@dataclass
class Run:
    """One run of the stream over all events.

    Attributes:
        seconds: From asking for the start to the answer that all is flushed to both sinks.
        spans: All activities of the run.
        history_events, history_bytes: Length of its last workflow run's history.
    """

    seconds: float
    events: int
    result: StreamResult
    usage: Usage
    spans: list[ActivitySpan] = field(default_factory=list)
    history_events: int = 0
    history_bytes: int = 0

    @property
    def events_per_s(self) -> float:
        """Events per second of the whole run."""
        return self.events / self.seconds


def bench_spec(settings: Settings, topic: str, max_records: int | None) -> StreamSpec:
    """Take `sales-1m` as it is shipped, over the benchmark's topic."""
    spec = load_stream(find_pipeline("sales-1m", settings.project_dir))
    update: dict[str, object] = {"topic": topic}
    if max_records is not None:
        update["trigger"] = spec.trigger.model_copy(update={"max_records": max_records})
    return spec.model_copy(update=update)


async def fill(settings: Settings, options: Options) -> str:
    """Write the events, unless their topic is there already; gives its name."""
    topic = f"bench-sales-{options.events}-{options.rate:g}"
    log = KafkaLog(settings.kafka)
    try:
        state = await log.describe(topic)
        there = sum(state.end.values()) - sum(state.start.values())
    except Exception:  # noqa: BLE001 - whatever says that it is not there, it is written anew
        there = 0
    finally:
        await log.close()
    if there == options.events:
        say(f"topic {topic}: {there:,} events are there")
        return topic
    shape = SalesShape(options.events, rate=options.rate, topic=topic)
    summary = await write_sales(settings, shape, fresh=True, progress=lambda _: None)
    say(f"topic {topic}: {summary.events:,} events written in {summary.seconds:.1f} s")
    return topic


async def run_once(stack: BenchStack, spec: StreamSpec, events: int, copies: int = 1) -> Run:
    """Run the stream over its whole topic in a fresh epoch, and check what readers see.

    Args:
        stack: Where.
        spec: A stream that counts `sales`.
        events: Records of its topic.
        copies: Windows that each event is in.
    """
    client = await connect(stack.settings.temporal)
    task = StreamInput(spec=spec, until=StreamUntil(kind="latest"), fresh=True)
    async with watched(stack.pids()) as usage:
        started = time.perf_counter()
        handle: WorkflowHandle[object, StreamResult] = await client.start_workflow(
            STREAM_WORKFLOW, task, id=stream_workflow_id(spec.name), task_queue=STREAM_QUEUE,
            result_type=StreamResult,
        )  # fmt: skip
        result = await asyncio.wait_for(handle.result(), PATIENCE_S)
        seconds = time.perf_counter() - started
    if spec.raw:
        await _check_events(stack.settings, spec, result, events)
    else:
        await _check_views(stack.settings, spec, result, events, copies)
    run = Run(seconds, events, result, usage)
    await _read_history(client, handle, run)
    return run


async def _check_views(
    settings: Settings, spec: StreamSpec, result: StreamResult, events: int, copies: int
) -> None:
    """Prove that the final view of every sink holds every event once in each of its windows."""
    if result.ledger.consumed != events:
        raise ValueError(f"stream: expected {events} records, got {result.ledger}")
    for sink in spec.sinks:
        opened = open_sink(sink.kind, settings)
        try:
            rows = await opened.final_rows(sink.table)
        finally:
            await opened.close()
        counted, expected = sum(rows["sales"].to_pylist()), result.ledger.aggregated * copies
        if counted != expected:
            raise ValueError(f"view of {sink.name}: expected {expected} sales, got {counted}")


async def _check_events(
    settings: Settings, spec: StreamSpec, result: StreamResult, events: int
) -> None:
    """Prove that all events went to the sinks, and that the newest of each view are there once."""
    rows = result.ledger.delivered
    if result.ledger.consumed != events or result.flushed_rows != rows:
        raise ValueError(f"stream: expected {events} records and their rows, got {result}")
    for sink in spec.sinks:
        opened = open_sink(sink.kind, settings)
        try:
            newest = await opened.final_rows(sink.table, NEWEST_ROWS, spec.event_time.field)
        finally:
            await opened.close()
        places = set(zip(*(newest[name].to_pylist() for name in POSITION), strict=True))
        if len(places) != min(rows, NEWEST_ROWS):
            raise ValueError(f"view of {sink.name}: expected events once, got {len(places)}")


async def _read_history(
    client: Client, handle: WorkflowHandle[object, StreamResult], run: Run
) -> None:
    events = [event async for event in handle.fetch_history_events()]
    for span, event in activity_spans(events):
        timings = await _timings(client, event) if span.name == RANGES else {}
        run.spans.append(replace(span, timings_us=timings))
    run.history_events = len(events)
    run.history_bytes = sum(event.ByteSize() for event in events)


async def _timings(client: Client, event: HistoryEvent) -> dict[str, int]:
    payloads = list(event.activity_task_completed_event_attributes.result.payloads)
    (result,) = await client.data_converter.decode(payloads, [AggregateResult])
    total: dict[str, int] = {}
    for item in result.results:
        for stage, spent in item.timings_us.items():
            total[stage] = total.get(stage, 0) + spent
    return total


async def sales(stack: BenchStack, options: Options) -> list[Run]:
    """Measure events per second over several rounds and print the line of `sales-1m`."""
    topic = await fill(stack.settings, options)
    spec = bench_spec(stack.settings, topic, options.max_records)
    runs = []
    for number in range(options.rounds):
        run = await run_once(stack, spec, options.events)
        runs.append(run)
        rate = f"{run.events_per_s:,.0f} events/s in {run.seconds:.2f} s"
        say(f"round {number + 1}: {rate}; {load_of(run)}")
    values = [run.events_per_s for run in runs]
    workers = stack.compute_workers()
    memory = max(run.usage.peak_of(workers) for run in runs)
    notes = {
        "best": round(max(values)),
        "events": options.events,
        "rows": runs[-1].result.flushed_rows,
        "cores": len(stack.cores) or os.cpu_count(),
        "workers": len(workers),
        "history_events": runs[-1].history_events,
        "history_bytes": runs[-1].history_bytes,
        "core_ms_per_1m": round(min(_core_s(run) for run in runs) * 1e9 / options.events),
        "load_others": round(max(r.usage.others_cpu_s / r.usage.seconds for r in runs), 2),
    }
    emit(Line("sales-1m", median(values), "events/s", memory, rounds=values, notes=notes))
    return runs


def _core_s(run: Run) -> float:
    return sum(run.usage.cpu_s.values())


def load_of(run: Run) -> str:
    """Tell the seconds of processor time of a run, by part of the stack."""
    cpu = ", ".join(f"{n} {s:.1f}" for n, s in sorted(run.usage.cpu_s.items()) if s >= 0.1)
    return f"core seconds: {cpu}; others {run.usage.others_cpu_s:.1f}"


def stages(stack: BenchStack, run: Run) -> None:
    """Print where the time of a run went, each as milliseconds for a million events."""
    memory = run.usage.peak_of(stack.compute_workers())
    scale = 1e9 / run.events

    def line(name: str, seconds: float, **notes: object) -> None:
        emit(Line(f"stages-{name}", seconds * scale, "ms/1M events", memory, notes=notes))

    if any(span.name == RANGES for span in run.spans):
        for stage, seconds in stage_seconds(run.spans, RANGES).items():
            line(stage, seconds, of="worker slot time")
    for name, total in sorted(sums(run.spans).items()):
        wall = busy_seconds(run.spans, name)
        line(
            name, total.worked_s, of="activity", count=total.count,
            waited_ms_each=round(total.waited_s / total.count * 1000, 1),
            worked_ms_each=round(total.worked_s / total.count * 1000, 1), busy_s=round(wall, 2),
        )  # fmt: skip
    for name, seconds in sorted(run.usage.cpu_s.items()):
        line(f"cpu-{name}", seconds, of="processor time")
    line("wall", run.seconds, of="elapsed", history_events=run.history_events)


async def measure_stages(stack: BenchStack, options: Options, runs: list[Run]) -> None:
    """Print the stages of the last run; makes one when there is none."""
    if not runs:
        topic = await fill(stack.settings, options)
        spec = bench_spec(stack.settings, topic, options.max_records)
        runs = [await run_once(stack, spec, options.events)]
    await asyncio.to_thread(stages, stack, runs[-1])
