"""How many compute workers a running stack has, changed while it runs.

The wish lies in `<data_dir>/run/worker-processes`; SIGUSR2 tells the supervisor to look there. It
holds until the stack goes down; `worker.processes` in the settings is what a start begins with.
"""

import contextlib
import signal

import psutil

from common.errors import UsageError
from common.settings import Settings
from devstack.process import find_process
from devstack.record import StackRecord

MOST_PROCESSES = 256
_FILE = "worker-processes"


def wanted_processes(settings: Settings) -> int | None:
    """Read how many compute processes somebody asked for; None when nobody did."""
    try:
        return int((settings.data_dir / "run" / _FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def forget_wanted(settings: Settings) -> None:
    """Go back to what the settings say."""
    (settings.data_dir / "run" / _FILE).unlink(missing_ok=True)


def ask_for_processes(settings: Settings, record: StackRecord, count: int) -> None:
    """Tell a running supervisor how many compute processes to have.

    Raises:
        UsageError: The number is out of bounds.
    """
    if not 1 <= count <= MOST_PROCESSES:
        raise UsageError(
            f"worker processes: expected 1 to {MOST_PROCESSES}, got {count}; nothing was changed"
        )
    place = settings.data_dir / "run" / _FILE
    fresh = place.with_suffix(".new")
    fresh.write_text(str(count), encoding="utf-8")
    fresh.replace(place)
    process = find_process(record.supervisor)
    if process is not None:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGUSR2)


def crew_is(record: StackRecord, count: int) -> bool:
    """Tell whether exactly so many compute workers are there, each ready or being revived."""
    states = {
        name: entry.state
        for name, entry in record.services.items()
        if name.startswith("worker-") and name != "worker-stream"
    }
    settled = all(state not in ("stopped", "preparing", "starting") for state in states.values())
    return settled and states.keys() == {f"worker-{n}" for n in range(1, count + 1)}
