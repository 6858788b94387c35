"""The one place where activities get their connectors."""

from dataclasses import dataclass, field

from activities.etl_ports import BatchSource, BatchTarget
from activities.ports import FlushSink
from common.settings import Settings
from connectors.batch_sources import open_source
from connectors.batch_targets import open_target
from connectors.kafka import KafkaLog
from connectors.kafka_sink import TransactionalRecordSink
from connectors.object_store import ObstoreStore
from connectors.sinks import lake_url, open_sink
from connectors.webhook import HttpWebhook
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec, Target


@dataclass
class Clients:
    """Clients of one worker process; each connects at its first use and outlives outages."""

    settings: Settings
    log: KafkaLog
    store: ObstoreStore
    topics: TransactionalRecordSink
    webhook: HttpWebhook | None
    lake: ObstoreStore
    _sinks: dict[str, FlushSink] = field(default_factory=dict)
    _targets: dict[tuple[str, str | None], BatchTarget] = field(default_factory=dict)

    def sink(self, kind: str) -> FlushSink:
        """Give the sink of a kind, opened once."""
        if kind not in self._sinks:
            self._sinks[kind] = open_sink(kind, self.settings)
        return self._sinks[kind]

    def source(self, spec: EtlSpec, interval: DataInterval | None) -> BatchSource:
        """Open the source of a run; whoever asks closes it."""
        return open_source(spec, interval, self.settings)

    def target(self, target: Target) -> BatchTarget:
        """Give the target of a kind and connection, opened once."""
        place = target.kind, target.connection
        if place not in self._targets:
            self._targets[place] = open_target(*place, self.settings)
        return self._targets[place]

    async def close(self) -> None:
        """Close every connection."""
        await self.log.close()
        await self.topics.close()
        for sink in self._sinks.values():
            await sink.close()
        for target in self._targets.values():
            await target.close()


def object_store_url(settings: Settings) -> str:
    """Give the object store's URL: the configured one, or a folder of the data directory."""
    return settings.object_store.url or (settings.data_dir / "objects").resolve().as_uri()


def open_webhook(settings: Settings) -> HttpWebhook | None:
    """Make the client of the webhook; None when none is set."""
    url = settings.alerts.webhook
    return None if url is None else HttpWebhook(url.get_secret_value())


def open_clients(settings: Settings) -> Clients:
    """Make the clients of a worker process."""
    return Clients(
        settings=settings,
        log=KafkaLog(settings.kafka),
        store=ObstoreStore(object_store_url(settings), settings.object_store),
        topics=TransactionalRecordSink(settings.kafka),
        webhook=open_webhook(settings),
        lake=ObstoreStore(lake_url(settings), settings.object_store, setting="lake.url"),
    )
