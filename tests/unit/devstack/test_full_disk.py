"""A full disk stops nothing for good."""

import asyncio
import errno
from pathlib import Path

import pytest

from common.settings import Settings
from devstack import supervisor as module
from devstack.record import StackRecord
from devstack.supervisor import Supervisor


async def test_the_record_is_written_later_when_the_disk_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unwritable record once ended the watch over a service, which then stayed away."""
    errors = [OSError(errno.ENOSPC, "No space left on device")] * 2
    written = asyncio.Event()

    def write(_: Path, __: StackRecord) -> None:
        if errors:
            raise errors.pop()
        written.set()

    monkeypatch.setattr(module, "write_record", write)
    monkeypatch.setattr(module, "_SAVE_AGAIN_S", 0.0)
    record = StackRecord(stack_id="s", project_dir=str(tmp_path), state="running")
    settings = Settings(project_dir=tmp_path, data_dir=tmp_path)
    Supervisor(settings, record, workers=False).save()
    assert not written.is_set()
    await written.wait()
    assert not errors
