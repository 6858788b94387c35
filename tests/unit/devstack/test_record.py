import json
import stat
from pathlib import Path

import pytest

from common.errors import SettingsError
from common.stack_record import read_stack_addresses
from devstack.record import (
    ServiceRecord,
    StackRecord,
    read_record,
    record_path,
    write_private,
    write_record,
)

pytestmark = pytest.mark.unit


def _record() -> StackRecord:
    record = StackRecord(stack_id="ab", project_dir="/project", timescaledb_kind="postgres")
    record.services["kafka"] = ServiceRecord(
        address="127.0.0.1:9092", port=9092, pid=7, started=1.5
    )
    record.services["postgres"] = ServiceRecord(address="postgresql://u:p@h/d", port=5432)
    record.services["worker-1"] = ServiceRecord(pid=8, started=2.0)
    return record


def test_record_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    write_record(tmp_path, _record())

    assert read_record(tmp_path) == _record()


def test_record_is_private_because_it_holds_a_password(tmp_path: Path) -> None:
    write_record(tmp_path, _record())

    assert stat.S_IMODE(record_path(tmp_path).stat().st_mode) == 0o600


def test_addresses_are_what_the_settings_read(tmp_path: Path) -> None:
    write_record(tmp_path, _record())

    assert read_stack_addresses(tmp_path) == {
        "kafka.bootstrap_servers": "127.0.0.1:9092",
        "postgres.dsn": "postgresql://u:p@h/d",
    }


def test_no_record_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    assert read_record(tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stack_id": 5}'])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    record_path(tmp_path).write_text(text, encoding="utf-8")

    with pytest.raises(SettingsError, match="expected JSON written by `sluice up`"):
        read_record(tmp_path)


def test_a_record_of_another_version_is_refused(tmp_path: Path) -> None:
    content = json.loads(_record().model_dump_json()) | {"version": 2}
    record_path(tmp_path).write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(SettingsError, match="expected version 1, got 2"):
        read_record(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    write_private(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\udc80")

    assert path.read_text(encoding="utf-8") == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["stack.json"]
