"""Task queues: which workflows and activities each one runs, and how many at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from activities.alert import AlertActivities
from activities.etl_book import EtlBookActivities
from activities.etl_clean import EtlCleanActivities
from activities.etl_extract import EtlExtractActivities
from activities.etl_gate import EtlGateActivities
from activities.etl_publish import EtlPublishActivities
from activities.etl_report import EtlReportActivities
from activities.stream import StreamActivities
from activities.stream_book import StreamBookActivities
from activities.stream_deliver import StreamDeliverActivities
from activities.stream_keys import KeyRangeActivities
from activities.stream_sink import StreamSinkActivities
from common.errors import UnknownNameError
from common.names import ETL_COMPUTE_QUEUE, ETL_QUEUE, STREAM_COMPUTE_QUEUE, STREAM_QUEUE
from common.near_miss import near_miss
from common.settings import WorkerSettings
from workers.wiring import Clients
from workflows.etl import EtlWorkflow
from workflows.sandbox import sandboxed_runner
from workflows.stream import StreamWorkflow

LIGHT_SLOTS = 32


@dataclass(frozen=True)
class Queue:
    """What a worker of one queue runs."""

    workflows: Sequence[type] = ()
    activities: Sequence[Callable[..., Any]] = field(default_factory=list)
    slots: int = LIGHT_SLOTS


def _stream(clients: Clients, _settings: WorkerSettings) -> Queue:
    book = StreamBookActivities(clients.log, clients.store, clients.sink)
    sinks = StreamSinkActivities(clients.store, clients.sink, clients.topics)
    waiting = StreamActivities(clients.log, clients.store)
    alerts = AlertActivities(clients.store, clients.webhook)
    light: list[Callable[..., Any]] = [
        book.open, book.claim_epoch, book.survey_log, book.save_state, book.release,
        sinks.write_flush, sinks.publish_progress, sinks.refresh_offset, sinks.deliver_dead_letters,
        sinks.deliver_late_events, waiting.wait_for_data,
        alerts.raise_alert, alerts.tell, alerts.end,
    ]  # fmt: skip
    return Queue([StreamWorkflow], light)


def _stream_compute(clients: Clients, settings: WorkerSettings) -> Queue:
    heavy = StreamActivities(clients.log, clients.store)
    raw = StreamDeliverActivities(clients.log, clients.store)
    keys = KeyRangeActivities(clients.store)
    work: list[Callable[..., Any]] = [
        heavy.aggregate_ranges, heavy.combine, keys.combine_keys, raw.deliver_ranges,
    ]  # fmt: skip
    return Queue((), work, settings.range_slots)


def _etl(clients: Clients, _settings: WorkerSettings) -> Queue:
    book = EtlBookActivities(clients.store, clients.lake, clients.source, clients.target)
    out = EtlPublishActivities(clients.store, clients.lake, clients.target)
    alerts = AlertActivities(clients.store, clients.webhook)
    light: list[Callable[..., Any]] = [
        book.open, book.settle, book.plan, book.discard, out.reconcile, out.publish, out.finish,
        alerts.raise_alert, alerts.tell,
    ]  # fmt: skip
    return Queue([EtlWorkflow], light)


def _etl_compute(clients: Clients, settings: WorkerSettings) -> Queue:
    extract = EtlExtractActivities(clients.store, clients.lake, clients.source)
    clean = EtlCleanActivities(clients.store, clients.lake)
    gate = EtlGateActivities(clients.store, clients.lake)
    report = EtlReportActivities(clients.store, clients.lake)
    out = EtlPublishActivities(clients.store, clients.lake, clients.target)
    work: list[Callable[..., Any]] = [
        extract.extract_chunk, extract.extract_snapshot, clean.transform_chunk, clean.group,
        gate.find_repeated, gate.audit, out.stage_chunk, report.write_report,
    ]  # fmt: skip
    return Queue((), work, settings.chunk_slots)


QUEUES: dict[str, Callable[[Clients, WorkerSettings], Queue]] = {
    STREAM_QUEUE: _stream,
    STREAM_COMPUTE_QUEUE: _stream_compute,
    ETL_QUEUE: _etl,
    ETL_COMPUTE_QUEUE: _etl_compute,
}


def open_worker(name: str, client: Client, clients: Clients, settings: WorkerSettings) -> Worker:
    """Make the worker of a queue.

    Raises:
        UnknownNameError: There is no such queue.
    """
    if name not in QUEUES:
        hint = near_miss(name, list(QUEUES))
        raise UnknownNameError(f"queue `{name}`: expected one of {', '.join(QUEUES)}{hint}")
    queue = QUEUES[name](clients, settings)
    return Worker(
        client,
        task_queue=name,
        workflows=queue.workflows,
        activities=queue.activities,
        max_concurrent_activities=queue.slots,
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_stop_s),
        workflow_runner=sandboxed_runner(),
    )
