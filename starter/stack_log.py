"""Reading the log files of the stack."""

import sys
import time
from collections import deque
from pathlib import Path

from common.errors import UnknownNameError
from common.near_miss import near_miss

_POLL_EVERY_S = 0.25


def show_logs(folder: Path, service: str | None, *, follow: bool, count: int) -> None:
    """Print the last lines of one log or of all, and go on with what is added when asked to.

    Args:
        folder: Where the log files are.
        service: File name without its ending; None takes all, with the name before each line.
        follow: Whether to wait for more until Ctrl-C.
        count: Lines of each file to begin with.

    Raises:
        UnknownNameError: There is no log of that name.
    """
    known = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if service is not None and service not in known:
        names = ", ".join(known) or "(none yet; run `sluice up`)"
        raise UnknownNameError(
            f"log of `{service}`: expected one of {names}, "
            f"got no such name{near_miss(service, known)}"
        )
    chosen = known if service is None else {service: known[service]}
    prefix = max(map(len, chosen), default=0)
    offsets = {}
    for name, path in chosen.items():
        with path.open("rb") as file:
            last = deque(file, maxlen=count)
            offsets[name] = file.tell()
        _write(name if service is None else "", prefix, b"".join(last))
    while follow:
        sys.stdout.flush()
        time.sleep(_POLL_EVERY_S)
        for name, path in chosen.items():
            offsets[name] = _write_new(name if service is None else "", prefix, path, offsets[name])


def _write_new(name: str, prefix: int, path: Path, offset: int) -> int:
    """Print whole lines after an offset; a file that became shorter was begun anew."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(offset if size >= offset else 0)
            start = file.tell()
            text = file.read()
    except FileNotFoundError:
        return 0
    end = text.rfind(b"\n") + 1
    _write(name, prefix, text[:end])
    return start + end


def _write(name: str, prefix: int, text: bytes) -> None:
    for line in text.decode(errors="replace").splitlines():
        sys.stdout.write(f"{name:<{prefix}} | {line}\n" if name else f"{line}\n")
