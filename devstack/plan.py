"""Which services a stack runs, on which ports, and what the settings point elsewhere."""

import secrets
from pathlib import Path

from pydantic import SecretStr

from common.settings import Settings
from devstack import port as ports
from devstack.kafka import kafka_service
from devstack.postgres import postgres_account, postgres_dsn, postgres_service, settle_home
from devstack.record import ServiceRecord, StackRecord
from devstack.service import Service
from devstack.sink_service import clickhouse_service, timescaledb_dsn, timescaledb_service
from devstack.temporal import temporal_service

SERVICE_NAMES = ("temporal", "temporal-ui", "kafka", "clickhouse", "postgres", "timescaledb")


def without_own_addresses(settings: Settings, record: StackRecord | None) -> Settings:
    """Take out the addresses that the loaded settings have from this stack's own record."""
    own = record.services if record else {}

    def is_own(name: str, address: str | None) -> bool:
        return address is not None and address == own.get(name, ServiceRecord()).address

    update: dict[str, object] = {}
    if is_own("temporal", settings.temporal.address):
        update["temporal"] = settings.temporal.model_copy(
            update={"address": None, "ui_address": None}
        )
    if is_own("kafka", settings.kafka.bootstrap_servers):
        update["kafka"] = settings.kafka.model_copy(update={"bootstrap_servers": None})
    if is_own("clickhouse", settings.clickhouse.url):
        update["clickhouse"] = settings.clickhouse.model_copy(update={"url": None})
    if is_own("postgres", _reveal(settings.postgres.dsn)):
        update["postgres"] = settings.postgres.model_copy(update={"dsn": None})
    if is_own("timescaledb", _reveal(settings.timescaledb.dsn)):
        update["timescaledb"] = settings.timescaledb.model_copy(update={"dsn": None})
    return settings.model_copy(update=update)


def outside_addresses(settings: Settings) -> dict[str, str]:
    """Give the addresses of services that run elsewhere, by service.

    Args:
        settings: Without the stack's own addresses.
    """
    given = {
        "temporal": settings.temporal.address,
        "kafka": settings.kafka.bootstrap_servers,
        "clickhouse": settings.clickhouse.url,
        "postgres": _reveal(settings.postgres.dsn),
        "timescaledb": _reveal(settings.timescaledb.dsn),
    }
    return {name: address for name, address in given.items() if address}


def plan_services(settings: Settings, record: StackRecord) -> list[Service]:
    """Decide the services of a start; settles ports, addresses and passwords in the record.

    Args:
        settings: Without the stack's own addresses.
        record: Updated in place.

    Raises:
        PortTakenError: A configured port is not free.
    """
    outside = outside_addresses(settings)
    wanted = {
        name for name in ("temporal", "kafka", "clickhouse", "timescaledb") if name not in outside
    }
    if "postgres" not in outside or (
        record.timescaledb_kind == "postgres" and "timescaledb" not in outside
    ):
        wanted.add("postgres")
    if record.timescaledb_kind == "postgres":
        wanted.discard("timescaledb")
    _settle_ports(settings, record, wanted)
    build = {
        "temporal": _temporal,
        "kafka": _kafka,
        "clickhouse": _clickhouse,
        "postgres": plan_postgres,
        "timescaledb": _timescaledb,
    }
    services = [build[name](settings, record) for name in build if name in wanted]
    if record.timescaledb_kind == "postgres":
        point_timescaledb_to_postgres(settings, record)
    return services


def plan_postgres(settings: Settings, record: StackRecord) -> Service:
    """Describe PostgreSQL; settles its home and password in the record."""
    entry = record.service("postgres")
    if entry.port is None:
        _settle_ports(settings, record, {"postgres"})
    home = settle_home(settings.data_dir, record.postgres_home, postgres_account())
    if record.postgres_home not in (None, str(home)):
        record.notices.append(
            f"the data of postgres was in {record.postgres_home}, which is gone: "
            f"it starts empty in {home}"
        )
    record.postgres_home = str(home)
    record.postgres_password = record.postgres_password or secrets.token_urlsafe(18)
    port = entry.port or 0
    entry.address = postgres_dsn(port, record.postgres_password)
    return postgres_service(Path(home), port=port, password=record.postgres_password)


def point_timescaledb_to_postgres(settings: Settings, record: StackRecord) -> None:
    """Let the sink's address be the one of the plain PostgreSQL."""
    if settings.timescaledb.dsn is not None:
        return
    entry = record.service("timescaledb")
    postgres = record.service("postgres")
    entry.address, entry.port = postgres.address, postgres.port
    entry.pid = entry.started = entry.ready_at = None
    entry.state, entry.detail = "settled", "plain PostgreSQL serves this sink"


def _settle_ports(settings: Settings, record: StackRecord, wanted: set[str]) -> None:
    pinned = {name: getattr(settings.stack, _port_setting(name)) for name in SERVICE_NAMES}
    names = [
        name
        for name in SERVICE_NAMES
        if name in wanted or (name == "temporal-ui" and "temporal" in wanted)
    ]
    taken: set[int] = set()
    for name in names:
        entry = record.service(name)
        others = {port for key, port in pinned.items() if key != name and port}
        chosen, notice = ports.settle(
            name,
            _port_setting(name),
            pinned=pinned[name],
            recorded=entry.port,
            taken=others | taken,
        )
        taken.add(chosen)
        entry.port = chosen
        entry.restarts = 0
        if notice:
            record.notices.append(notice)
    if "kafka" in wanted:
        entry = record.service("kafka")
        entry.extra_port, _ = ports.settle(
            "kafka", "kafka_port", pinned=None, recorded=entry.extra_port, taken=taken
        )


def _port_setting(name: str) -> str:
    return f"{name.replace('-', '_')}_port"


def _temporal(settings: Settings, record: StackRecord) -> Service:
    entry, ui = record.service("temporal"), record.service("temporal-ui")
    entry.address = f"{ports.HOST}:{entry.port}"
    ui.address = f"http://{ports.HOST}:{ui.port}"
    return temporal_service(
        settings.data_dir,
        port=entry.port or 0,
        ui_port=ui.port or 0,
        namespace=settings.temporal.namespace,
        retention_days=settings.temporal.retention_days,
    )


def _kafka(settings: Settings, record: StackRecord) -> Service:
    entry = record.service("kafka")
    entry.address = f"{ports.HOST}:{entry.port}"
    return kafka_service(
        settings.data_dir, port=entry.port or 0, controller_port=entry.extra_port or 0
    )


def _clickhouse(settings: Settings, record: StackRecord) -> Service:
    entry = record.service("clickhouse")
    entry.address = f"http://{ports.HOST}:{entry.port}"
    return clickhouse_service(settings.data_dir, port=entry.port or 0)


def _timescaledb(settings: Settings, record: StackRecord) -> Service:
    entry = record.service("timescaledb")
    entry.address = timescaledb_dsn(entry.port or 0)
    return timescaledb_service(settings.data_dir, port=entry.port or 0)


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
