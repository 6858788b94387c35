"""The stack's record, `<data_dir>/stack.json`: what runs where, and what was settled once.

One JSON object, written atomically with mode 600, for it holds the password of PostgreSQL:

    {"version": 1, "stack_id": "<hex>", "project_dir": "/…", "state": "running", "error": null,
     "supervisor": {"pid": 1, "started": 1.0}, "timescaledb_kind": "timescaledb",
     "addresses": {"temporal.address": "127.0.0.1:7233", "kafka.bootstrap_servers": "…", …},
     "services": {"kafka": {"address": "127.0.0.1:9092", "port": 9092, "pid": 2, …}}}

Services are `temporal`, `temporal-ui`, `kafka`, `clickhouse`, `postgres`, `timescaledb`,
`worker-stream` and `worker-1` onwards; `addresses` says the same by the name of the setting that
each fills. An address stays after `down`, because a stack keeps its ports. Only the supervisor
writes while it lives; `up` and `down` write when none does.
"""

import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, computed_field

from common.errors import SettingsError
from common.stack_record import STACK_RECORD

RECORD_VERSION = 1
_SETTING_OF = {
    "temporal": "temporal.address",
    "temporal-ui": "temporal.ui_address",
    "kafka": "kafka.bootstrap_servers",
    "clickhouse": "clickhouse.url",
    "postgres": "postgres.dsn",
    "timescaledb": "timescaledb.dsn",
}

ServiceState = Literal[
    "stopped", "preparing", "starting", "running", "unhealthy", "restarting", "failed", "settled"
]
StackState = Literal["starting", "running", "stopping", "stopped", "failed"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", validate_assignment=True)


class ProcessRecord(_Part):
    """A process by id and start time (seconds since the epoch), together never reused."""

    pid: int
    started: float


class ServiceRecord(_Part):
    """One supervised part.

    Attributes:
        address: What a client needs: `host:port`, a URL, or a DSN with password; empty for workers.
        extra_port: Second port of the service, such as Kafka's controller listener.
        pid: Process id while one runs.
        started: Start time of that process, seconds since the epoch.
        ready_at: When it was first healthy after that start, seconds since the epoch.
        detail: Reason of the state, for people.
        restarts: Crashes since the last `up`.
    """

    address: str = ""
    port: int | None = None
    extra_port: int | None = None
    pid: int | None = None
    started: float | None = None
    ready_at: float | None = None
    state: ServiceState = "stopped"
    detail: str = ""
    restarts: int = 0

    @property
    def process(self) -> ProcessRecord | None:
        """Give the identity of the running process."""
        if self.pid is None or self.started is None:
            return None
        return ProcessRecord(pid=self.pid, started=self.started)


class StackRecord(_Part):
    """Everything that is known of one stack.

    Attributes:
        stack_id: Random name of the stack; its processes carry it in their environment.
        settings_digest: Fingerprint of the settings that the running supervisor got.
        postgres_home: Folder of PostgreSQL's data and, if need be, a copy of its binaries.
        timescaledb_kind: What stands behind the `timescaledb` sink, settled at the first start.
        workers: Whether the running supervisor was asked to run workers.
        outside: Services that run elsewhere, by the settings of the running supervisor.
        notices: What the user should know once, such as a changed port.
    """

    version: int = RECORD_VERSION
    stack_id: str
    project_dir: str
    state: StackState = "stopped"
    error: str | None = None
    supervisor: ProcessRecord | None = None
    settings_digest: str = ""
    postgres_home: str | None = None
    postgres_password: str | None = None
    timescaledb_kind: Literal["timescaledb", "postgres"] | None = None
    workers: bool = False
    outside: list[str] = []
    services: dict[str, ServiceRecord] = {}
    notices: list[str] = []

    @computed_field  # type: ignore[prop-decorator]  # mypy has no decorated properties
    @property
    def addresses(self) -> dict[str, str]:
        """Give the address of each embedded service under the name of the setting that it fills."""
        return {
            _SETTING_OF[name]: entry.address
            for name, entry in self.services.items()
            if name in _SETTING_OF and entry.address
        }

    def service(self, name: str) -> ServiceRecord:
        """Give the record of a service, made if it is not there yet."""
        return self.services.setdefault(name, ServiceRecord())


def record_path(data_dir: Path) -> Path:
    """Name the record of the stack in `data_dir`."""
    return data_dir / STACK_RECORD


def read_record(data_dir: Path) -> StackRecord | None:
    """Read the stack's record; None when no stack was ever started there.

    Raises:
        SettingsError: The file is not a record of this version.
    """
    path = record_path(data_dir)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        record = StackRecord.model_validate_json(text)
    except ValidationError as error:
        raise SettingsError(
            f"stack record `{path}`: expected JSON written by `sluice up`, got "
            f"{error.errors()[0]['msg'].lower()}; restore the file or use another data directory"
        ) from error
    if record.version != RECORD_VERSION:
        raise SettingsError(
            f"stack record `{path}`: expected version {RECORD_VERSION}, got {record.version}; "
            "use the release that made this stack"
        )
    return record


def write_record(data_dir: Path, record: StackRecord) -> None:
    """Write the record so that a reader sees the old one or the new one, never a part."""
    write_private(record_path(data_dir), record.model_dump_json(indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically by one that only its owner can read."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
