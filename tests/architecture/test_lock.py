import re

from packaging.requirements import Requirement

from tests.architecture.source import ROOT, project


def pinned(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==([^\s;]+)", text, re.MULTILINE))


def test_runtime_lock_is_a_part_of_the_development_lock() -> None:
    runtime, development = pinned("requirements.lock"), pinned("requirements-dev.lock")

    assert len(runtime) > 50
    assert {name: development.get(name) for name in runtime} == runtime


def test_lock_satisfies_every_requirement_of_the_project() -> None:
    runtime, development = pinned("requirements.lock"), pinned("requirements-dev.lock")
    metadata = project()["project"]

    for lock, lines in (
        (runtime, metadata["dependencies"]),
        (development, metadata["optional-dependencies"]["dev"]),
    ):
        for line in lines:
            wanted = Requirement(line)
            assert wanted.specifier.contains(lock[wanted.name.lower()]), line


def test_locks_are_hashed_and_free_of_registry_addresses() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock", "requirements-setup.lock"):
        text = (ROOT / lock).read_text()
        entries = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in entry for entry in entries), lock
        assert "://" not in text, lock
