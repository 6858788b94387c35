"""Objects that nothing can reach any more are found and deleted, and no other."""

import os
import time
from pathlib import Path

import pytest

from common.settings import Settings
from tests.e2e.command import Sluice

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME, TOPIC = "swept", "swept-sales"
DAY_S = 86_400


def left_behind(settings: Settings, epoch: int, age_s: int) -> Path:
    """Leave an object as a merge does that was given up so long ago."""
    folder = settings.data_dir / "objects/streams" / NAME / f"e{epoch:06}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"combine-9-rows-{age_s:016x}.arrow"
    path.write_bytes(b"x" * 1_000)
    at = time.time() - age_s
    os.utime(path, (at, at))
    return path


def test_old_objects_of_a_stream_go_and_what_is_needed_stays(
    sluice: Sluice, stack: Settings
) -> None:
    told = sluice.refused(2, "sweep", "swep")
    assert "pipeline `swep`: expected one that has objects" in told
    sluice.ok("generate", "sales", "--events", "2000", "--rate", "10", "--topic", TOPIC)
    sluice.write_stream(NAME, TOPIC)
    for _ in range(2):  # what older epochs wrote is closed
        sluice.ok("stream", "start", NAME, "--until", "latest", "--fresh", "--wait")
    kept_s = stack.temporal.retention_days * DAY_S
    old, young = left_behind(stack, 1, kept_s + DAY_S), left_behind(stack, 1, kept_s - DAY_S)

    (found,) = sluice.json("sweep", NAME, "--dry-run")
    assert (found["pipeline"], found["kind"], found["objects"]) == (NAME, "stream", 1)
    assert (found["bytes"], found["keys"]) == (1_000, [f"streams/{NAME}/e000001/{old.name}"])
    assert found["kept"] >= 1
    assert old.exists()

    done = sluice("sweep", NAME)
    assert (done.returncode, done.stderr) == (0, "1 objects deleted\n")
    assert not old.exists()
    assert young.exists()
    (nothing,) = sluice.json("sweep", NAME)
    assert (nothing["objects"], nothing["keys"], nothing["kept"]) == (0, [], found["kept"])
    again = sluice.json("stream", "start", NAME, "--until", "latest", "--wait")
    assert (again["state"], again["ledger"]["consumed"]) == ("completed", 2_000)
    assert {one["pipeline"] for one in sluice.json("sweep", "--dry-run")} >= {NAME}
