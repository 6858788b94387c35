"""Opening the source of a batch by the kind that its file names."""

from activities.etl_ports import BatchSource
from common.errors import UnknownNameError
from common.settings import Settings
from connectors.file_source import FileBatchSource
from connectors.http_source import HttpBatchSource
from connectors.kafka import KafkaLog
from connectors.kafka_range_source import KafkaRangeSource
from connectors.named_connection import postgres_dsn
from connectors.postgres_source import PostgresBatchSource
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.conversion import nullable
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec
from pipelines.etl_source import FileSource, HttpSource, KafkaSource, PostgresSource


def declared_fields(spec: EtlSpec) -> dict[str, FieldType]:
    """Give the declared columns of the source with their types, in order.

    Those of a contract may be null here: whether a value has to be there is for the contract to
    judge.
    """
    if spec.fields or spec.contract is None:
        return {name: parse_field_type(text) for name, text in spec.fields.items()}
    return {name: nullable(kind) for name, kind in spec.contract.types.items()}


def open_source(spec: EtlSpec, interval: DataInterval | None, settings: Settings) -> BatchSource:
    """Give the source of a pipeline; it connects at its first use.

    Args:
        spec: The pipeline.
        interval: What is read; None is everything.
        settings: Where services are.

    Raises:
        SourceRefusedError: What is declared does not fit together.
        UnknownNameError: There is no such kind, or no such connection.
        SettingsError: The connection is of another kind, or has no address.
    """
    source = spec.source
    fields = declared_fields(spec)
    if isinstance(source, PostgresSource):
        return PostgresBatchSource(postgres_dsn(source.connection, settings), source, spec.timezone)
    if isinstance(source, FileSource):
        placed = source.model_copy(update={"url": with_data_dir(source.url, settings)})
        return FileBatchSource(placed, fields, interval, spec.base_dir, settings.object_store)
    if isinstance(source, HttpSource):
        return HttpBatchSource(source, fields, interval, settings)
    if isinstance(source, KafkaSource):
        return KafkaRangeSource(source, fields, interval, KafkaLog(settings.kafka))
    raise UnknownNameError(f"source `{source.kind}`: expected another kind")


def with_data_dir(url: str, settings: Settings) -> str:
    """Put the folder of the stack's data in for `{data}`."""
    return url.replace("{data}", str(settings.data_dir.resolve()))
