"""Wrong input and services that are not there: one clear message, nothing started."""

import pytest

from devstack.port import choose
from tests.e2e.command import Sluice

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


def test_unknown_names_are_told_with_a_near_miss(sluice: Sluice) -> None:
    assert "did you mean `sales-1m`?" in sluice.refused(2, "stream", "start", "sales-1n")
    assert "did you mean `sales-1m`?" in sluice.refused(2, "stream", "status", "sales-1n")
    assert "did you mean `stream`?" in sluice.refused(2, "steam", "status")
    sluice.write_stream("ghost", "no-such-topic")
    told = sluice.refused(2, "stream", "start", "ghost")
    assert "topic `no-such-topic`: expected to exist, got none" in told
    assert "nothing was started" in told
    assert "expected one that was started, got none" in sluice.refused(
        2, "stream", "status", "ghost"
    )


@pytest.mark.parametrize(
    ("variable", "service"),
    [("SLUICE_TEMPORAL__ADDRESS", "Temporal"), ("SLUICE_KAFKA__BOOTSTRAP_SERVERS", "Kafka")],
)
def test_service_out_of_reach_is_one_message(sluice: Sluice, variable: str, service: str) -> None:
    address = f"127.0.0.1:{choose(set())}"
    away = Sluice(sluice.settings, {variable: address})
    told = away.refused(1, "stream", "start", "flights-1h")
    assert f"{service} at {address}: expected an answer" in told
    assert "`sluice up`" in told
    assert len(told.splitlines()) == 1


def test_sink_out_of_reach_is_one_message(sluice: Sluice) -> None:
    url = f"http://127.0.0.1:{choose(set())}"
    away = Sluice(sluice.settings, {"SLUICE_CLICKHOUSE__URL": url})
    told = away.refused(1, "stream", "results", "sales-1m")
    assert "ClickHouse at" in told
    assert len(told.splitlines()) == 1


def test_wrong_settings_name_the_key(sluice: Sluice) -> None:
    wrong = Sluice(sluice.settings, {"SLUICE_WORKER__PROCESSES": "many"})
    assert "worker.processes" in wrong.refused(2, "ps")
    wrong = Sluice(sluice.settings, {"SLUICE_KAFKA__BOOTSTRAP_SERVER": "x:1"})
    assert "bootstrap_servers" in wrong.refused(2, "ps")


def test_services_and_machine_can_be_looked_at(sluice: Sluice) -> None:
    found = {one["name"]: one for one in sluice.json("ps")}
    assert {"temporal", "kafka", "clickhouse", "postgres", "timescaledb", "worker-stream"} <= set(
        found
    )
    assert all({"name", "state", "address", "pid"} <= one.keys() for one in found.values())
    assert found["kafka"]["state"] == "running"
    checks = sluice.json("doctor")
    assert checks
    assert all(one["ok"] for one in checks), [one for one in checks if not one["ok"]]
