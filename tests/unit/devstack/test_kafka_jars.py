import hashlib
from pathlib import Path

import certifi
import pytest

from devstack.kafka_jars import cache_dir, collect_authorities, find_faults, read_lock

pytestmark = pytest.mark.unit


def test_lock_names_every_jar_once_with_a_sha256() -> None:
    lock = read_lock()

    assert len(lock) == 46
    assert {"kafka_2.13-4.3.1.jar", "kafka-clients-4.3.1.jar"} <= set(lock)
    assert all(len(digest) == 64 for digest in lock.values())


def test_missing_and_changed_jars_are_faults(tmp_path: Path) -> None:
    for name in ("good.jar", "changed.jar"):
        (tmp_path / name).write_bytes(name.encode())
    lock = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("good.jar", "missing.jar")}
    lock["changed.jar"] = hashlib.sha256(b"something else").hexdigest()

    assert sorted(find_faults(tmp_path, lock)) == [
        "changed.jar has another sha256",
        "missing.jar is missing",
    ]


def test_cache_is_shared_by_user_and_can_be_moved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLUICE_CACHE_DIR", str(tmp_path))
    assert cache_dir() == tmp_path

    monkeypatch.delenv("SLUICE_CACHE_DIR")
    assert cache_dir().name == "sluice"


def test_an_authority_that_only_the_machine_knows_is_trusted_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "own.pem"
    own.write_text("the network's own authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(own))

    text = collect_authorities(tmp_path).read_text()

    assert text == f"{Path(certifi.where()).read_text()}\nthe network's own authority\n"
