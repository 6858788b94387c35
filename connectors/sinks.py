"""Opening a sink by the kind that a pipeline file names."""

from typing import get_args

from activities.ports import FlushSink
from common.errors import SettingsError, UnknownNameError
from common.settings import PostgresSettings, Settings
from connectors.clickhouse import ClickHouseSink
from connectors.kafka_flush_sink import KafkaFlushSink
from connectors.lake import LakeSink
from connectors.postgres import PostgresSink
from connectors.timescale import TimescaleSink
from pipelines.stream import SinkKindName


def _dsn(section: str, settings: PostgresSettings) -> str:
    if settings.dsn is None:
        raise SettingsError(
            f"`{section}.dsn`: expected an address, got none; run `sluice up` or set it"
        )
    return settings.dsn.get_secret_value()


def lake_url(settings: Settings) -> str:
    """Give the lake's URL: the configured one, or a folder of the data directory."""
    return settings.lake.url or (settings.data_dir / "lake").resolve().as_uri()


def open_sink(kind: str, settings: Settings) -> FlushSink:
    """Give the sink of a kind; it connects at its first use.

    Raises:
        UnknownNameError: There is no such kind.
        SettingsError: The service has no address.
    """
    if kind == "clickhouse":
        return ClickHouseSink(settings.clickhouse)
    if kind == "timescaledb":
        return TimescaleSink(_dsn("timescaledb", settings.timescaledb))
    if kind == "postgres":
        return PostgresSink(_dsn("postgres", settings.postgres))
    if kind == "kafka":
        return KafkaFlushSink(settings.kafka)
    if kind == "lake":
        return LakeSink(lake_url(settings), settings.object_store)
    raise UnknownNameError(
        f"sink `{kind}`: expected one of {', '.join(get_args(SinkKindName))}; correct `sinks`"
    )
