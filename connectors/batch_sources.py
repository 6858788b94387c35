"""Opening the source of a batch by the kind that its file names."""

from activities.etl_ports import BatchSource
from common.errors import UnknownNameError
from common.settings import Settings
from connectors.file_source import FileBatchSource
from connectors.http_source import HttpBatchSource
from connectors.kafka import KafkaLog
from connectors.kafka_range_source import KafkaRangeSource
from contracts.contract import Contract
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.conversion import nullable
from pipelines.data_interval import DataInterval
from pipelines.etl import EtlSpec
from pipelines.etl_source import FileSource, HttpSource, KafkaSource


def declared_fields(spec: EtlSpec, contract: Contract | None = None) -> dict[str, FieldType]:
    """Give the declared columns of the source with their types, in order.

    Those of a contract may be null here: whether a value has to be there is for the contract to
    judge.
    """
    if spec.fields or contract is None:
        return {name: parse_field_type(text) for name, text in spec.fields.items()}
    return {name: nullable(kind) for name, kind in contract.types.items()}


def open_source(
    spec: EtlSpec,
    interval: DataInterval | None,
    settings: Settings,
    contract: Contract | None = None,
) -> BatchSource:
    """Give the source of a pipeline; it connects at its first use.

    Args:
        spec: The pipeline.
        interval: What is read; None is everything.
        settings: Where services are.
        contract: Its contract, whose fields are read where the pipeline declares none.

    Raises:
        SourceRefusedError: What is declared does not fit together.
        UnknownNameError: There is no such kind.
    """
    source = spec.source
    fields = declared_fields(spec, contract)
    if isinstance(source, FileSource):
        return FileBatchSource(source, fields, interval, spec.base_dir, settings.object_store)
    if isinstance(source, HttpSource):
        return HttpBatchSource(source, fields, interval, settings)
    if isinstance(source, KafkaSource):
        return KafkaRangeSource(source, fields, interval, KafkaLog(settings.kafka))
    raise UnknownNameError(f"source `{source.kind}`: expected another kind")
