import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema.validators import validator_for
from ruamel.yaml import YAML

from common.settings_load import load_settings

ROOT = Path(__file__).parents[2]
COMPOSE = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
SERVICE_PORTS = {
    "temporal": 7233,
    "temporal-db": 5432,
    "kafka": 9092,
    "clickhouse": 8123,
    "timescaledb": 5432,
    "postgres": 5432,
    "minio": 9000,
}
"""Ports that the images open inside of the network, whether published or not."""


def resolved(value: str) -> str:
    """Fill in the defaults of `${NAME:-default}`, as Compose does without an `.env` file."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def environment(service: str) -> dict[str, str]:
    return {name: resolved(str(v)) for name, v in SERVICES[service].get("environment", {}).items()}


def addresses(text: str) -> Iterator[tuple[str, int]]:
    """Find `host:port` in a value, in URLs too; addresses of the host itself do not count."""
    for part in text.split(","):
        url = urlsplit(part if "://" in part else f"//{part}")
        if url.hostname and re.search(r":\d+$", url.netloc) and url.hostname != "127.0.0.1":
            yield url.hostname, url.port or 0


def test_compose_follows_the_compose_specification() -> None:
    schema = json.loads(
        (files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json").read_text()
    )

    problems = list(validator_for(schema)(schema).iter_errors(COMPOSE))

    assert not problems, problems[0].message


def test_compose_has_every_server_and_the_workers() -> None:
    assert set(SERVICES) >= {
        "temporal", "temporal-db", "temporal-ui", "kafka", "clickhouse", "timescaledb", "postgres",
        "redis", "minio", "worker", "worker-compute",
    }  # fmt: skip


@pytest.mark.parametrize("service", ["worker", "worker-compute", "cli"])
def test_compose_variables_are_settings_that_load(service: str, tmp_path: Path) -> None:
    variables = environment(service)

    settings = load_settings(tmp_path, variables)

    assert settings.temporal.address == "temporal:7233"
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.clickhouse.url == "http://clickhouse:8123"
    assert settings.object_store.url == "s3://sluice/objects"
    assert settings.lake.url == "s3://sluice/lake"
    assert settings.timescaledb.dsn is not None
    assert settings.postgres.dsn is not None
    assert {name for name in variables if not name.startswith("SLUICE_")} == set()


def test_compose_addresses_name_a_service_and_its_port() -> None:
    found = {
        (service, name, host, port)
        for service in SERVICES
        for name, value in environment(service).items()
        if name != "KAFKA_CONTROLLER_QUORUM_VOTERS"
        for host, port in addresses(value)
        if host != "0.0.0.0"  # noqa: S104 - read from the file, nothing is bound
    }

    wrong = {one for one in found if SERVICE_PORTS.get(one[2]) != one[3]}

    assert len(found) > 15
    assert not wrong


def test_compose_health_checks_and_published_ports_agree_with_the_addresses() -> None:
    for service, port in SERVICE_PORTS.items():
        published = [str(one) for one in SERVICES[service].get("ports", [])]
        checked = " ".join(SERVICES[service]["healthcheck"]["test"])
        assert all(one.startswith("127.0.0.1:") for one in published), service
        if service == "kafka":
            assert f"kafka:{port}" in checked
        elif published:
            assert any(one.endswith(f":{port}") for one in published), service


def test_compose_passwords_of_the_workers_are_those_of_the_servers() -> None:
    worker = environment("worker")

    assert worker["SLUICE_CLICKHOUSE__PASSWORD"] == environment("clickhouse")["CLICKHOUSE_PASSWORD"]
    assert worker["SLUICE_CLICKHOUSE__DATABASE"] == environment("clickhouse")["CLICKHOUSE_DB"]
    assert worker["SLUICE_OBJECT_STORE__ACCESS_KEY"] == environment("minio")["MINIO_ROOT_USER"]
    assert worker["SLUICE_OBJECT_STORE__SECRET_KEY"] == environment("minio")["MINIO_ROOT_PASSWORD"]
    for service, variable in (
        ("timescaledb", "SLUICE_TIMESCALEDB__DSN"),
        ("postgres", "SLUICE_POSTGRES__DSN"),
    ):
        url, server = urlsplit(worker[variable]), environment(service)
        assert url.username == server["POSTGRES_USER"]
        assert url.password == server["POSTGRES_PASSWORD"]
        assert url.path == f"/{server['POSTGRES_DB']}"


def test_compose_waits_only_for_what_can_be_waited_for() -> None:
    for service, spec in SERVICES.items():
        for awaited, how in spec.get("depends_on", {}).items():
            assert awaited in SERVICES, (service, awaited)
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[awaited], (service, awaited)
            else:
                assert "restart" not in SERVICES[awaited] or SERVICES[awaited][
                    "restart"
                ].startswith("on-failure"), (service, awaited)


def test_compose_images_are_pinned_and_named_volumes_declared() -> None:
    for service, spec in SERVICES.items():
        if "build" not in spec:
            assert re.search(r":[^:]*\d+[.-]\d+", spec["image"]), (service, spec["image"])
        for volume in spec.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), (service, volume)


def test_compose_worker_stops_after_its_grace_period(tmp_path: Path) -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))

    assert grace > load_settings(tmp_path, environment("worker")).worker.graceful_stop_s


def test_dockerfile_installs_the_hashed_lock_and_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text()

    assert "--require-hashes -r requirements.lock" in lines
    assert re.search(r"^USER sluice$", lines, re.MULTILINE)
    assert 'ENTRYPOINT ["sluice"]' in lines


def test_docker_image_gets_every_package_of_the_project() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    packages = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)

    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages[1])) <= allowed
