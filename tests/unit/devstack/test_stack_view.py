from pathlib import Path

import pytest

from common.errors import UnknownNameError
from devstack.record import ServiceRecord
from starter.stack_log import show_logs
from starter.stack_view import print_services, troubles

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("as_json", [True, False])
def test_password_of_an_address_is_never_printed(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    record = ServiceRecord(address="postgresql://sluice:s3cr-et@127.0.0.1:5432/sluice")

    print_services({"postgres": record}, as_json=as_json)

    shown = capsys.readouterr().out
    assert "s3cr-et" not in shown
    assert "postgresql://sluice:***@127.0.0.1:5432/sluice" in shown


def test_parts_that_are_being_started_again_are_troubles() -> None:
    parts = {
        "kafka": ServiceRecord(state="running"),
        "timescaledb": ServiceRecord(state="settled"),
        "worker-1": ServiceRecord(state="restarting", detail="ended with exit code 1: no"),
    }

    assert troubles(parts) == [
        "worker-1 is restarting: ended with exit code 1: no; see `sluice logs worker-1`"
    ]


def test_logs_shows_the_last_lines_of_one_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kafka.log").write_text("a\nb\nc\n", encoding="utf-8")
    (tmp_path / "temporal.log").write_text("t\n", encoding="utf-8")

    show_logs(tmp_path, "kafka", follow=False, count=2)
    assert capsys.readouterr().out == "b\nc\n"

    show_logs(tmp_path, None, follow=False, count=1)
    assert capsys.readouterr().out == "kafka    | c\ntemporal | t\n"


def test_logs_of_an_unknown_service_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "kafka.log").touch()

    with pytest.raises(UnknownNameError, match="expected one of kafka"):
        show_logs(tmp_path, "kafak", follow=False, count=2)
