"""How the stack is shown: progress while it starts or stops, and the table of its services."""

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from devstack.record import ServiceRecord
from devstack.stack import Progress

if TYPE_CHECKING:
    from rich.table import Table

_SECRET = re.compile(r"(://[^:@/]+):[^@/]+@")
_GOOD = ("running", "settled", "stopped")


def without_password(address: str) -> str:
    """Hide the password of a DSN."""
    return _SECRET.sub(r"\1:***@", address)


@contextlib.contextmanager
def follow(title: str) -> Iterator[Callable[[Progress], None]]:
    """Show progress on stderr: a live table on a terminal, one line per change when piped."""
    if not sys.stderr.isatty():
        yield _plain
        return
    from rich.console import Console
    from rich.live import Live

    states: dict[str, Progress] = {}
    console = Console(stderr=True)
    with Live(_table(title, states), console=console, refresh_per_second=8, transient=True) as live:

        def tell(progress: Progress) -> None:
            if progress.service:
                states[progress.service] = progress
                live.update(_table(title, states))
            else:
                live.console.print(progress.detail, markup=False, highlight=False)

        yield tell


def print_services(found: Mapping[str, ServiceRecord], *, as_json: bool) -> None:
    """Print the services on stdout; a DSN without its password."""
    now = time.time()
    rows = [
        {
            "name": name,
            "state": entry.state,
            "address": without_password(entry.address),
            "pid": entry.pid,
            "restarts": entry.restarts,
            "uptime_s": round(now - entry.started, 1) if entry.started else None,
            "detail": entry.detail,
        }
        for name, entry in found.items()
    ]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    heads = ("name", "state", "address", "pid", "restarts", "uptime", "detail")
    lines = [tuple(head.upper() for head in heads)]
    for row in rows:
        shown = {**row, "uptime": _duration(row["uptime_s"])}
        lines.append(tuple("" if shown[head] is None else str(shown[head]) for head in heads))
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def troubles(found: Mapping[str, ServiceRecord]) -> list[str]:
    """Say in one line each which parts are not as they should be."""
    return [
        f"{name} is {entry.state}: {entry.detail or 'no reason known'}; see `sluice logs {name}`"
        for name, entry in found.items()
        if entry.state not in _GOOD
    ]


def _plain(progress: Progress) -> None:
    parts = (progress.service, progress.state if progress.service else "", progress.detail)
    sys.stderr.write(" ".join(part for part in parts if part) + "\n")
    sys.stderr.flush()


def _table(title: str, states: Mapping[str, Progress]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=None, title_justify="left", show_header=False, pad_edge=False)
    for name, progress in states.items():
        style = (
            "green"
            if progress.state in _GOOD
            else "red"
            if progress.state == "failed"
            else "yellow"
        )
        table.add_row(
            name, Text(progress.state, style=style), Text(progress.detail, overflow="ellipsis")
        )
    return table


def _duration(seconds: object) -> str:
    if not isinstance(seconds, float):
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
