"""What the supervisor has to know of one supervised part."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM

Report = Callable[[str], None]
"""Takes one line of progress for people."""


@dataclass(frozen=True)
class Account:
    """User and group that a child runs as."""

    uid: int
    gid: int


@dataclass
class Service:
    """A child process: how it is prepared, started, checked and stopped.

    Attributes:
        name: Name in the record, in `ps` and of the log file.
        command: Gives the command line; called after `prepare`, before every start.
        probe: Returns None when the service answers, else the reason why it does not.
        prepare: Makes files that a start needs; runs before every start, so it must be idempotent.
        after_start: Runs once after each start when `probe` is content.
        account: Other user to run as; None keeps the supervisor's.
        start_timeout_s: Seconds from start to healthy.
        stop_timeout_s: Seconds from `stop_signal` to SIGKILL.
        refusal_code: Exit code that says "cannot run on this machine".
        is_worker: Workers start after the services, stop before them, and do not fail `up`.
        aliases: Names of further entries in the record that the same process serves.
    """

    name: str
    command: Callable[[], list[str]]
    probe: Callable[[float], Awaitable[str | None]]
    prepare: Callable[[Report], Awaitable[None]] | None = None
    after_start: Callable[[], Awaitable[None]] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    working_dir: Path | None = None
    account: Account | None = None
    start_timeout_s: float = 60.0
    stop_signal: int = SIGTERM
    stop_timeout_s: float = 15.0
    refusal_code: int | None = None
    is_worker: bool = False
    aliases: tuple[str, ...] = ()
