"""The number of compute workers of a running stack."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import UsageError
from common.settings import Settings, WorkerSettings
from devstack import stack
from devstack.process import is_alive

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("stack_lifecycle"),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("scaled")
    settings = Settings(
        project_dir=folder, data_dir=folder / "data", worker=WorkerSettings(processes=1)
    )
    stack.up(settings)
    yield settings
    stack.down(settings, delete_data=True)


def compute(settings: Settings) -> list[str]:
    names = stack.services(settings)
    return sorted(n for n in names if n.startswith("worker-") and n != "worker-stream")


def test_workers_come_and_go_and_those_that_stay_are_left_alone(running: Settings) -> None:
    first = stack.services(running)["worker-1"].pid
    stack.scale(running, 3)
    assert compute(running) == ["worker-1", "worker-2", "worker-3"]
    third = stack.services(running)["worker-3"].process
    assert is_alive(third)

    stack.scale(running, 1)
    assert compute(running) == ["worker-1"]
    assert not is_alive(third)
    assert stack.services(running)["worker-1"].pid == first


@pytest.mark.parametrize("count", [0, 257])
def test_a_number_out_of_bounds_is_refused(running: Settings, count: int) -> None:
    with pytest.raises(UsageError, match=f"expected 1 to 256, got {count}"):
        stack.scale(running, count)
    assert compute(running) == ["worker-1"]


def test_a_stack_that_does_not_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run `sluice up`"):
        stack.scale(Settings(project_dir=tmp_path, data_dir=tmp_path / "data"), 2)
