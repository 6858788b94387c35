"""One typed tree of settings: environment over `sluice.toml` over the stack's record over defaults.

Environment variables are `SLUICE_<SECTION>__<KEY>`, such as `SLUICE_KAFKA__BOOTSTRAP_SERVERS`. A
service without an address of its own is the embedded one: its address comes from the stack's record
(`<data_dir>/stack.json`).
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

Port = Annotated[int, Field(ge=1, le=65535)]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    BeforeValidator(lambda level: level.upper() if isinstance(level, str) else level),
]


class Section(BaseModel):
    """Base of every section: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TemporalSettings(Section):
    """Where workflows run.

    Attributes:
        address: `host:port` of the frontend; None means the embedded server.
        namespace: Namespace of all workflows.
        ui_address: Base URL of the Web UI.
        api_key: Key for Temporal Cloud.
        tls: Whether to connect with TLS.
        retention_days: How long closed workflows stay visible.
    """

    address: str | None = None
    namespace: str = "default"
    ui_address: str | None = None
    api_key: SecretStr | None = None
    tls: bool = False
    retention_days: Annotated[int, Field(ge=1)] = 7


class KafkaSettings(Section):
    """Where records come from.

    Attributes:
        bootstrap_servers: Comma-separated `host:port` list; None means the embedded broker.
        security_protocol: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
        sasl_mechanism: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    """

    bootstrap_servers: str | None = None
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: SecretStr | None = None


class ClickHouseSettings(Section):
    """First sink of the demo.

    Attributes:
        url: `http://host:port` or `https://…`; None means the embedded server.
    """

    url: str | None = None
    database: str = "default"
    username: str = "default"
    password: SecretStr = SecretStr("")


class PostgresSettings(Section):
    """A PostgreSQL or TimescaleDB server.

    Attributes:
        dsn: `postgresql://user:password@host:port/database`; None means the embedded server.
    """

    dsn: SecretStr | None = None


class ObjectStoreSettings(Section):
    """Where state and partials live.

    Attributes:
        url: `file:///path` or `s3://bucket/prefix`; None means `objects` under the data directory.
        endpoint: URL of an S3-compatible server.
    """

    url: str | None = None
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None


class LakeSettings(Section):
    """Where sinks of kind `lake` write their Parquet files.

    Attributes:
        url: `file:///path` or `s3://bucket/prefix`, the latter with the endpoint and keys of
            `object_store`; None means `lake` under the data directory.
    """

    url: str | None = None


class RetentionSettings(Section):
    """How long `sluice sweep` leaves what finished ETL runs left behind.

    Attributes:
        raw_days: Days that the rows which a run extracted stay in the lake's raw zone.
        record_days: Days that the record of a run stays, with its quarantine and its reports.
    """

    raw_days: Annotated[int, Field(ge=1)] = 7
    record_days: Annotated[int, Field(ge=1)] = 365


class WorkerSettings(Section):
    """Worker processes that `sluice up` and `sluice worker` start.

    Attributes:
        processes: Number of compute processes; None means one per core.
        range_slots: Ranges that one compute process aggregates at the same time.
        chunk_slots: Chunks of batches that one compute process works on at the same time.
        graceful_stop_s: Seconds a stopping worker may use to finish or hand back what it holds.
    """

    processes: Annotated[int, Field(ge=1)] | None = None
    range_slots: Annotated[int, Field(ge=1)] = 1
    chunk_slots: Annotated[int, Field(ge=1)] = 2
    graceful_stop_s: Annotated[float, Field(ge=0)] = 20.0


class AlertSettings(Section):
    """Who hears of a stream that waits for a person.

    Attributes:
        webhook: `http://` or `https://` URL that each alert is posted to as JSON, at least once;
            None means recorded only (`sluice alerts`).
    """

    webhook: SecretStr | None = None


class LogSettings(Section):
    """How logs are written to stderr: from which level on, and as text or as JSON lines."""

    level: LogLevel = "INFO"
    format: Literal["text", "json"] = "text"


class StackSettings(Section):
    """Ports of the embedded services; None picks a free one at the first start and keeps it."""

    temporal_port: Port | None = None
    temporal_ui_port: Port | None = None
    kafka_port: Port | None = None
    clickhouse_port: Port | None = None
    postgres_port: Port | None = None
    timescaledb_port: Port | None = None


class ConnectionSettings(Section):
    """A named connection that pipelines refer to: `[connections.<name>]` in `sluice.toml`.

    Attributes:
        dsn: Address with credentials; `${NAME}` takes the value of an environment variable.
    """

    kind: Literal["postgres", "timescaledb", "clickhouse", "kafka", "http", "s3"]
    dsn: SecretStr


class Settings(Section):
    """All settings of one project.

    Attributes:
        project_dir: Folder of `sluice.toml`, `pipelines/` and `contracts/`.
        data_dir: Folder of everything that the embedded stack keeps; a stack is its data directory.
    """

    project_dir: Path
    data_dir: Path
    temporal: TemporalSettings = TemporalSettings()
    kafka: KafkaSettings = KafkaSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    timescaledb: PostgresSettings = PostgresSettings()
    postgres: PostgresSettings = PostgresSettings()
    object_store: ObjectStoreSettings = ObjectStoreSettings()
    lake: LakeSettings = LakeSettings()
    retention: RetentionSettings = RetentionSettings()
    worker: WorkerSettings = WorkerSettings()
    alerts: AlertSettings = AlertSettings()
    log: LogSettings = LogSettings()
    stack: StackSettings = StackSettings()
    connections: dict[str, ConnectionSettings] = {}
