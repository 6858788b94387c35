"""The command `sluice`: runs the module of a command; an error becomes one message and a code.

The table below is all that `sluice --help` needs; a command's module is imported when it is called.
"""

import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

FAILED, USAGE, GATE, CONTRACT, PARTIAL, TIMED_OUT, DIFFERENCES = 1, 2, 3, 4, 5, 6, 7
INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended."""


@dataclass(frozen=True)
class Entry:
    """Where a command lives: a module whose `app` is the group or holds the command."""

    module: str
    command: str | None
    help: str


COMMANDS = {
    "up": Entry("starter.stack", "up", "Start the stack and its workers."),
    "down": Entry("starter.stack", "down", "Stop the stack and its workers."),
    "scale": Entry("starter.stack", "scale", "Change the number of compute workers."),
    "ps": Entry("starter.stack", "ps", "Show every service with its address and state."),
    "logs": Entry("starter.stack", "logs", "Show what the services wrote."),
    "doctor": Entry("starter.stack", "doctor", "Check this machine and say what to do."),
    "demo": Entry("starter.demo", "demo", "Stream two data sets end to end and check the result."),
    "pipelines": Entry("starter.pipelines", None, "List, show and validate pipelines."),
    "contract": Entry("starter.contract", None, "List, show and validate data contracts."),
    "stream": Entry("starter.stream", None, "Start, watch and steer streams."),
    "etl": Entry("starter.etl", None, "Run ETL pipelines, watch and steer their runs."),
    "quality": Entry("starter.quality", None, "Show what gates found, run by run and over time."),
    "quarantine": Entry("starter.quarantine", None, "List, show and release rejected rows."),
    "alerts": Entry("starter.alerts", "alerts", "List what waits, or waited, for a person."),
    "generate": Entry("starter.generate", None, "Write sample events and tables."),
    "sweep": Entry("starter.sweep", "sweep", "Delete objects that no stream can reach any more."),
    "worker": Entry("starter.worker", "worker", "Run worker processes in the foreground."),
    "settings": Entry("starter.settings", "settings", "Show the effective settings."),
}

EPILOGUE = """
Examples:
  sluice up
  sluice generate sales --events 2000000 --seed 1
  sluice stream start sales-1m --until latest --wait
  sluice stream results sales-1m --limit 20

`sluice COMMAND --help` explains a command. Exit codes: 0 ok, 1 failed, 2 usage or unknown name,
3 gate, 4 contract, 5 partial, 6 wait timed out, 7 differences found, 130 Ctrl-C."""


NATIVE_THREADS = ("temporalio", "obstore")
"""Modules whose native threads outlive their calls."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave the process with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # In a file or a pipe, answers would else come after all progress, and only at the end.
        sys.stdout.reconfigure(line_buffering=True)
    code = run(sys.argv[1:] if arguments is None else list(arguments))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _drop_output()
    if not sys.modules.keys().isdisjoint(NATIVE_THREADS):
        # Native threads and the ending interpreter may wait for each other after a call was given
        # up, seen once in eight times of Ctrl-C; or one of them aborts the process after its work
        # is done, seen once in ten calls of `sluice alerts` on a busy machine.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command; gives its exit code, after every error was printed as one message."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        (sys.stdout if arguments else sys.stderr).write(f"{overview()}\n")
        return 0 if arguments else USAGE
    if arguments[0] in ("--version", "-V"):
        from importlib.metadata import version

        sys.stdout.write(f"sluice {version('sluice')}\n")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        from common.near_miss import near_miss

        kind = "option" if name.startswith("-") else "command"
        known = ", ".join(COMMANDS)
        _say(f"error: {kind} `{name}`: expected one of {known}{near_miss(name, COMMANDS)}")
        return USAGE
    return _guarded(name, rest)


def overview() -> str:
    """Write the help of `sluice` itself."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{entry.help}" for name, entry in COMMANDS.items()]
    lines += [f"  {'--version':<{width}}Show the version."]
    head = "Usage: sluice COMMAND [ARGS]...\n\nDurable data pipelines on Temporal.\n\nCommands:\n"
    return head + "\n".join(lines) + "\n" + EPILOGUE


def _guarded(name: str, rest: list[str]) -> int:
    from common.errors import SluiceError

    try:
        return _invoke(name, rest)
    except SluiceError as error:
        return _render(error)
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return _drop_output()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            return _defect(name, error)
        where = f" for {error.filename}" if error.filename else ""
        _say(f"error: disk full: expected space{where}, got none; free some and run it again")
        return FAILED
    except Exception as error:  # noqa: BLE001  outermost loop: a defect is told with its trace
        return _defect(name, error)


def _invoke(name: str, rest: list[str]) -> int:
    import typer
    from typer.core import TyperGroup
    from typer.main import get_command

    entry = COMMANDS[name]
    app: typer.Typer = importlib.import_module(entry.module).app
    app.rich_markup_mode = None
    command = get_command(app)
    if entry.command is not None and isinstance(command, TyperGroup):
        command = command.commands[entry.command]
    command.params = [
        one for one in command.params if one.name not in ("install_completion", "show_completion")
    ]
    try:
        outcome = command.main(rest, prog_name=f"sluice {name}", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except SystemExit as ended:
        if isinstance(
            ended.__context__, BrokenPipeError
        ):  # typer leaves so when a reader went away
            return _drop_output()
        raise
    except typer.TyperException as error:
        show = getattr(error, "show", None)
        show() if show is not None else _say(f"error: {error}")
        return getattr(error, "exit_code", FAILED)
    return outcome if isinstance(outcome, int) else 0


def _render(error: Exception) -> int:
    from common.errors import (
        ContractSpecError,
        PipelineSpecError,
        ServiceUnavailableError,
        UsageError,
    )

    text = str(error)
    if isinstance(error, ServiceUnavailableError):  # here nothing tries again by itself
        text = (
            f"{error.service} at {error.address}: expected an answer, got {error.cause}; "
            "see `sluice ps`, start the stack with `sluice up`, and run this again"
        )
    listed = isinstance(error, PipelineSpecError | ContractSpecError)
    _say(text if listed else f"error: {text}")
    return USAGE if isinstance(error, UsageError) else FAILED


def _defect(name: str, error: Exception) -> int:
    traceback.print_exception(error, file=sys.stderr)
    _say(f"error: `sluice {name}` met what it does not know: {type(error).__name__}: {error}")
    return FAILED


def _drop_output() -> int:
    """Stop writing to a reader that went away, also when the interpreter flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return BROKEN_PIPE


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
