"""What commands have in common that speak with workflows: settings, waits and exit codes."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING

import typer

from starter.output import say

if TYPE_CHECKING:
    from pathlib import Path

    from common.settings import Settings

TIMED_OUT = 6
STOPPED = 130


def project_settings() -> "Settings":
    """Load the settings of the project in whose folder the command was called."""
    from common.settings_load import load_settings

    return load_settings()


def pipeline_file(name: str, settings: "Settings") -> "Path":
    """Find the file of a pipeline given by name or path; own functions of its project are found.

    Raises:
        UnknownNameError: There is none.
    """
    from pipelines.load import find_pipeline
    from pipelines.python_function import use_project

    use_project(settings.project_dir)
    return find_pipeline(name, settings.project_dir)


def seconds(timeout: str | None) -> float | None:
    """Read how long to wait, such as `5m`; None is for ever."""
    from common.duration import parse_duration

    return None if timeout is None else parse_duration(timeout) / 1000


def run_calls(calls: Coroutine[None, None, None]) -> None:
    """Run what a command does; Ctrl-C and a wait that timed out have their own exit codes."""
    from starter.live import WaitTimedOutError

    try:
        asyncio.run(calls)
    except KeyboardInterrupt:
        raise typer.Exit(STOPPED) from None
    except WaitTimedOutError as error:
        say(str(error))
        raise typer.Exit(TIMED_OUT) from error
